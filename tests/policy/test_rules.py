"""The rules as values: patterns, reserved names, and who a rule means."""

import dataclasses
import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubemint.policy.claims import Pattern
from kubemint.policy.rules import Roles, TokenRule, is_reserved
from kubemint.requester import Method, Requester
from policy.rulebook import LAPTOP, STRANGER, WORKSTATION, certificate_rule, oidc_rule, pipeline, policy, profile

FRIENDLY = settings(max_examples=300, deadline=None, derandomize=True)
FEW_LETTERS = st.text("ab:*", max_size=12)


def as_regular_expression(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("developers", "developers"),
        ("*", ""),
        ("*", "anything at all\n"),
        ("team-*", "team-"),
        ("team-*", "team-a"),
        ("*-admins", "eu-admins"),
        ("team-*-ops", "team-a-b-ops"),
        ("a*a", "aa"),
        ("a**b", "ab"),
        ("ci:*:*", "ci:acme:main"),
        ("", ""),
    ],
)
def test_a_pattern_matches_the_whole_name(pattern: str, name: str) -> None:
    """`*` stands for any run of characters, none too; all else stands for itself."""
    assert Pattern(pattern).matches(name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("developers", "developer"),
        ("developers", "developers2"),
        ("developers", "Developers"),
        ("developers", "developers\n"),
        ("team-*", "a-team-b"),
        ("team-*", "team"),
        ("*-admins", "eu-admins2"),
        ("team-*-ops", "team-ops"),
        ("a*a", "a"),
        ("a*b*a", "aba-"),
        ("a?c", "abc"),
        ("[ab]", "a"),
        (".*", "a"),
        ("a|b", "a"),
        ("", "a"),
    ],
)
def test_a_pattern_matches_no_more_than_it_says(pattern: str, name: str) -> None:
    """A part of the name is not enough, case counts, and no other character is special."""
    assert not Pattern(pattern).matches(name)


@FRIENDLY
@example(pattern="a*a*a", name="aa")
@example(pattern="*a*", name="b")
@given(pattern=FEW_LETTERS, name=FEW_LETTERS)
def test_a_pattern_is_what_a_regular_expression_would_be(pattern: str, name: str) -> None:
    """An independent reading of each pattern gives the same verdict on each name."""
    assert Pattern(pattern).matches(name) == bool(as_regular_expression(pattern).fullmatch(name))


@FRIENDLY
@given(parts=st.lists(st.text("ab", max_size=3), min_size=1, max_size=5), filling=st.text("abc", max_size=3))
def test_a_pattern_matches_what_it_was_made_from(parts: list[str], filling: str) -> None:
    """Whatever stands in the places of `*`, the name matches."""
    assert Pattern("*".join(parts)).matches(filling.join(parts))


def test_no_pattern_is_slow() -> None:
    """A pattern of many `*` on a long name is no way to keep the service busy."""
    begin = time.perf_counter()
    assert not Pattern("a*" * 500 + "b").matches("a" * 20_000)
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize(
    "name",
    [
        "system:masters",
        "system:node:worker-1",
        "system:",
        "kubeadm:x",
        "SYSTEM:nodes",
        "Kubeadm:x",
        " system:nodes",
    ],
)
def test_names_of_kubernetes_are_reserved(name: str) -> None:
    """What begins `system:` or `kubeadm:` is Kubernetes' own, in any case, so that none looks like it."""
    assert is_reserved(name)


@pytest.mark.parametrize("name", ["", "jane", "system", "kubeadm", "my-system:x", "systems:x", "team:system:x"])
def test_other_names_are_not_reserved(name: str) -> None:
    """The prefix is meant, not the word."""
    assert not is_reserved(name)


def test_a_token_rule_means_the_token_of_its_name() -> None:
    """Another token is somebody else."""
    assert TokenRule(token="laptop").matches(LAPTOP)
    assert not TokenRule(token="laptop").matches(STRANGER)
    assert not TokenRule(token="lap*").matches(LAPTOP)


@pytest.mark.parametrize(
    ("common_name", "organization"),
    [(None, None), ("jane", None), ("j*", None), (None, "engineering"), (None, "on*"), ("jane", "oncall")],
)
def test_a_certificate_rule_means_who_has_all_it_names(common_name: str | None, organization: str | None) -> None:
    """The CA, the common name and one of the organizations fit; what is left out fits anything."""
    assert certificate_rule(common_name, organization).matches(WORKSTATION)


