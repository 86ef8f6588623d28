"""Bearer tokens of OpenID Connect issuers: CI systems, identity providers, other clusters.

The configuration says whose tokens count and what must be in them; the token says who it claims to come
from, and then has to hold by that issuer's rules alone. The client learns that it does not hold, the log
learns why, and neither sees the token.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from kubemint.authentication import Evidence
from kubemint.authentication.discovery import https_problem
from kubemint.authentication.file_keys import FileKeys
from kubemint.authentication.jwks import parse_key_set
from kubemint.authentication.jwt import KeySource, verify_jwt
from kubemint.authentication.unverified import TOKEN_MAX_OCTETS, InvalidJwt, bearer_token, unverified_issuer
from kubemint.errors import ConfigurationError, NotAuthenticated
from kubemint.policy.claims import ClaimRule, find_claim
from kubemint.requester import Method, Requester, SingleUse

if TYPE_CHECKING:
    from kubemint.authentication.remote_keys import FetchTimes

# All that may be configured, too: none is symmetric.
DEFAULT_ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
)  # fmt: skip
DEFAULT_LEEWAY: Final = timedelta(seconds=30)
DEFAULT_MAX_STALE: Final = timedelta(hours=24)
DEFAULT_IDENTITY_CLAIM: Final = "sub"
START_SECONDS: Final = 2.0  # for the keys of all issuers together
CLAIMS_MAX_OCTETS: Final = 8 * 1024

_LEEWAY_MAX: Final = timedelta(minutes=5)
_IDENTITY_MAX: Final = 1024
# About the token and the login, not about who asks: another token of the same requester has others.
_NOT_KEPT: Final = frozenset({"exp", "iat", "nbf", "jti", "at_hash", "c_hash", "nonce", "sid", "auth_time"})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcIssuer:
    """A token issuer that is trusted to say who asks, and what its tokens must say.

    `issuer` is compared with `iss` character by character. Keys come from `keys_file` if it is given (and
    then nothing from the network), else from `jwks_uri`, else from where the issuer's discovery document
    says. `ca_file` is in place of the system's CAs. The keys of the last good fetch count for `max_stale`.
    With `single_use` a token must have a `jti`, and the requester says that it counts once.
    """

    name: str
    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    required_claims: tuple[ClaimRule, ...] = ()
    leeway: timedelta = DEFAULT_LEEWAY
    ca_file: Path | None = None
    jwks_uri: str | None = None
    keys_file: Path | None = None
    identity_claim: str = DEFAULT_IDENTITY_CLAIM
    max_stale: timedelta = DEFAULT_MAX_STALE
    single_use: bool = False


def oidc_issuer_problems(issuer: OidcIssuer) -> Iterator[str]:
    """Say what is wrong with the configuration of a token issuer, a sentence for each mistake."""
    yield from _address_problems(issuer)
    if not issuer.audiences or not all(issuer.audiences):
        yield "audiences: at least one, and none empty: else tokens for anybody would count here."
    if not issuer.algorithms:
        yield "algorithms: at least one."
    for algorithm in sorted(set(issuer.algorithms).difference(DEFAULT_ALGORITHMS)):
        yield f"algorithms: {algorithm!r} is none of {', '.join(DEFAULT_ALGORITHMS)}."
    if not timedelta(0) <= issuer.leeway <= _LEEWAY_MAX:
        yield "leeway: from 0 to 5 minutes."
    if issuer.max_stale <= timedelta(0):
        yield "maxStale: more than 0."
    if not issuer.identity_claim or issuer.identity_claim in _NOT_KEPT | {"iss", "aud"}:
        yield "identityClaim: names who asks, and stays the same from token to token."


class OidcAuthenticator:
    """Recognises the tokens of some issuers. One for a process, first used after the fork; threads share it."""

    def __init__(self, issuers: Sequence[OidcIssuer], times: "FetchTimes | None" = None) -> None:
        """Read the key files; nothing is fetched yet.

        Raises:
            ConfigurationError: a key file cannot be read, or two issuers are one.
        """
        if len({issuer.issuer for issuer in issuers}) != len(issuers):
            raise ConfigurationError("oidc", ["two token issuers have the same issuer address"])
        self._known = {issuer.issuer: (issuer, _keys(issuer, times)) for issuer in issuers}

    def authenticate(self, evidence: Evidence, now: datetime) -> Requester | None:
        """Keep `Authenticator.authenticate`: ours are tokens that claim to be of an issuer that is known here."""
        unverified_token = bearer_token(evidence.authorization)
        if unverified_token is None:
            return None
        if len(unverified_token) > TOKEN_MAX_OCTETS:
            raise _refused("?", "it is too large")
        known = self._known.get(unverified_issuer(unverified_token) or "")
        if known is None:
            return None
        issuer, keys = known
        try:
            claims = verify_jwt(
                unverified_token,
                keys,
                issuer=issuer.issuer,
                audiences=issuer.audiences,
                algorithms=issuer.algorithms,
                leeway=issuer.leeway,
                now=now,
            )
            return _requester(issuer, claims, hashlib.sha256(unverified_token.encode("ascii")).hexdigest())
        except InvalidJwt as fault:
            raise _refused(issuer.name, str(fault)) from None

    def start(self) -> None:
        """Fetch the keys ahead of the first token. Call it in each worker, after the fork and before it serves.

        A burst at a service that has just started finds keys there; an issuer that hangs delays the start by
        `START_SECONDS` and no more.
        """
        for _, keys in self._known.values():
            keys.start()
        deadline = time.monotonic() + START_SECONDS
        for _, keys in self._known.values():
            keys.await_first(deadline)

    def close(self) -> None:
        """Stop the threads that fetch. Without it they end with the process."""
        for _, keys in self._known.values():
            keys.close()


def _address_problems(issuer: OidcIssuer) -> Iterator[str]:
    if problem := https_problem(issuer.issuer):
        yield f"issuer: {problem}."
    elif "?" in issuer.issuer:  # OpenID Connect Core 1.0, section 2: neither query nor fragment
        yield "issuer: has a query."
    if issuer.jwks_uri is not None and (problem := https_problem(issuer.jwks_uri)):
        yield f"jwksUri: {problem}."
    if issuer.keys_file is not None and (issuer.jwks_uri is not None or issuer.ca_file is not None):
        yield "keysFile: with it nothing is fetched, so neither jwksUri nor caFile has a meaning."


def _keys(issuer: OidcIssuer, times: "FetchTimes | None") -> KeySource:
    if issuer.keys_file is not None:
        return FileKeys(issuer.keys_file, parse_key_set)
    # The configuration imports this module, and metrics are imported after their directory is made.
    from kubemint.authentication.remote_keys import RemoteKeys  # noqa: PLC0415

    return RemoteKeys(
        name=issuer.name,
        issuer=issuer.issuer,
        jwks_uri=issuer.jwks_uri,
        ca_file=issuer.ca_file,
        max_stale=issuer.max_stale,
        times=times,
    )


def _refused(issuer_name: str, reason: str) -> NotAuthenticated:
    _log.info("token refused", extra={"issuer": issuer_name, "reason": reason})
    return NotAuthenticated("The bearer token is not valid.")


def _requester(issuer: OidcIssuer, claims: Mapping[str, Any], token_sha256: str) -> Requester:
    for rule in issuer.required_claims:
        if not rule.matches(claims):
            raise InvalidJwt(f"the required claim {rule.path!r} is missing or has another value")
    kept = {name: value for name, value in claims.items() if name not in _NOT_KEPT}
    if claims.get("email_verified", True) is not True:
        kept.pop("email", None)  # it is what somebody typed: no rule matches on it and no name is made of it
    if len(json.dumps(kept, ensure_ascii=False).encode()) > CLAIMS_MAX_OCTETS:
        raise InvalidJwt("its claims are too large")
    return Requester(
        method=Method.OIDC,
        authority=issuer.name,
        identity=f"oidc:{issuer.name}:{_identity(issuer, claims)}",
        evidence=f"token sha256:{token_sha256[:16]}",
        claims=MappingProxyType(kept),
        single_use=_single_use(claims) if issuer.single_use else None,
    )


def _identity(issuer: OidcIssuer, claims: Mapping[str, Any]) -> str:
    identity = find_claim(claims, issuer.identity_claim)
    # Control, format and other characters that do not show would let one identity look like another.
    if not isinstance(identity, str) or not 0 < len(identity) <= _IDENTITY_MAX or not identity.isprintable():
        raise InvalidJwt("the claim that names who asks is missing, too long or not printable text")
    if issuer.identity_claim == "email" and claims.get("email_verified", True) is not True:
        raise InvalidJwt("the issuer has not verified the e-mail address")  # as kube-apiserver judges it
    return identity


def _single_use(claims: Mapping[str, Any]) -> SingleUse:
    token_id = claims.get("jti")
    if not isinstance(token_id, str) or not 0 < len(token_id) <= _IDENTITY_MAX or not token_id.isprintable():
        raise InvalidJwt("it counts once, and has no usable jti")
    return SingleUse(token_id=token_id)
