"""What a client shows, read before anything proves it: enough to know whom to ask, and no more.

Every way of proving who asks reads the Authorization header and a JWT here, so that they agree on whose
token it is. Reading is strict: what two readers could read in two ways is nobody's token.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from kubemint.documents import parse_json
from kubemint.errors import InvalidDocument

TOKEN_MAX_OCTETS: Final = 16 * 1024  # a longer one is not even parsed

_COMPACT_JWS: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+", re.ASCII)  # RFC 7515 7.1


class InvalidJwt(ValueError):
    """The token does not hold. The reason is for the log: constant text, with nothing of the token in it."""


def bearer_token(authorization: str | None) -> str | None:
    """Give the credentials of an Authorization header; None if there is none, or one of another scheme.

    They may be of any length and content, and empty. The scheme's case is free (RFC 9110 11.1).
    """
    scheme, _, credentials = (authorization or "").partition(" ")
    return credentials.strip(" ") if scheme.lower() == "bearer" else None


def unverified_issuer(unverified_token: str) -> str | None:
    """Read the `iss` of a JWT (RFC 7519 4.1.1); None if it is no JWT, is too long, or names no issuer."""
    issuer = (unverified_claims(unverified_token) or {}).get("iss")
    return issuer if isinstance(issuer, str) and issuer else None


def unverified_claims(unverified_token: str) -> Mapping[str, Any] | None:
    """Read the claims of a JWT; None if it is none, or is longer than `TOKEN_MAX_OCTETS`."""
    try:
        _, payload = _header_and_payload(unverified_token)
        return _json_object(payload)
    except InvalidJwt:
        return None


def unverified_header_and_claims(unverified_token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Read both parts of a JWT that are JSON.

    Raises:
        InvalidJwt: it is no JWT, or is longer than `TOKEN_MAX_OCTETS`.
    """
    header, payload = _header_and_payload(unverified_token)
    return _json_object(header), _json_object(payload)


def _header_and_payload(unverified_token: str) -> tuple[str, str]:
    if len(unverified_token) > TOKEN_MAX_OCTETS:
        raise InvalidJwt("it is too large")
    shape = _COMPACT_JWS.fullmatch(unverified_token)
    if shape is None:
        raise InvalidJwt("it is not three base64url parts")
    return shape[1], shape[2]


def _json_object(part: str) -> Mapping[str, Any]:
    try:
        members = parse_json(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, InvalidDocument):
        raise InvalidJwt("its header or payload is not JSON, or names a member twice") from None
    if not isinstance(members, dict):
        raise InvalidJwt("its header or payload is no JSON object")
    return members
