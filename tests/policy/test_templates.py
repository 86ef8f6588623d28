"""Names made of claims, and groups that are always added: what is granted by them, and what is not."""

import dataclasses
from typing import Any

import pytest

from kubemint.policy.decision import Granted, Refused, decide
from kubemint.policy.rules import Profile
from policy.rulebook import ISSUER, NOW, oidc_rule, patterns, pipeline, policy, profile, request

CI = profile(requesters=(oidc_rule(),), users=patterns("ci:{claims.repository}"), groups=())


def groups(
    rules: Profile, asked: tuple[str, ...] = (), user: str = "ci:acme/shop", **claims: Any
) -> tuple[str, ...]:
    """Give the groups that are granted."""
    decision = _decide(rules, asked, user, claims)
    assert isinstance(decision, Granted), decision
    assert decision.terms.user == user
    return decision.terms.groups


def codes(rules: Profile, asked: tuple[str, ...] = (), user: str = "ci:acme/shop", **claims: Any) -> list[str]:
    """Give the codes of a refusal."""
    decision = _decide(rules, asked, user, claims)
    assert isinstance(decision, Refused), decision
    return [reason.code for reason in decision.reasons]


def _decide(rules: Profile, asked: tuple[str, ...], user: str, claims: dict[str, Any]) -> Granted | Refused:
    said = {"repository": "acme/shop"} | claims
    return decide(request(user=user, groups=asked), pipeline(**said), policy(rules), NOW, ISSUER)


def test_a_user_name_is_bound_to_the_claim() -> None:
    """The pipeline of a repository gets its own name, and no other one."""
    assert groups(CI) == ()
    assert codes(CI, repository="evil/shop") == ["user-not-allowed"]
    assert codes(CI, user="ci:acme/pay") == ["user-not-allowed"]


@pytest.mark.parametrize(
    "said", ["*", "acme/*", "acme/shop\n", "acme/shop\u200b", "{claims.ref}", "", 5, None, {}]
)
def test_a_claim_that_is_no_name_grants_nothing(said: Any) -> None:
    """A repository that is called `*` is not every repository; the answer says why."""
    decision = _decide(CI, (), "ci:acme/shop", {"repository": said, "ref": "acme/shop"})
    assert isinstance(decision, Refused)
    assert "the claim 'repository'" in decision.reasons[0].message


@pytest.mark.parametrize("said", ["stem:masters", "stem:nodes", "STEM:masters", "stem:node:worker-1"])
def test_a_claim_does_not_make_a_reserved_name(said: str) -> None:
    """A template that begins like one of Kubernetes' names is completed to it in vain."""
    sly = profile(requesters=(oidc_rule(),), users=patterns("*"), groups=patterns("sy{claims.sub}"))
    assert "group-reserved" in codes(sly, (f"sy{said}",), sub=said)
    added = dataclasses.replace(sly, groups=(), required=patterns("sy{claims.sub}"))
    assert "group-reserved" in codes(added, sub=said)
    named = dataclasses.replace(sly, users=patterns("sy{claims.sub}"))
    assert "user-reserved" in codes(named, user=f"sy{said}", sub=said)


@pytest.mark.parametrize("said", ["system:masters", "System:Masters", "SYSTEM:MASTERS"])
def test_a_claim_does_not_make_system_masters(said: str) -> None:
    """Neither asked for nor added, whatever the profile lists as reserved (P2)."""
    wide = profile(requesters=(oidc_rule(),), groups=patterns("{claims.sub}"), reserved=frozenset({said}))
    added = dataclasses.replace(wide, required=patterns("{claims.sub}"))
    assert "name-forbidden" in codes(wide, (said,), sub=said)
    assert codes(added, sub=said) == ["name-forbidden"]


def test_a_list_allows_each_of_its_values() -> None:
    """Who is in two teams may ask for both, and for no third."""
    teams = dataclasses.replace(CI, groups=patterns("team-{claims.teams}"))
    assert groups(teams, ("team-b", "team-a"), teams=["a", "b"]) == ("team-b", "team-a")
    assert codes(teams, ("team-c",), teams=["a", "b"]) == ["group-not-allowed"]
    assert codes(teams, ("team-a",)) == ["group-not-allowed"]


def test_a_claim_that_fills_one_template_badly_leaves_the_others() -> None:
    """What is allowed beside it stays allowed."""
    both = dataclasses.replace(CI, groups=patterns("team-{claims.team}", "viewers"))
    assert groups(both, ("viewers",), team="*") == ("viewers",)
    assert codes(both, ("team-x",), team="*") == ["group-not-allowed"]


def test_required_groups_are_added() -> None:
    """Asked for or not, they are in the certificate, once, behind those that were asked for."""
    rules = dataclasses.replace(
        CI, groups=patterns("viewers"), required=patterns("ci", "repo:{claims.repository}")
    )
    assert groups(rules) == ("ci", "repo:acme/shop")
    assert groups(rules, ("viewers", "ci")) == ("viewers", "ci", "repo:acme/shop")
    assert codes(rules, ("repo:evil/shop",)) == ["group-not-allowed"]


@pytest.mark.parametrize("said", [None, "*", "", 5, "a\nb", ["a", "*"], "x" * 65])
def test_a_required_group_that_cannot_be_made_refuses(said: Any) -> None:
    """Without it the certificate would be another one."""
    rules = dataclasses.replace(CI, required=patterns("team-{claims.team}"))
    assert codes(rules, team=said) == ["claim-unusable"]
    assert groups(rules, team="a") == ("team-a",)


@pytest.mark.parametrize(
    ("template", "said", "code"),
    [
        ("x" * 60 + "{claims.team}", "abcdef", "name-too-long"),
        ("e{claims.team}", "\u0301a", "name-not-normalized"),
        ("a{claims.team} ", "b", "name-surrounding-space"),
    ],
)
def test_good_parts_can_make_a_bad_name(template: str, said: str, code: str) -> None:
    """The whole name is judged as a name in a CSR is."""
    rules = dataclasses.replace(CI, required=patterns(template))
    assert codes(rules, team=said) == [code]


def test_a_required_reserved_group_must_be_listed() -> None:
    """As every other reserved name."""
    rules = dataclasses.replace(CI, required=patterns("system:monitoring"))
    assert codes(rules) == ["group-reserved"]
    assert groups(dataclasses.replace(rules, reserved=frozenset({"system:monitoring"}))) == ("system:monitoring",)


def test_a_refusal_does_not_list_hundreds_of_names() -> None:
    """A long list of claims does not make an answer that is as long for every group."""
    rules = dataclasses.replace(CI, groups=patterns("{claims.teams}"))
    decision = _decide(rules, ("x",), "ci:acme/shop", {"teams": [f"team-{number}" for number in range(500)]})
    assert isinstance(decision, Refused)
    assert "and 490 more" in decision.reasons[0].message
    assert len(decision.reasons[0].message) < 500
