"""The keys that others sign tokens with (RFC 7517), judged once when they are read, and here alone.

A key is used for what it is for and nothing else: a key for encryption, a shared secret, a weak or an
unknown one is left out as if it were not there (RFC 7517 5), and each of the others knows its algorithms.
"""

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from kubemint.documents import parse_json
from kubemint.errors import InvalidDocument

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

KEY_SET_MAX_OCTETS: Final = 1024 * 1024
KEYS_MAX: Final = 100

_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}  # RFC 7518 3.4
ALGORITHMS: Final = _RSA | {"ES256", "ES384", "ES512", "EdDSA"}  # none of them symmetric

# RFC 7518 3.3 wants 2048; more than 8192 is work for us and safety for nobody.
_RSA_BITS: Final = range(2048, 8193)
_RSA_EXPONENT_MAX_BITS: Final = 64  # as OpenSSL has it for large keys
_KEY_ID_MAX: Final = 1024
_PUBLIC_MEMBERS: Final = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """A public key, its id if it has one, and the algorithms that it may verify."""

    key_id: str | None
    algorithms: frozenset[str]
    key: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """The usable keys of an issuer."""

    keys: tuple[VerificationKey, ...]

    def find(self, key_id: str | None, algorithm: str) -> PublicKey | None:
        """Give the one key of this id that fits the algorithm; without an id, the one that fits at all.

        None if there is none. None too where several fit: which one is meant is not ours to guess.
        """
        fitting = [
            each.key
            for each in self.keys
            if algorithm in each.algorithms and (key_id is None or each.key_id == key_id)
        ]
        return fitting[0] if len(fitting) == 1 else None


NO_KEYS: Final = KeySet(keys=())


def parse_key_set(text: bytes) -> KeySet:
    """Read a JWK set and leave out what cannot verify a token. A set may be empty: then nothing holds.

    Raises:
        InvalidDocument: it is no JWK set, or larger than any honest one.
    """
    check_size(text)
    document = parse_json(text)
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        raise InvalidDocument("not a JWK set: no list of keys")
    check_count(members)
    judged = (_usable(member) for member in members if isinstance(member, dict))
    return KeySet(keys=tuple(key for key in judged if key is not None))


def check_size(text: bytes) -> None:
    """Refuse more text than any honest key set has.

    Raises:
        InvalidDocument: it is more than `KEY_SET_MAX_OCTETS`.
    """
    if len(text) > KEY_SET_MAX_OCTETS:
        raise InvalidDocument(f"a key set is at most {KEY_SET_MAX_OCTETS} octets")


def check_count(keys: Sized) -> None:
    """Refuse more keys than any honest key set has.

    Raises:
        InvalidDocument: they are more than `KEYS_MAX`.
    """
    if len(keys) > KEYS_MAX:
        raise InvalidDocument(f"a key set has at most {KEYS_MAX} keys")


def algorithms_of(key: object) -> frozenset[str]:
    """Name the algorithms that a key can verify by its kind, size and curve; none if it is weak or unknown."""
    match key:
        case RSAPublicKey():
            exponent_bits = key.public_numbers().e.bit_length()
            fits = key.key_size in _RSA_BITS and exponent_bits <= _RSA_EXPONENT_MAX_BITS
            return _RSA if fits else frozenset()
        case EllipticCurvePublicKey():
            return frozenset(algorithm for name, algorithm in _CURVES.items() if name == key.curve.name)
        case Ed25519PublicKey():
            return frozenset({"EdDSA"})
        case _:
            return frozenset()


def _usable(jwk: Mapping[str, Any]) -> VerificationKey | None:
    key_id, operations = jwk.get("kid"), jwk.get("key_ops", ["verify"])
    if key_id is not None and not (isinstance(key_id, str) and len(key_id) <= _KEY_ID_MAX):
        return None
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None  # RFC 7517 4.2 and 4.3
    key = _public_key(jwk)
    if key is None:
        return None
    algorithms = algorithms_of(key)
    if "alg" in jwk:  # RFC 7517 4.4
        algorithms = frozenset(name for name in algorithms if name == jwk["alg"])
    return VerificationKey(key_id=key_id, algorithms=algorithms, key=key) if algorithms else None


def _public_key(jwk: Mapping[str, Any]) -> PublicKey | None:
    kind = jwk.get("kty")
    names = _PUBLIC_MEMBERS.get(kind) if isinstance(kind, str) else None
    if names is None or not all(isinstance(jwk.get(name), str) for name in names):
        return None
    public = {name: jwk[name] for name in names}  # the public members alone, should an issuer show its private key
    key: object
    try:
        if kind == "RSA":
            key = RSAAlgorithm.from_jwk(public)
        elif kind == "EC":
            key = ECAlgorithm.from_jwk(public)
        else:
            key = OKPAlgorithm.from_jwk(public)
    except (PyJWTError, ValueError, TypeError, OverflowError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, PublicKey) else None
