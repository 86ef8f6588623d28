"""What loads, and what a reviewer is told before: each with the path where it stands."""

import time
from typing import Any

import pytest

from kubemint.documents import parse_yaml
from kubemint.policy.claims import Pattern
from kubemint.policy.rules import Profile, TokenRule
from kubemint.policy.warnings import policy_warnings, unknown_authorities
from policy.files import PROFILE, SMALL, changed, load
from policy.rulebook import certificate_rule, kubernetes_rule, oidc_rule, policy, profile

OIDC = {"oidc": "github", "claims": {"repository": "acme/shop"}}


def warned(*profiles: Profile) -> list[tuple[str, str]]:
    return list(policy_warnings(policy(*profiles)))


def narrow(name: str, **changes: Any) -> Profile:
    """Make a profile that there is nothing to say about."""
    quiet = {"requesters": (TokenRule(token=name),), "users": (Pattern(name),), "groups": (Pattern(name),)}
    return profile(name, **(quiet | changes))


def test_a_narrow_policy_has_no_warning() -> None:
    """Where the names are bound and the bounds are in order there is nothing to say."""
    assert not list(policy_warnings(load(parse_yaml(SMALL))))
    assert not warned(narrow("a"), narrow("b"))


@pytest.mark.parametrize(
    ("path", "value", "place", "word"),
    [
        (f"{PROFILE}.users", ["jane", "j*"], f"{PROFILE}.users.1", "choose the user name"),
        (f"{PROFILE}.users", ["*"], f"{PROFILE}.users.0", "choose the user name"),
        (f"{PROFILE}.lifetime.max", "48h", f"{PROFILE}.lifetime.max", "above limits.maxLifetime"),
        (f"{PROFILE}.requesters", [], f"{PROFILE}.requesters", "nobody"),
        (f"{PROFILE}.requesters", [{"oidc": "github"}], f"{PROFILE}.requesters.0", "everybody"),
        (f"{PROFILE}.users", ["{claims.sub}"], f"{PROFILE}.requesters.0", "no claims"),
        (f"{PROFILE}.groups", ["{claims.sub}"], f"{PROFILE}.requesters.0", "no claims"),
        ("roles", {"operator": [{"oidc": "corp"}]}, "roles.operator.0", "everybody"),
        ("roles", {"auditor": [OIDC, {"kubernetes": "prod"}]}, "roles.auditor.1", "namespace and serviceAccount"),
    ],
)
def test_what_a_reviewer_should_know_is_warned_about(path: str, value: Any, place: str, word: str) -> None:
    """Each once, where it stands."""
    ((found, sentence),) = policy_warnings(load(changed(path, value, SMALL)))
    assert found == place
    assert word in sentence


def test_a_lifetime_above_a_day() -> None:
    """What counts is the shorter of the profile's and the limits'."""
    document = changed(f"{PROFILE}.lifetime.max", "25h", SMALL)
    document["limits"] = {"maxLifetime": "48h"}
    ((path, sentence),) = policy_warnings(load(document))
    assert (path, "more than a day" in sentence) == (f"{PROFILE}.lifetime.max", True)
    document["profiles"]["developers"]["lifetime"]["max"] = "24h"
    assert not list(policy_warnings(load(document)))


@pytest.mark.parametrize(
    ("claims", "wild"),
    [
        ({}, True),
        ({"repository": "*"}, True),
        ({"repository": "**"}, True),
        ({"repository": ("acme/shop", "*")}, True),
        ({"repository": "*", "ref": "*"}, True),
        ({"repository": "acme/*"}, False),
        ({"repository": "*", "ref": "main"}, False),
        ({"verified": True}, False),
        ({"run": 1}, False),
    ],
)
def test_an_issuer_without_a_condition(claims: dict[str, Any], wild: bool) -> None:
    """A public issuer signs for everybody in the world."""
    found = [path for path, sentence in warned(narrow("a", requesters=(oidc_rule(**claims),)))]
    assert found == (["profiles.a.requesters.0"] if wild else [])


