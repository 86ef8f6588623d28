"""What is said of a requester: how rules match on it, and how names are filled with it."""

from typing import Any

import pytest
from hypothesis import given, settings

from kubemint.policy.claims import FILLED_MAX, ClaimRule, Pattern, fill, find_claim
from kubemint.x509.names import name_reasons
from policy import strategies
from policy.rulebook import kubernetes_rule, oidc_rule, patterns, pipeline, pod

FRIENDLY = settings(max_examples=300, deadline=None, derandomize=True)


def matches(claims: dict[str, Any], **wanted: Any) -> bool:
    return oidc_rule(**wanted).matches(pipeline(**claims))


@pytest.mark.parametrize(
    ("claims", "wanted"),
    [
        ({"repository": "acme/shop"}, {"repository": "acme/shop"}),
        ({"repository": "acme/shop"}, {"repository": "acme/*"}),
        ({"repository": "acme/shop"}, {"repository": ("acme/pay", "acme/shop")}),
        ({"groups": ["sales", "engineering"]}, {"groups": "engineering"}),
        ({"groups": ["sales", "eng-eu"]}, {"groups": ("ops", "eng-*")}),
        ({"verified": True, "run": 3}, {"verified": True, "run": 3}),
        ({"verified": [False, True]}, {"verified": True}),
        ({"kubernetes": {"pod": {"name": "a"}}}, {"kubernetes__pod__name": "a"}),
        ({"a.b": "x", "a": {"b": "y"}}, {"a__b": "x"}),
        ({"repository": "x"}, {}),
    ],
)
def test_a_rule_means_who_has_all_its_claims(claims: dict[str, Any], wanted: dict[str, Any]) -> None:
    """A value by itself or in a list, a pattern for the whole text, a path with dots."""
    assert matches(claims, **wanted)


@pytest.mark.parametrize(
    ("claims", "wanted"),
    [
        ({}, {"repository": "*"}),
        ({"repository": None}, {"repository": "*"}),
        ({"repository": "acme/shop2"}, {"repository": "acme/shop"}),
        ({"repository": "evil/acme/shop"}, {"repository": "acme/*"}),
        ({"repository": "acme/shop\n"}, {"repository": "acme/shop"}),
        ({"repository": "Acme/shop"}, {"repository": "acme/shop"}),
        ({"repository": "acme/shop", "ref": "x"}, {"repository": "acme/shop", "ref": "main"}),
        ({"groups": []}, {"groups": "*"}),
        ({"groups": [["engineering"]]}, {"groups": "engineering"}),
        ({"groups": "engineering,sales"}, {"groups": "engineering"}),
        ({"verified": 1}, {"verified": True}),
        ({"verified": "true"}, {"verified": True}),
        ({"run": True}, {"run": 1}),
        ({"run": 1.0}, {"run": 1}),
        ({"run": "1"}, {"run": 1}),
        ({"run": 1}, {"run": "1"}),
        ({"a.b": "x", "a": {"b": "y"}}, {"a__b": "y"}),
        ({"a": "b"}, {"a__b": "*"}),
        ({"a": {"b": {}}}, {"a__b": "*"}),
    ],
)
def test_a_rule_means_nobody_else(claims: dict[str, Any], wanted: dict[str, Any]) -> None:
    """A claim that is missing, of another type or only like it opens nothing."""
    assert not matches(claims, **wanted)


def test_the_same_claims_of_another_issuer_prove_nothing() -> None:
    """Whoever runs an issuer says there what it likes."""
    assert not oidc_rule("corp", repository="acme/shop").matches(pipeline(repository="acme/shop"))


@pytest.mark.parametrize(
    ("namespace", "account", "expected"),
    [
        (None, None, True),
        ("ci", "builder", True),
        ("c*", "*", True),
        ("ci", "deployer", False),
        ("prod", None, False),
        ("c", None, False),
    ],
)
def test_a_service_account_has_a_namespace_and_a_name(
    namespace: str | None, account: str | None, expected: bool
) -> None:
    """Both must fit, as a whole."""
    assert kubernetes_rule(namespace, account).matches(pod()) is expected


def filled(template: str, **claims: Any) -> list[str]:
    result = fill(patterns(template), claims)
    assert not result.problems, result
    return [pattern.text for pattern in result.patterns]


