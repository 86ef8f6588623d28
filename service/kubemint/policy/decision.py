"""The verdict: may this requester have this certificate now?

`decide` is a function of its arguments alone: no clock, no file, no network. It never stops at the
first fault: whoever is refused learns every reason, with the rule behind it. What nobody may have
(promise P2) is checked first and apart, whatever the policy says.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from kubemint.errors import Reason
from kubemint.policy.question import PROFILE_RULES, Question, hard_rules
from kubemint.policy.rules import Policy, Profile, ProfileApproval, ProfileQuota
from kubemint.requester import Requester
from kubemint.x509.issuer import IssuerLimits
from kubemint.x509.profile import BACKDATE, CertificateTerms
from kubemint.x509.request import SigningRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Sign exactly this: within the quota, and once it is approved, where these are set.

    With `credential_group` the certificate also says its own serial number, as one more group.
    """

    profile: str
    policy_version: str
    terms: CertificateTerms
    decided_at: datetime
    quota: ProfileQuota | None = None
    approval: ProfileApproval | None = None
    credential_group: bool = False


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
    question = Question(
        request=request, requester=requester, profile=profile, limits=policy.limits, now=now, issuer=issuer
    )
    for rule in PROFILE_RULES.values():
        reasons += rule(question)
    if reasons:
        return Refused(profile=profile.name, policy_version=policy.version, reasons=tuple(reasons))
    return Granted(
        profile=profile.name,
        policy_version=policy.version,
        terms=_terms(question),
        decided_at=now,
        quota=profile.quota,
        approval=profile.approval,
        credential_group=profile.credential_group,
    )


def _choose(request: SigningRequest, requester: Requester, policy: Policy) -> Profile | Reason:
    """Take the profile that was named, else the only one that is for this requester."""
    profiles = policy.profiles_for(requester)
    names = ", ".join(profile.name for profile in profiles)
    if not profiles and requester.renews is not None:
        return Reason(
            code="no-profile",
            message=f"profile {requester.renews.profile!r} does not renew certificates, or is no longer for who "
            "first asked; prove your identity anew",
            path=f"profiles.{requester.renews.profile}",
        )
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


def _terms(question: Question) -> CertificateTerms:
    request, issuer = question.request, question.issuer
    start = question.start
    if request.expiration_seconds is None:
        lifetime = min(question.profile.default_lifetime, *(most for most, _ in question.bounds))
    else:
        lifetime = timedelta(seconds=request.expiration_seconds)
    required = (pattern.text for pattern in question.required.patterns)
    return CertificateTerms(
        user=request.user,
        groups=tuple(dict.fromkeys((*request.groups, *required))),
        public_key=request.public_key,
        spki_der=request.spki_der,
        not_before=max(start - BACKDATE, issuer.not_before),
        not_after=min((start + lifetime).replace(microsecond=0), issuer.not_after),
    )