@pytest.mark.parametrize(
    ("namespace", "account", "names"),
    [
        (None, None, "namespace and serviceAccount"),
        ("ci", None, "serviceAccount"),
        (None, "builder", "namespace"),
        ("*", "builder", "namespace"),
        ("ci", "builder", None),
        ("ci-*", "b*", None),
    ],
)
def test_a_cluster_without_a_condition(namespace: str | None, account: str | None, names: str | None) -> None:
    """Whoever may create a service account anywhere is meant."""
    found = warned(narrow("a", requesters=(kubernetes_rule(namespace, account),)))
    assert [sentence.split(" may be")[0] for _, sentence in found] == ([names] if names else [])


def test_a_name_bound_to_a_claim_may_have_an_end_of_choice() -> None:
    """It still says whose it is."""
    bound = narrow("a", requesters=(oidc_rule(sub="x"),), users=(Pattern("{claims.sub}:*"),))
    assert not warned(bound)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"groups": ("dev",)}, {"groups": ("dev",)}, {"a.groups.0": "b", "b.groups.0": "a"}),
        ({"groups": ("dev",)}, {"required": ("dev",)}, {"a.groups.0": "b", "b.required.0": "a"}),
        ({"groups": ("x", "dev")}, {"groups": ("d*",)}, {"a.groups.1": "b"}),
        ({"groups": ("t-{claims.a}",)}, {"groups": ("t-{claims.a}",)}, {"a.groups.0": "b", "b.groups.0": "a"}),
        ({"groups": ("dev",)}, {"groups": ("ops",)}, {}),
    ],
)
def test_a_group_of_two_profiles(first: Any, second: Any, expected: dict[str, str]) -> None:
    """Whoever grants a right to the group grants it to both."""
    rules = [
        narrow(
            name,
            requesters=(oidc_rule(sub=name),),
            **{field: tuple(map(Pattern, texts)) for field, texts in given.items()},
        )
        for name, given in (("a", first), ("b", second))
    ]
    found = {path.removeprefix("profiles."): sentence for path, sentence in warned(*rules)}
    assert found.keys() == expected.keys()
    for path, other in expected.items():
        assert f"handed out by {other} too" in found[path]


def test_a_profile_that_only_its_name_reaches() -> None:
    """All its requesters have another profile as well."""
    laptop, phone = TokenRule(token="laptop"), TokenRule(token="phone")
    found = warned(narrow("a", requesters=(laptop,)), narrow("b", requesters=(laptop, phone)))
    assert [(path, "may use b too" in sentence) for path, sentence in found] == [("profiles.a.requesters", True)]


def test_what_the_configuration_does_not_know() -> None:
    """A rule for nobody, in silence, is a slip; what is known, and a kind that is not looked at, is not."""
    rules = policy(
        narrow("a", requesters=(TokenRule(token="ci"), certificate_rule(), oidc_rule(), kubernetes_rule()))
    )
    nothing: dict[str, list[str]] = {"token": [], "certificate": [], "oidc": [], "kubernetes": []}
    everything = {"token": ["ci"], "certificate": ["corp"], "oidc": ["github"], "kubernetes": ["prod"]}
    assert not list(unknown_authorities(rules, everything))
    assert not list(unknown_authorities(rules, {}))
    assert dict(unknown_authorities(rules, nothing)) == {
        "profiles.a.requesters.0": "the configuration has no token 'ci'",
        "profiles.a.requesters.1": "the configuration has no certificate 'corp'",
        "profiles.a.requesters.2": "the configuration has no oidc 'github'",
        "profiles.a.requesters.3": "the configuration has no kubernetes 'prod'",
    }


def test_a_role_for_an_unknown_authority() -> None:
    """Roles are looked at as profiles are."""
    loaded = load(changed("roles", {"operator": [{"oidc": "x", "claims": {"a": "b"}}]}, SMALL))
    assert [path for path, _ in unknown_authorities(loaded, {"oidc": ["y"]})] == ["roles.operator.0"]


def test_a_thousand_profiles_are_read_quickly() -> None:
    """Looking for what they share is no square of their number."""
    many = [narrow(f"p{number}", requesters=(oidc_rule(repository=f"acme/{number}"),)) for number in range(1000)]
    begin = time.perf_counter()
    assert not warned(*many)
    assert time.perf_counter() - begin < 1
