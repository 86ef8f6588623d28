"""Policies, requesters and requests to try the verdict with: an ordinary one of each, and changes to it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from csrs import KEY_TYPES, private_key, spki
from kubemint.policy.rules import (
    CertificateRule,
    Limits,
    Pattern,
    Policy,
    Profile,
    RequesterRule,
    Roles,
    TokenRule,
)
from kubemint.requester import Method, Requester
from kubemint.x509.issuer import IssuerLimits
from kubemint.x509.request import SigningRequest

NOW = datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=UTC)
START = NOW.replace(microsecond=0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

LAPTOP = Requester(method=Method.TOKEN, authority="laptop", identity="token:laptop", evidence="token laptop")
STRANGER = Requester(method=Method.TOKEN, authority="phone", identity="token:phone", evidence="token phone")
WORKSTATION = Requester(
    method=Method.CERTIFICATE,
    authority="corp",
    identity="certificate:corp:jane",
    evidence="serial 1",
    common_name="jane",
    organizations=("engineering", "oncall"),
)
ISSUER = IssuerLimits(
    not_before=START - 365 * DAY,
    not_after=START + 365 * DAY,
    spki_der=spki(private_key("ecdsa-p256", "issuer")),
)


def patterns(*texts: str) -> tuple[Pattern, ...]:
    """Make patterns."""
    return tuple(Pattern(text) for text in texts)


def profile(name: str = "developers", **changes: Any) -> Profile:
    """Make a profile for the laptop's token: plain users, three kinds of groups, an hour, a day at most."""
    ordinary = {
        "requesters": (TokenRule(token="laptop"),),
        "users": patterns("*"),
        "groups": patterns("developers", "team-*"),
        "reserved": frozenset[str](),
        "default_lifetime": HOUR,
        "max_lifetime": DAY,
        "keys": frozenset(KEY_TYPES),
    }
    return Profile(name=name, **(ordinary | changes))


def policy(
    *profiles: Profile, max_lifetime: timedelta = DAY, keys: frozenset[str] = frozenset(KEY_TYPES)
) -> Policy:
    """Make a policy of the profiles given, else of the ordinary one."""
    limits = Limits(max_lifetime=max_lifetime, keys=frozenset(keys))
    return Policy(version="sha256:0", limits=limits, profiles=profiles or (profile(),), roles=Roles())


def certificate_rule(common_name: str | None = None, organization: str | None = None) -> RequesterRule:
    """Make a rule for holders of the company's certificates."""
    return CertificateRule(
        certificate="corp",
        common_name=None if common_name is None else Pattern(common_name),
        organization=None if organization is None else Pattern(organization),
    )


def request(**changes: Any) -> SigningRequest:
    """Make the request of jane, developer, with a P-256 key."""
    key = private_key("ecdsa-p256")
    ordinary = {
        "csr_der": b"",
        "user": "jane",
        "groups": ("developers",),
        "public_key": key.public_key(),
        "spki_der": spki(key),
        "key_type": "ecdsa-p256",
        "expiration_seconds": None,
        "profile": None,
    }
    return SigningRequest(**(ordinary | changes))
