"""The policy file never hands out what Kubernetes keeps for itself, unless it says so twice (promise P2)."""

import pytest

from policy.files import PROFILE, SMALL, changed, load, problems


@pytest.mark.parametrize(
    "name", ["system:masters", "System:Masters", "SYSTEM:MASTERS", " system:masters", "\tsystem:masters \n"]
)
@pytest.mark.parametrize(
    "place",
    [
        f"{PROFILE}.users.0",
        f"{PROFILE}.groups.0",
        f"{PROFILE}.groups.1",
        f"{PROFILE}.reserved.0",
        f"{PROFILE}.requesters.1.commonName",
        f"{PROFILE}.requesters.1.organization",
        f"{PROFILE}.required.0",
        "roles.operator.0.organization",
    ],
)
def test_system_masters_does_not_load(name: str, place: str) -> None:
    """A policy that names it anywhere, in any case, stops the start (P2)."""
    assert "never given to anybody" in problems(changed(place, name))[place]


def test_system_masters_does_not_load_beside_its_reserved_entry() -> None:
    """Listing it in both places, as other reserved names must be, does not help."""
    document = changed(f"{PROFILE}.groups.2", "system:masters")
    document["profiles"]["developers"]["reserved"] = ["system:masters"]
    assert set(problems(document)) == {f"{PROFILE}.groups.2", f"{PROFILE}.reserved.0"}


@pytest.mark.parametrize("pattern", ["system:*", "system:node:*", "System:*", "kubeadm:*", "system:masters*"])
@pytest.mark.parametrize("field", ["users", "groups"])
def test_a_pattern_over_reserved_names_does_not_load(pattern: str, field: str) -> None:
    """Reserved names are given one by one, never by the handful."""
    assert "list each name exactly" in problems(changed(f"{PROFILE}.{field}.0", pattern))[f"{PROFILE}.{field}.0"]


@pytest.mark.parametrize("name", ["system:node:worker-1", "kubeadm:cluster-admins", "SYSTEM:nodes"])
@pytest.mark.parametrize("field", ["users", "groups", "required"])
def test_a_reserved_name_must_be_listed_twice(name: str, field: str) -> None:
    """Once where it is given and once under `reserved`: neither alone loads, both together do."""
    given_only = changed(f"{PROFILE}.{field}", [name])
    assert "list it under reserved too" in problems(given_only)[PROFILE]
    listed_only = changed(f"{PROFILE}.reserved", [name], SMALL)
    assert "allowed by none of users, groups and required" in problems(listed_only)[f"{PROFILE}.reserved"]
    both = changed(f"{PROFILE}.{field}", [name], SMALL)
    both["profiles"]["developers"]["reserved"] = [name]
    assert load(both).profiles[0].reserved == frozenset({name})


@pytest.mark.parametrize("name", ["system:*", "*", "system:node:{name}", "}"])
def test_a_reserved_entry_is_an_exact_name(name: str) -> None:
    """No pattern hides under `reserved`."""
    assert "must be an exact name" in problems(changed(f"{PROFILE}.reserved.0", name))[f"{PROFILE}.reserved.0"]


@pytest.mark.parametrize(
    "text",
    ["{", "a}", "{{x}}", "{email}", "{claims.}", "{claims.a b}", "{claims.*}", "{ claims.a }", "{claims.a}}"],
)
@pytest.mark.parametrize("place", ["users.0", "groups.0"])
def test_a_brace_that_is_no_placeholder_does_not_load(text: str, place: str) -> None:
    """A slip in a template is not taken for a name."""
    assert "has a brace that is not part of" in problems(changed(f"{PROFILE}.{place}", text))[f"{PROFILE}.{place}"]


@pytest.mark.parametrize("text", ["{claims.email}", "ci:{claims.repository}", "{", "a}"])
def test_a_requester_is_not_described_by_its_own_claims(text: str) -> None:
    """What somebody must be is written down; what it says of itself is no measure of it."""
    place = f"{PROFILE}.requesters.1.commonName"
    assert "placeholders belong into users" in problems(changed(place, text))[place]
    assert (
        "placeholder"
        in problems(changed("roles.auditor.0", {"oidc": "x", "claims": {"a": "{claims.b}"}}))[
            "roles.auditor.0.claims.a"
        ]
    )


@pytest.mark.parametrize("text", ["system:{claims.a}", "system:node:{claims.a}", "kubeadm:{claims.a}:*"])
@pytest.mark.parametrize("field", ["users", "groups", "required"])
def test_a_template_over_reserved_names_does_not_load(text: str, field: str) -> None:
    """No claim chooses among Kubernetes' own names."""
    document = changed(f"{PROFILE}.{field}", [text])
    message = problems(document)[f"{PROFILE}.{field}.0"]
    assert "list each name exactly" in message or "must be an exact name" in message


@pytest.mark.parametrize("name", ["a*", "*", "{claims.a}*"])
def test_a_required_group_has_no_wildcard(name: str) -> None:
    """What is always added is one group, not any."""
    assert "must be an exact name" in problems(changed(f"{PROFILE}.required", [name]))[f"{PROFILE}.required.0"]


@pytest.mark.parametrize("name", ["a\n", " a", "a ", "x" * 65, "e\u0301", "a\u200bb", "\ud800", "a\x00b"])
@pytest.mark.parametrize("field", ["users", "groups", "required", "reserved"])
def test_a_name_that_is_never_signed_does_not_load(name: str, field: str) -> None:
    """Nobody could have it: it is a slip, and some of these look like another name."""
    assert set(problems(changed(f"{PROFILE}.{field}", [name], SMALL))) == {f"{PROFILE}.{field}.0"}
