"""Why a decision is what it is: every rule of every profile that is for the requester, one by one.

The trace is made by the functions that decide, not by a copy of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from kubemint.errors import Reason
from kubemint.policy.decision import (
    Decision,
    decide,
    hard_rules,
    key_reasons,
    lifetime_reasons,
    name_reasons,
)
from kubemint.policy.rules import Policy, Profile
from kubemint.requester import Requester
from kubemint.x509.issuer import IssuerLimits
from kubemint.x509.request import SigningRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rule and what it said; no reasons means that it passed."""

    rule: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileTrace:
    """The rules of one profile; `chosen` is the one that the decision was made by."""

    profile: str
    chosen: bool
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision and how it came about."""

    decision: Decision
    hard_rules: tuple[Step, ...]
    profiles: tuple[ProfileTrace, ...]


def explain(
    request: SigningRequest, requester: Requester, policy: Policy, now: datetime, issuer: IssuerLimits
) -> Explanation:
    """Decide, and show every rule that was looked at. Same arguments as `decide`, same verdict."""
    decision = decide(request, requester, policy, now, issuer)
    return Explanation(
        decision=decision,
        hard_rules=(Step(rule="hard-rules", reasons=tuple(hard_rules(request, issuer))),),
        profiles=tuple(
            ProfileTrace(
                profile=profile.name,
                chosen=profile.name == decision.profile,
                steps=tuple(_steps(request, profile, policy, now, issuer)),
            )
            for profile in policy.profiles_for(requester)
        ),
    )


def _steps(
    request: SigningRequest, profile: Profile, policy: Policy, now: datetime, issuer: IssuerLimits
) -> Iterator[Step]:
    limits = policy.limits
    user = name_reasons("user", request.user, profile.users, profile)
    yield Step(rule=f"{profile.path}.users", reasons=tuple(user))
    for group in request.groups:
        reasons = name_reasons("group", group, profile.groups, profile)
        yield Step(rule=f"{profile.path}.groups", reasons=tuple(reasons))
    yield Step(rule=f"{profile.path}.keys", reasons=tuple(key_reasons(request, profile, limits)))
    yield Step(
        rule=f"{profile.path}.lifetime",
        reasons=tuple(lifetime_reasons(request, profile, limits, now, issuer)),
    )
