"""Why a decision is what it is: every rule of every profile that is for the requester, one by one.

The trace is made by the functions that decide, not by a copy of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from kubemint.errors import Reason
from kubemint.policy.decision import Decision, decide
from kubemint.policy.question import PROFILE_RULES, Question, hard_rules
from kubemint.policy.rules import Policy, Profile, RequesterRule
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
    """The rules of one profile."""

    profile: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision and how it came about.

    `others` are profiles that are not for the requester though their rules trust who vouches for it, and
    why: what other people's rules are is not for every requester to see.
    """

    decision: Decision
    hard_rules: tuple[Step, ...]
    profiles: tuple[ProfileTrace, ...]
    others: tuple[ProfileTrace, ...]


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
                steps=tuple(
                    _steps(
                        Question(
                            request=request,
                            requester=requester,
                            profile=profile,
                            limits=policy.limits,
                            now=now,
                            issuer=issuer,
                        )
                    )
                ),
            )
            for profile in policy.profiles_for(requester)
        ),
        others=tuple(_others(requester, policy)),
    )


def _others(requester: Requester, policy: Policy) -> Iterator[ProfileTrace]:
    proven = requester.first
    for profile in policy.profiles:
        if profile.is_for(requester):
            continue
        steps = tuple(
            Step(rule=f"{profile.path}.requesters.{place}", reasons=_not_meant(rule, proven, profile, place))
            for place, rule in enumerate(profile.requesters)
            if rule.authority == (proven.method, proven.authority)
        )
        if steps:
            yield ProfileTrace(profile=profile.name, steps=steps)


def _not_meant(rule: RequesterRule, requester: Requester, profile: Profile, place: int) -> tuple[Reason, ...]:
    path = f"{profile.path}.requesters.{place}"
    mismatches = rule.mismatches(requester)
    return tuple(Reason(code="requester-not-meant", message=message, path=path) for message in mismatches)


def _steps(question: Question) -> Iterator[Step]:
    for name, rule in PROFILE_RULES.items():
        yield Step(rule=f"{question.profile.path}.{name}", reasons=tuple(rule(question)))
