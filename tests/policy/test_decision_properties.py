"""What holds of the verdict for any policy and any request."""

import dataclasses
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from kubemint.policy.claims import fill
from kubemint.policy.decision import Granted, Refused, decide
from kubemint.policy.explain import explain
from kubemint.policy.rules import Policy, is_reserved
from kubemint.requester import Requester
from kubemint.x509.issuer import IssuerLimits
from kubemint.x509.request import SigningRequest
from policy import strategies

FRIENDLY = settings(max_examples=150, deadline=None, derandomize=True)
CASE = {
    "asked": strategies.requests(),
    "requester": strategies.requesters,
    "rules": strategies.policies(),
    "now": strategies.moments,
    "issuer": strategies.issuers,
}


@FRIENDLY
@given(**CASE)
def test_the_same_question_has_the_same_answer(
    asked: SigningRequest, requester: Requester, rules: Policy, now: datetime, issuer: IssuerLimits
) -> None:
    """A verdict depends on its arguments alone, and there always is one."""
    decision = decide(asked, requester, rules, now, issuer)
    assert decision == decide(asked, requester, rules, now, issuer)
    assert isinstance(decision, Granted) or decision.reasons


@FRIENDLY
@given(**CASE)
def test_a_grant_is_within_every_bound(
    asked: SigningRequest, requester: Requester, rules: Policy, now: datetime, issuer: IssuerLimits
) -> None:
    """Whoever is granted something has a profile, asked for it, and gets it within profile, limits and CA."""
    decision = decide(asked, requester, rules, now, issuer)
    if isinstance(decision, Refused):
        return
    terms, start = decision.terms, now.replace(microsecond=0)
    (profile,) = [each for each in rules.profiles_for(requester) if each.name == decision.profile]
    claims, added = (requester.renews.first if requester.renews else requester).claims, profile.required
    assert (terms.user, terms.spki_der) == (asked.user, asked.spki_der)
    assert terms.groups[: len(asked.groups)] == asked.groups
    assert len(terms.groups) - len(asked.groups) <= sum(len(fill([each], claims).patterns) for each in added)
    assert terms.spki_der != issuer.spki_der
    assert asked.key_type in profile.keys & rules.limits.keys
    for name in (terms.user, *terms.groups):
        assert name.strip().casefold() != "system:masters"
        assert not is_reserved(name) or name in profile.reserved
    assert issuer.not_before <= terms.not_before <= start < terms.not_after <= issuer.not_after
    assert terms.not_after - start <= min(profile.max_lifetime, rules.limits.max_lifetime)


@FRIENDLY
@given(**CASE)
def test_a_renewal_never_leads_further(
    asked: SigningRequest, requester: Requester, rules: Policy, now: datetime, issuer: IssuerLimits
) -> None:
    """Same user, same or fewer groups, the same profile, and an end that the first proof has set."""
    decision = decide(asked, requester, rules, now, issuer)
    renews = requester.renews
    if isinstance(decision, Granted) and renews is not None:
        (profile,) = [each for each in rules.profiles if each.name == renews.profile]
        assert profile.renewal is not None
        assert profile.is_for(renews.first)
        assert (decision.profile, decision.terms.user) == (renews.profile, renews.user)
        assert set(decision.terms.groups) <= set(renews.groups)
        assert decision.terms.not_after <= renews.first_proven_at + profile.renewal


@FRIENDLY
@given(requester=strategies.requesters, rules=strategies.policies())
def test_the_index_finds_what_asking_every_profile_would(requester: Requester, rules: Policy) -> None:
    """Looking profiles up by who vouches and by claims leaves none out and lets none in."""
    assert rules.profiles_for(requester) == tuple(each for each in rules.profiles if each.is_for(requester))


@FRIENDLY
@given(**CASE, more=strategies.names)
def test_asking_for_one_more_group_never_helps(
    asked: SigningRequest, requester: Requester, rules: Policy, now: datetime, issuer: IssuerLimits, more: str
) -> None:
    """A request that is refused stays refused with a group added."""
    if isinstance(decide(asked, requester, rules, now, issuer), Refused):
        larger = dataclasses.replace(asked, groups=(*asked.groups, more))
        assert isinstance(decide(larger, requester, rules, now, issuer), Refused)


@FRIENDLY
@given(**CASE, more=strategies.seconds)
def test_asking_for_longer_never_helps(
    asked: SigningRequest, requester: Requester, rules: Policy, now: datetime, issuer: IssuerLimits, more: int
) -> None:
    """A request that is refused stays refused with a longer lifetime, or with one where none was asked for."""
    if isinstance(decide(asked, requester, rules, now, issuer), Refused):
        longer = dataclasses.replace(asked, expiration_seconds=(asked.expiration_seconds or 0) + more)
        assert isinstance(decide(longer, requester, rules, now, issuer), Refused)