@pytest.mark.parametrize(
    ("template", "claims", "texts"),
    [
        ("jane", {}, ["jane"]),
        ("team-*", {}, ["team-*"]),
        ("ci:{claims.repository}", {"repository": "acme/shop"}, ["ci:acme/shop"]),
        ("{claims.repository}:*", {"repository": "acme/shop"}, ["acme/shop:*"]),
        ("{claims.a}-{claims.b}", {"a": "x", "b": "y"}, ["x-y"]),
        ("{claims.a}{claims.a}", {"a": "x"}, ["xx"]),
        ("{claims.kubernetes.pod}", {"kubernetes": {"pod": "a"}}, ["a"]),
        ("{claims.https://acme.test/team}", {"https://acme.test/team": "a"}, ["a"]),
        ("team-{claims.groups}", {"groups": ["a", "b"]}, ["team-a", "team-b"]),
        ("{claims.a}-{claims.b}", {"a": ["x", "y"], "b": ["1", "2"]}, ["x-1", "x-2", "y-1", "y-2"]),
        ("team-{claims.groups}", {"groups": []}, []),
    ],
)
def test_a_template_stands_for_what_the_claims_say(
    template: str, claims: dict[str, Any], texts: list[str]
) -> None:
    """Each value of a list gives a name."""
    assert filled(template, **claims) == texts


@pytest.mark.parametrize(
    "value",
    [
        *("*", "acme/*", "{claims.sub}", "{", "}", "", " a", "a ", "a\nb", "a\x00b", "a\x1b[2J", "a\u200bb"),
        *("a\u202eb", "\ud800", "e\u0301", "x" * 65, None, 5, True, 1.5, {"a": "b"}, [["a"]], ["a", "*"]),
    ],
)
def test_a_claim_that_no_name_may_hold_fills_nothing(value: Any) -> None:
    """A wildcard, a brace, a control or invisible character, or no text: the template says why it has no name."""
    result = fill(patterns("ci:{claims.repository}"), {"repository": value})
    assert [pattern.text for pattern in result.patterns] == (
        ["ci:a"] if isinstance(value, list) and "*" in value else []
    )
    assert len(result.problems) == 1
    assert "'repository'" in result.problems[0]


def test_a_missing_claim_is_named() -> None:
    """The requester learns what its token lacks."""
    assert fill(patterns("{claims.email}", "jane"), {}) == fill(
        patterns("{claims.email}", "jane"), {"email": None}
    )
    assert fill(patterns("{claims.email}"), {}).problems == ("the claim 'email' is missing",)


def test_a_template_stands_for_so_many_names_and_no_more() -> None:
    """Two long lists do not multiply without end."""
    many = [str(number) for number in range(FILLED_MAX)]
    result = fill(patterns("{claims.a}-{claims.b}"), {"a": many, "b": many})
    assert len(result.patterns) == FILLED_MAX
    assert "more than" in result.problems[0]


@FRIENDLY
@given(claims=strategies.claims)
def test_what_fills_a_name_is_always_good_as_a_name(claims: dict[str, Any]) -> None:
    """Whatever a token says, a pattern made of it has no wildcard of its own, and nothing that cannot be seen."""
    for name in ("repository", "sub", "groups", "a.b", "a"):
        for pattern in fill(patterns(f"{{claims.{name}}}"), claims).patterns:
            assert not set("*{}") & set(pattern.text)
            assert not list(name_reasons(pattern.text, "name"))


@FRIENDLY
@given(claims=strategies.claims, rule=strategies.claim_rules)
def test_a_rule_is_met_by_a_value_that_is_there(claims: dict[str, Any], rule: ClaimRule) -> None:
    """An independent reading of the rule gives the same answer."""
    found = find_claim(claims, rule.path)
    values = found if isinstance(found, list) else [found]
    expected = any(
        wanted.matches(value) if isinstance(wanted, Pattern) and isinstance(value, str) else False
        for wanted in rule.wanted
        for value in values
    ) or any(
        not isinstance(wanted, Pattern) and (type(wanted), wanted) == (type(value), value)
        for wanted in rule.wanted
        for value in values
    )
    assert rule.matches(claims) == expected
