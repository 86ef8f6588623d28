"""Signed tokens (RFC 7519), verified with keys that were fetched before: nothing here does I/O.

Stands apart from the token issuers because a cluster's service account tokens are verified alike. The
signature is PyJWT's work. Before it come the checks that keep a token to one meaning: strict JSON (no
member twice), no critical extensions, an algorithm of the configuration's and a key of that algorithm's
kind (RFC 8725 3.1 and 3.2), so that the header of a token never decides how it is verified.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import jwt as pyjwt
from cryptography.exceptions import UnsupportedAlgorithm

from kubemint.authentication.jwks import ALGORITHMS, PublicKey
from kubemint.authentication.unverified import InvalidJwt, unverified_header_and_claims

# RFC 8725 3.11: a logout token or a DPoP proof of the same issuer is signed with the same keys, and is no login.
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_EXPIRY_MAX: Final = 253_402_300_799 - 86_400  # the last day that a datetime has, less any leeway
_INTEGER_MAX: Final = 2**53 - 1  # RFC 7493 2.2: beyond it two readers read two numbers
_DEPTH_MAX: Final = 16


class KeySource(Protocol):
    """Where an issuer's keys come from. Threads share it."""

    def find(self, key_id: str | None, algorithm: str, *, refused: PublicKey | None = None) -> PublicKey | None:
        """Give the one key of this id and for this algorithm; None if there is none, or more than one.

        `refused` is a key that was found before and did not verify: another one is wanted, if there is one by now.
        May wait, for no longer than a request can.

        Raises:
            IdentityUnavailable: there are no keys now that could say whether a token holds.
        """

    def start(self) -> None:
        """Begin to fetch ahead of the first use, in the process that will use it. Nothing needs this."""

    def await_first(self, deadline: float) -> None:
        """Wait for the first keys, or for their absence, at most until this moment of `time.monotonic`."""

    def close(self) -> None:
        """Stop what runs in the background."""


def verify_jwt(  # noqa: PLR0913 - what a token must say, each by name
    unverified_token: str,
    keys: KeySource,
    *,
    issuer: str,
    audiences: Sequence[str],
    algorithms: Sequence[str],
    leeway: timedelta,
    now: datetime,
) -> Mapping[str, Any]:
    """Give the claims of a token that holds: of this issuer, for one of these audiences, at this time.

    `exp`, `iat`, `iss` and `aud` must be there. The claims are JSON that any reader reads alike: no lone
    surrogates, no number that loses digits, no depth without end.

    Raises:
        InvalidJwt: it does not hold.
        IdentityUnavailable: that cannot be told now.
    """
    header, claims = unverified_header_and_claims(unverified_token)
    _judge_values(claims)
    key_id, algorithm = _judge_header(header, algorithms)
    key = keys.find(key_id, algorithm)
    if key is None:
        raise InvalidJwt("no key of the issuer fits its key id and algorithm")
    expected = _Expected(issuer=issuer, audiences=tuple(audiences), algorithm=algorithm)
    try:
        _verify(unverified_token, key, expected)
    except pyjwt.InvalidSignatureError:
        other_key = keys.find(key_id, algorithm, refused=key)
        if other_key is None:
            raise InvalidJwt("the signature does not hold") from None
        _verify_finally(unverified_token, other_key, expected)
    _judge_times(claims, leeway.total_seconds(), now.timestamp())
    return claims


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    issuer: str
    audiences: tuple[str, ...]
    algorithm: str


def _judge_header(header: Mapping[str, Any], algorithms: Sequence[str]) -> tuple[str | None, str]:
    """Give key id and algorithm. `jwk`, `jku`, `x5c` and `x5u` are not read: a token does not bring its key."""
    if "crit" in header or "b64" in header:  # RFC 7515 4.1.11: critical, and not understood
        raise InvalidJwt("its header has critical extensions")
    key_id, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in algorithms or algorithm not in ALGORITHMS:
        raise InvalidJwt("its algorithm is not allowed")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise InvalidJwt("it is a token of another type")
    if "kid" in header and not isinstance(key_id, str):
        raise InvalidJwt("its key id is no string")
    return key_id, algorithm


def _verify(unverified_token: str, key: PublicKey, expected: _Expected) -> None:
    try:
        pyjwt.decode(
            unverified_token,
            key,
            algorithms=[expected.algorithm],
            audience=expected.audiences,
            issuer=expected.issuer,
            options={
                "require": ["exp", "iat", "iss", "aud"],
                "verify_signature": True,
                "verify_iss": True,
                "verify_aud": True,
                "strict_aud": False,  # RFC 7519 4.1.3: one audience or a list of them
                "verify_sub": True,  # sub and jti: their types
                "verify_jti": True,
                "verify_exp": False,  # the three times: by the clock that is an argument, in _judge_times
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except pyjwt.InvalidSignatureError:
        raise
    except pyjwt.PyJWTError as fault:
        raise InvalidJwt(f"it does not hold: {type(fault).__name__}") from None
    except (TypeError, ValueError, UnsupportedAlgorithm) as fault:  # claims or signatures of unforeseen shapes
        raise InvalidJwt(f"it cannot be verified: {type(fault).__name__}") from None


def _verify_finally(unverified_token: str, key: PublicKey, expected: _Expected) -> None:
    try:
        _verify(unverified_token, key, expected)
    except pyjwt.InvalidSignatureError:
        raise InvalidJwt("the signature does not hold") from None


def _judge_times(claims: Mapping[str, Any], leeway_seconds: float, now: float) -> None:
    expires, issued, not_before = claims["exp"], claims["iat"], claims.get("nbf", claims["iat"])
    # RFC 7519 2, NumericDate: seconds, which may have a fraction. True is no number here.
    if not all(type(time) in (int, float) for time in (expires, issued, not_before)):
        raise InvalidJwt("a time in it is no number")
    if not 0 <= expires <= _EXPIRY_MAX:
        raise InvalidJwt("its expiry is no date")
    if now >= expires + leeway_seconds:
        raise InvalidJwt("it has expired")
    if not_before > now + leeway_seconds:
        raise InvalidJwt("it is not valid yet")
    if issued > now + leeway_seconds:
        raise InvalidJwt("it was issued in the future")


def _judge_values(claims: Mapping[str, Any]) -> None:
    level: list[Any] = [claims]
    for _ in range(_DEPTH_MAX):
        if any(type(value) is int and abs(value) > _INTEGER_MAX for value in level):
            raise InvalidJwt("a number in it is too large")
        if any(isinstance(value, str) and not value.isascii() and _has_surrogate(value) for value in level):
            raise InvalidJwt("a text in it is not Unicode")
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise InvalidJwt("it is nested too deep")


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _children(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()
