"""The verdict: may this requester have this certificate now?

`decide` is a function of its arguments alone: no clock, no file, no network. It never stops at the
first fault: whoever is refused learns every reason, with the rule behind it. What nobody may have
(promise P2) is checked first and apart, whatever the policy says.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from kubemint.errors import Reason
from kubemint.policy.rules import FORBIDDEN_NAMES, Limits, Pattern, Policy, Profile, is_reserved
from kubemint.requester import Requester
from kubemint.x509.issuer import IssuerLimits
from kubemint.x509.profile import BACKDATE, CertificateTerms
from kubemint.x509.request import SigningRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Sign exactly this."""

    profile: str
    policy_version: str
    terms: CertificateTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Sign nothing; `profile` is None where none, or more than one, could be chosen."""

    profile: str | None
    policy_version: str
    reasons: tuple[Reason, ...]


Decision = Granted | Refused


def decide(
    request: SigningRequest, requester: Requester, policy: Policy, now: datetime, issuer: IssuerLimits
) -> Decision:
    """Judge a request under a policy, within the bounds of the issuer. `now` is aware UTC."""
    reasons = list(hard_rules(request, issuer))
    profile = _choose(request, requester, policy)
    if not isinstance(profile, Profile):
        return Refused(profile=None, policy_version=policy.version, reasons=(*reasons, profile))
    reasons += profile_reasons(request, profile, policy.limits, now, issuer)
    if reasons:
        return Refused(profile=profile.name, policy_version=policy.version, reasons=tuple(reasons))
    return Granted(
        profile=profile.name,
        policy_version=policy.version,
        terms=_terms(request, profile, policy.limits, now, issuer),
    )


def hard_rules(request: SigningRequest, issuer: IssuerLimits) -> Iterator[Reason]:
    """Yield what no policy can allow."""
    for name in (request.user, *request.groups):
        if name.strip().casefold() in FORBIDDEN_NAMES:
            yield Reason(
                code="name-forbidden",
                message=f"nobody gets {name!r}: Kubernetes lets it through before RBAC and every webhook",
                path="hard-rules.forbidden",
            )
    if request.spki_der == issuer.spki_der:
        yield Reason(
            code="key-of-issuer",
            message="the CSR holds the CA's own public key",
            path="hard-rules.issuer-key",
        )


def profile_reasons(
    request: SigningRequest, profile: Profile, limits: Limits, now: datetime, issuer: IssuerLimits
) -> Iterator[Reason]:
    """Yield every reason why a profile does not give what is asked for."""
    yield from name_reasons("user", request.user, profile.users, profile)
    for group in request.groups:
        yield from name_reasons("group", group, profile.groups, profile)
    yield from key_reasons(request, profile, limits)
    yield from lifetime_reasons(request, profile, limits, now, issuer)


def name_reasons(kind: str, name: str, allowed: tuple[Pattern, ...], profile: Profile) -> Iterator[Reason]:
    """Yield why a profile does not give a user or group name; `kind` is `user` or `group`."""
    if is_reserved(name) and name not in profile.reserved:
        yield Reason(
            code=f"{kind}-reserved",
            message=f"{kind} {name!r} is reserved for Kubernetes, and profile {profile.name!r} does not list it",
            path=f"{profile.path}.reserved",
        )
    if not any(pattern.matches(name) for pattern in allowed):
        patterns = ", ".join(pattern.text for pattern in allowed) or "none"
        yield Reason(
            code=f"{kind}-not-allowed",
            message=f"{kind} {name!r} is not one that profile {profile.name!r} allows: {patterns}",
            path=f"{profile.path}.{kind}s",
        )


def key_reasons(request: SigningRequest, profile: Profile, limits: Limits) -> Iterator[Reason]:
    """Yield why a profile does not certify a type of key."""
    for allowed, path in ((profile.keys, f"{profile.path}.keys"), (limits.keys, "limits.keys")):
        if request.key_type not in allowed:
            yield Reason(
                code="key-not-allowed",
                message=f"a key of type {request.key_type} is not allowed here: {', '.join(sorted(allowed))}",
                path=path,
            )


def lifetime_reasons(
    request: SigningRequest, profile: Profile, limits: Limits, now: datetime, issuer: IssuerLimits
) -> Iterator[Reason]:
    """Yield why a certificate cannot live as long as was asked; what was not asked for is never too long."""
    if issuer.not_after <= now:
        yield Reason(code="issuer-expired", message="the CA's certificate has expired", path="issuer")
    if request.expiration_seconds is None:
        return
    asked = timedelta(seconds=request.expiration_seconds)
    for most, path in (
        (profile.max_lifetime, f"{profile.path}.lifetime.max"),
        (limits.max_lifetime, "limits.maxLifetime"),
        (issuer.not_after - now, "issuer"),
    ):
        if asked > most:
            yield Reason(
                code="lifetime-too-long",
                message=f"{request.expiration_seconds} s asked; at most {int(most.total_seconds())} s allowed",
                path=path,
            )


def _choose(request: SigningRequest, requester: Requester, policy: Policy) -> Profile | Reason:
    """Take the profile that was named, else the only one that is for this requester."""
    profiles = policy.profiles_for(requester)
    names = ", ".join(profile.name for profile in profiles)
    if not profiles:
        return Reason(code="no-profile", message="no profile of the policy is for this requester", path="profiles")
    if request.profile is not None:
        named = [profile for profile in profiles if profile.name == request.profile]
        if named:
            return named[0]
        return Reason(
            code="profile-not-allowed",
            message=f"profile {request.profile!r} is not for this requester; these are: {names}",
            path="profiles",
        )
    if len(profiles) > 1:
        return Reason(
            code="profile-ambiguous",
            message=f"several profiles are for this requester; name one of: {names}",
            path="profiles",
        )
    return profiles[0]


def _terms(
    request: SigningRequest, profile: Profile, limits: Limits, now: datetime, issuer: IssuerLimits
) -> CertificateTerms:
    start = now.replace(microsecond=0)
    if request.expiration_seconds is None:
        lifetime = min(profile.default_lifetime, limits.max_lifetime)
    else:
        lifetime = timedelta(seconds=request.expiration_seconds)
    return CertificateTerms(
        user=request.user,
        groups=request.groups,
        public_key=request.public_key,
        spki_der=request.spki_der,
        not_before=max(start - BACKDATE, issuer.not_before),
        not_after=min(start + lifetime, issuer.not_after),
    )
