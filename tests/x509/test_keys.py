"""Key strength: a closed list of types and sizes, and none from a generator that is known to be broken."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from csrs import KEY_TYPES, private_key
from kubemint.x509.keys import judge_key
from x509 import moduli
from x509.der import rsa_public_key


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_sound_keys_have_a_type(key_type: str) -> None:
    """Each type that policies can name is recognised, with no reason against it."""
    assert judge_key(private_key(key_type).public_key()) == (key_type, ())


@pytest.mark.parametrize(
    ("key_type", "code"),
    [
        ("rsa-1024", "key-size"),
        ("rsa-2047", "key-size"),
        ("rsa-2056", "key-size"),
        ("exponent-3", "key-exponent"),
        ("ecdsa-p224", "key-type"),
        ("ecdsa-p521", "key-type"),
        ("secp256k1", "key-type"),
        ("brainpool", "key-type"),
        ("ed448", "key-type"),
        ("x25519", "key-type"),
        ("dsa", "key-type"),
        ("ml-dsa-44", "key-type"),
    ],
)
def test_other_types_and_sizes_are_refused(key_type: str, code: str) -> None:
    """What is not on the list has no type, and a reason that says what is wrong with it."""
    found, reasons = judge_key(private_key(key_type).public_key())
    assert found is None
    assert [reason.code for reason in reasons] == [code]


@pytest.mark.parametrize(
    ("modulus", "weakness"),
    [
        (moduli.close_primes, "Fermat"),
        (moduli.square, "Fermat"),
        (moduli.small_factor, "small prime factor"),
        (moduli.roca, "ROCA"),
        (moduli.mostly_zeros, "pattern"),
    ],
)
def test_each_known_weakness_is_found(modulus: Callable[[], int], weakness: str) -> None:
    """A modulus that can be factored is refused by the name of its weakness."""
    found, reasons = judge_key(rsa.RSAPublicNumbers(65537, modulus()).public_key())
    assert found is None
    assert [reason.code for reason in reasons] == ["key-weak"]
    assert weakness in reasons[0].message


@pytest.mark.parametrize("exponent", [3, 17, 65539, 2**31 + 11, 2**64 + 13])
def test_another_exponent_is_refused(exponent: int) -> None:
    """One exponent is allowed, neither a smaller nor a larger one."""
    modulus = private_key("rsa-2048").public_key().public_numbers().n
    found, reasons = judge_key(load_der_public_key(rsa_public_key(modulus, exponent)))
    assert (found, [reason.code for reason in reasons]) == (None, ["key-exponent"])