@FRIENDLY
@given(**CASE, removed=st.sampled_from(strategies.PROFILE_NAMES), named=st.sampled_from(strategies.PROFILE_NAMES))
def test_a_policy_with_a_profile_less_grants_no_more(
    asked: SigningRequest,
    requester: Requester,
    rules: Policy,
    now: datetime,
    issuer: IssuerLimits,
    removed: str,
    named: str,
) -> None:
    """To who names the profile, taking a profile out of the policy gives nothing that was refused before.

    Without a name it may: of two profiles that were both meant, and so neither, one is left. Every grant that
    follows could be had before by naming that one, which the next test says.
    """
    by_name = dataclasses.replace(asked, profile=named)
    left = tuple(profile for profile in rules.profiles if profile.name != removed)
    after = decide(by_name, requester, dataclasses.replace(rules, profiles=left), now, issuer)
    assert isinstance(after, Refused) or after == decide(by_name, requester, rules, now, issuer)


@FRIENDLY
@given(**CASE, removed=st.sampled_from(strategies.PROFILE_NAMES))
def test_what_a_policy_with_a_profile_less_grants_could_be_had_before(
    asked: SigningRequest, requester: Requester, rules: Policy, now: datetime, issuer: IssuerLimits, removed: str
) -> None:
    """Whether a profile is named or not, no certificate comes within reach by taking a profile away."""
    left = tuple(profile for profile in rules.profiles if profile.name != removed)
    after = decide(asked, requester, dataclasses.replace(rules, profiles=left), now, issuer)
    if isinstance(after, Granted):
        by_name = dataclasses.replace(asked, profile=after.profile)
        assert after == decide(by_name, requester, rules, now, issuer)


@FRIENDLY
@given(**CASE, part=st.sampled_from(["users", "groups", "reserved", "keys", "requesters"]))
def test_a_profile_with_a_rule_less_grants_no_more(
    asked: SigningRequest, requester: Requester, rules: Policy, now: datetime, issuer: IssuerLimits, part: str
) -> None:
    """To who names the profile, taking a rule out of it gives nothing that was refused before."""
    by_name = dataclasses.replace(asked, profile="a")
    first, *others = rules.profiles
    shorter = type(getattr(first, part))(list(getattr(first, part))[1:])
    fewer = dataclasses.replace(rules, profiles=(dataclasses.replace(first, **{part: shorter}), *others))
    after = decide(by_name, requester, fewer, now, issuer)
    assert isinstance(after, Refused) or after == decide(by_name, requester, rules, now, issuer)


@FRIENDLY
@given(**CASE, lower=strategies.seconds)
def test_lower_limits_grant_no_more(
    asked: SigningRequest, requester: Requester, rules: Policy, now: datetime, issuer: IssuerLimits, lower: int
) -> None:
    """A lower ceiling refuses, or grants the same for no longer."""
    lowest = min(rules.limits.max_lifetime, timedelta(seconds=lower))
    limits = dataclasses.replace(rules.limits, max_lifetime=lowest)
    after = decide(asked, requester, dataclasses.replace(rules, limits=limits), now, issuer)
    before = decide(asked, requester, rules, now, issuer)
    if isinstance(after, Granted):
        assert isinstance(before, Granted)
        assert after.terms.not_after <= before.terms.not_after
        assert dataclasses.replace(after.terms, not_after=before.terms.not_after) == before.terms


@FRIENDLY
@given(**CASE)
def test_an_explanation_is_the_decision(
    asked: SigningRequest, requester: Requester, rules: Policy, now: datetime, issuer: IssuerLimits
) -> None:
    """The dry run gives the verdict, and the steps that failed have its reasons, no more and no fewer."""
    explanation = explain(asked, requester, rules, now, issuer)
    decision = decide(asked, requester, rules, now, issuer)
    assert explanation.decision == decision
    chosen = [trace for trace in explanation.profiles if trace.profile == decision.profile]
    steps = [*explanation.hard_rules, *(step for trace in chosen for step in trace.steps)]
    failed = [reason for step in steps for reason in step.reasons]
    if isinstance(decision, Granted):
        assert failed == []
        assert [trace.profile for trace in chosen] == [decision.profile]
    elif decision.profile is None:
        assert chosen == []
        assert list(decision.reasons[:-1]) == failed
    else:
        assert list(decision.reasons) == failed
