"""RSA moduli that broken generators made, made again at run time; none has an owner."""

import math
import secrets
from functools import cache

import gmpy2

BITS = 2048


@cache
def close_primes() -> int:
    """Multiply two primes that follow each other (Fermat factors it in a few steps)."""
    prime = _prime(BITS // 2)
    return int(prime * gmpy2.next_prime(prime))


@cache
def square() -> int:
    """Multiply a prime with itself."""
    return int(_prime(BITS // 2) ** 2)


@cache
def small_factor() -> int:
    """Multiply a prime of 16 bits with one of nearly all."""
    small = 65521
    return int(small * gmpy2.next_prime((3 << BITS - 2) // small))


@cache
def roca() -> int:
    """Multiply two primes of the form k*M + (65537^a mod M): CVE-2017-15361, section 2 of the paper."""
    primorial = _product_of_primes(below=702)  # 126 primes, as that library took for keys of 1984 to 3936 bits
    while (modulus := _roca_prime(primorial) * _roca_prime(primorial)).bit_length() != BITS:
        pass
    return int(modulus)


@cache
def mostly_zeros() -> int:
    """Give each word of 32 bits sixteen zeros, as broken random generators do; no small factor."""
    words = sum(0xFFFF << shift for shift in range(0, BITS, 32))
    small_primes = _product_of_primes(below=1 << 16)
    while True:
        modulus = secrets.randbits(BITS) & words | 1 << BITS - 1 | 1
        if math.gcd(modulus, small_primes) == 1:
            return modulus


@cache
def giant(bits: int) -> int:
    """Give an odd number of exactly so many bits."""
    return secrets.randbits(bits) | 1 << bits - 1 | 1


def _prime(bits: int) -> int:
    """Draw a prime whose product with another of the kind has twice the bits."""
    return int(gmpy2.next_prime(secrets.randbits(bits - 2) | 3 << bits - 2))


def _roca_prime(primorial: int) -> int:
    top = (3 << BITS // 2 - 2) // primorial
    while True:
        candidate = (top + secrets.randbelow(top // 4)) * primorial + pow(65537, secrets.randbits(256), primorial)
        if gmpy2.is_prime(candidate):
            return candidate


@cache
def _product_of_primes(below: int) -> int:
    product = prime = 2
    while (prime := int(gmpy2.next_prime(prime))) < below:
        product *= prime
    return product