@pytest.mark.parametrize(
    ("common_name", "organization"),
    [("eve", None), ("jan", None), (None, "sales"), (None, "engineer"), ("jane", "sales"), ("eve", "oncall")],
)
def test_a_certificate_rule_means_nobody_else(common_name: str | None, organization: str | None) -> None:
    """One part that does not fit is enough."""
    assert not certificate_rule(common_name, organization).matches(WORKSTATION)


@pytest.mark.parametrize(
    ("names", "fits"),
    [
        ({"uri": "spiffe://acme/jane"}, True),
        ({"uri": "spiffe://acme/*", "dns_name": "*.acme.test"}, True),
        ({"uri": "spiffe://acme/eve"}, False),
        ({"uri": "spiffe://acme/*", "dns_name": "acme.test"}, False),
        ({"dns_name": "jane.acme.tes"}, False),
    ],
)
def test_a_certificate_rule_may_name_an_alternative_name(names: dict[str, str], fits: bool) -> None:
    """SPIFFE IDs and host names are matched as a whole, and all that is named must fit."""
    assert certificate_rule(**names).matches(WORKSTATION) is fits
    assert not certificate_rule(**names).matches(dataclasses.replace(WORKSTATION, claims={}))


def test_a_certificate_of_another_ca_is_somebody_else() -> None:
    """The same names under another authority prove nothing."""
    assert not certificate_rule().matches(dataclasses.replace(WORKSTATION, authority="guests"))


@pytest.mark.parametrize("method", Method)
def test_a_token_is_no_certificate_and_the_other_way_round(method: Method) -> None:
    """A token that has the name of a CA, and a CA that has the name of a token, open nothing."""
    requester = Requester(
        method=method, authority="shared", identity="x", evidence="x", claims={"commonName": "jane"}
    )
    by_token = TokenRule(token="shared").matches(requester)
    by_certificate = dataclasses.replace(certificate_rule(), certificate="shared").matches(requester)
    assert (by_token, by_certificate) == (method is Method.TOKEN, method is Method.CERTIFICATE)


def test_a_certificate_without_a_name_matches_only_what_asks_for_none() -> None:
    """No common name is not a name: a pattern for one letter or more does not fit it."""
    nameless = dataclasses.replace(WORKSTATION, claims={"organizations": []})
    assert certificate_rule().matches(nameless)
    assert not certificate_rule(common_name="jane").matches(nameless)
    assert not certificate_rule(organization="*").matches(nameless)


def test_profiles_are_for_whom_their_rules_name() -> None:
    """A requester gets the profiles of which one rule means it, in their order; an empty list means nobody."""
    first = profile("first", requesters=(certificate_rule("eve"), TokenRule(token="laptop")))
    second = profile("second", requesters=())
    third = profile("third")
    assert policy(first, second, third).profiles_for(LAPTOP) == (first, third)
    assert policy(first, second, third).profiles_for(STRANGER) == ()


def test_roles_are_held_by_whom_their_rules_name() -> None:
    """An auditor reads, an operator acts and reads; nobody has a role by default."""
    roles = Roles(auditors=(TokenRule(token="laptop"),), operators=(certificate_rule("jane"),))
    assert roles.held_by(LAPTOP) == ("auditor",)
    assert roles.held_by(WORKSTATION) == ("operator",)
    assert roles.held_by(STRANGER) == ()
    assert [roles.may_read_the_log(each) for each in (LAPTOP, WORKSTATION, STRANGER)] == [True, True, False]
    assert not Roles().may_read_the_log(LAPTOP)


def test_a_profile_is_found_among_hundreds_without_asking_each() -> None:
    """It does not matter which claim a rule names first: the one that tells most is looked up."""
    rules = [oidc_rule(ref="refs/heads/main", repository=f"acme/{number}") for number in range(1000)]
    many = policy(*(profile(f"p{number}", requesters=(rule,)) for number, rule in enumerate(rules)))
    asking = pipeline(repository="acme/999", ref="refs/heads/main")
    assert [found.name for found in many.profiles_for(asking)] == ["p999"]
    begin = time.perf_counter()
    for _ in range(1000):
        many.profiles_for(asking)
    assert time.perf_counter() - begin < 1
