"""Which public keys are good enough to be certified.

Types and sizes are a closed list; the tests for broken generators are those of the badkeys library
(small factors, close primes by Fermat's method, ROCA CVE-2017-15361, sparse moduli, Wiener's small
private exponents). Cheap facts come first, so that a monstrous key costs nothing.
"""

from collections.abc import Iterator
from typing import Final

import badkeys
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from kubemint.errors import Reason

KEY_TYPES: Final = ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096")
RSA_SIZES: Final = (2048, 3072, 4096)  # NIST SP 800-57 part 1, table 2: 112 bits of strength and up
RSA_EXPONENT: Final = 65537  # the one that every current tool makes; 3 has a history of broken verifiers

_CURVES: Final = {"secp256r1": "ecdsa-p256", "secp384r1": "ecdsa-p384"}
_RSA_CHECKS: Final = {
    "rsainvalid": "its numbers cannot be an RSA key",
    "smallfactors": "it has a small prime factor",
    "fermat": "its two primes are too close together (Fermat)",
    "roca": "it was made by a broken generator (ROCA, CVE-2017-15361)",
    "rsapoly": "its modulus has a pattern that can be factored",
    "smalld": "its private exponent is small (Wiener)",
}


def judge_key(public_key: CertificatePublicKeyTypes) -> tuple[str | None, tuple[Reason, ...]]:
    """Name the type of a key, one of KEY_TYPES; None exactly if there is a reason against the key."""
    match public_key:
        case rsa.RSAPublicKey():
            reasons = tuple(_rsa_reasons(public_key))
            return (None, reasons) if reasons else (f"rsa-{public_key.key_size}", ())
        case ec.EllipticCurvePublicKey() if public_key.curve.name in _CURVES:
            return _CURVES[public_key.curve.name], ()
        case ec.EllipticCurvePublicKey():
            return None, (_reason("key-type", f"the curve {public_key.curve.name} is not P-256 or P-384"),)
        case ed25519.Ed25519PublicKey():
            return "ed25519", ()
        case _:
            return None, (_reason("key-type", "the key is neither RSA, ECDSA P-256 or P-384, nor Ed25519"),)


def _rsa_reasons(public_key: rsa.RSAPublicKey) -> Iterator[Reason]:
    if public_key.key_size not in RSA_SIZES:
        sizes = ", ".join(map(str, RSA_SIZES))
        yield _reason("key-size", f"the RSA key has {public_key.key_size} bits; allowed are {sizes}")
        return
    numbers = public_key.public_numbers()
    if numbers.e != RSA_EXPONENT:
        yield _reason("key-exponent", f"the RSA exponent must be {RSA_EXPONENT}")
        return
    for check in badkeys.checkrsa(numbers.n, e=numbers.e, checks=tuple(_RSA_CHECKS)):
        yield _reason("key-weak", f"the RSA key is weak: {_RSA_CHECKS[check]}")


def _reason(code: str, message: str) -> Reason:
    return Reason(code=code, message=message, path="csr.publicKey")
