"""The dry run: every rule that was looked at, one by one."""

from kubemint.policy.decision import Granted, Refused
from kubemint.policy.explain import Explanation, explain
from kubemint.policy.rules import Policy
from kubemint.requester import Requester
from kubemint.x509.request import SigningRequest
from policy.rulebook import ISSUER, LAPTOP, NOW, STRANGER, certificate_rule, patterns, policy, profile, request


def explained(asked: SigningRequest, rules: Policy, requester: Requester = LAPTOP) -> Explanation:
    return explain(asked, requester, rules, NOW, ISSUER)


def test_each_rule_of_a_profile_is_a_step() -> None:
    """Users, groups, required groups, renewal, keys and lifetime are shown, also where they pass."""
    explanation = explained(request(groups=("developers", "team-a")), policy())
    assert isinstance(explanation.decision, Granted)
    (trace,) = explanation.profiles
    assert [step.rule for step in trace.steps] == [
        "profiles.developers.users",
        "profiles.developers.groups",
        "profiles.developers.required",
        "profiles.developers.renewal",
        "profiles.developers.keys",
        "profiles.developers.lifetime",
    ]
    assert not any(step.reasons for step in (*explanation.hard_rules, *trace.steps))


def test_the_step_that_failed_has_the_reason() -> None:
    """Who reads the trace sees which rule said no, and that the others did not."""
    explanation = explained(request(groups=("developers", "admins")), policy())
    (trace,) = explanation.profiles
    assert [[reason.code for reason in step.reasons] for step in trace.steps] == [
        [],
        ["group-not-allowed"],
        [],
        [],
        [],
        [],
    ]


def test_a_hard_rule_is_shown_apart() -> None:
    """What no policy can allow is not mixed with what this one does not."""
    explanation = explained(request(groups=("system:masters",)), policy(profile(groups=patterns("*"))))
    assert [reason.code for step in explanation.hard_rules for reason in step.reasons] == ["name-forbidden"]


def test_every_profile_of_the_requester_is_traced() -> None:
    """Where none could be chosen, the traces tell which one to name; profiles of others are not shown."""
    others = profile("operators", requesters=(certificate_rule(),))
    testers = profile("testers", groups=patterns("testers"))
    explanation = explained(request(groups=("testers",)), policy(profile(), testers, others))
    assert isinstance(explanation.decision, Refused)
    passed = {trace.profile: not any(step.reasons for step in trace.steps) for trace in explanation.profiles}
    assert passed == {"developers": False, "testers": True}


def test_a_stranger_sees_no_profile() -> None:
    """Whoever has no profile learns of none."""
    explanation = explained(request(), policy(), STRANGER)
    assert explanation.profiles == ()
