"""Policies, requesters and requests to try the verdict with: an ordinary one of each, and changes to it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from csrs import KEY_TYPES, private_key, spki
from kubemint.policy.claims import ClaimRule, Pattern
from kubemint.policy.rules import (
    CertificateRule,
    KubernetesRule,
    Limits,
    OidcRule,
    Policy,
    Profile,
    RequesterRule,
    Roles,
    TokenRule,
)
from kubemint.requester import Method, Renewal, Requester
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
    claims={
        "commonName": "jane",
        "organizations": ["engineering", "oncall"],
        "uris": ["spiffe://acme/jane"],
        "dnsNames": ["jane.acme.test"],
    },
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


def certificate_rule(
    common_name: str | None = None, organization: str | None = None, **more: str
) -> RequesterRule:
    """Make a rule for holders of the company's certificates; `uri` and `dns_name` may be given too."""
    return CertificateRule(
        certificate="corp",
        common_name=None if common_name is None else Pattern(common_name),
        organization=None if organization is None else Pattern(organization),
        **{name: Pattern(text) for name, text in more.items()},
    )


def oidc_rule(issuer: str = "github", **claims: str | bool | int | tuple[str | bool | int, ...]) -> OidcRule:
    """Make a rule for an issuer's tokens with these claims; a tuple is a choice, `__` in a name a dot."""
    return OidcRule(
        oidc=issuer,
        claims=tuple(
            ClaimRule(path=name.replace("__", "."), wanted=tuple(map(_wanted, _values(value))))
            for name, value in claims.items()
        ),
    )


def kubernetes_rule(namespace: str | None = None, service_account: str | None = None) -> KubernetesRule:
    """Make a rule for service accounts of the production cluster."""
    return KubernetesRule(
        kubernetes="prod",
        namespace=None if namespace is None else Pattern(namespace),
        service_account=None if service_account is None else Pattern(service_account),
    )


def pipeline(**claims: Any) -> Requester:
    """Make a requester whose token says this of it."""
    return Requester(
        method=Method.OIDC, authority="github", identity="oidc:github:x", evidence="token", claims=claims
    )


def pod(namespace: str = "ci", name: str = "builder") -> Requester:
    """Make a requester that is a service account."""
    return Requester(
        method=Method.KUBERNETES,
        authority="prod",
        identity=f"kubernetes:prod:{namespace}:{name}",
        evidence="token",
        claims={"namespace": namespace, "name": name},
    )


def holder(first: Requester = LAPTOP, **changes: Any) -> Requester:
    """Make a requester that shows a certificate of jane, developer, whose first one was issued an hour ago."""
    line = {
        "line": "01",
        "profile": "developers",
        "user": "jane",
        "groups": ("developers",),
        "first": first,
        "first_proven_at": NOW - HOUR,
    }
    return Requester(
        method=Method.RENEWAL,
        authority="kubemint",
        identity=first.identity,
        evidence="serial 2",
        renews=Renewal(**(line | changes)),
    )


def _values(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _wanted(value: str | bool | int) -> Pattern | bool | int:
    return Pattern(value) if isinstance(value, str) else value


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
