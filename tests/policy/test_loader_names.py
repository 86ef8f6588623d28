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
@pytest.mark.parametrize("field", ["users", "groups"])
def test_a_reserved_name_must_be_listed_twice(name: str, field: str) -> None:
    """Once where it is given and once under `reserved`: neither alone loads, both together do."""
    given_only = changed(f"{PROFILE}.{field}", [name])
    assert "list it under reserved too" in problems(given_only)[PROFILE]
    listed_only = changed(f"{PROFILE}.reserved", [name], SMALL)
    assert "allowed by none of users and groups" in problems(listed_only)[f"{PROFILE}.reserved"]
    both = changed(f"{PROFILE}.{field}", [name], SMALL)
    both["profiles"]["developers"]["reserved"] = [name]
    assert load(both).profiles[0].reserved == frozenset({name})


@pytest.mark.parametrize("name", ["system:*", "*", "system:node:{name}", "}"])
def test_a_reserved_entry_is_an_exact_name(name: str) -> None:
    """No pattern hides under `reserved`."""
    assert "must be an exact name" in problems(changed(f"{PROFILE}.reserved.0", name))[f"{PROFILE}.reserved.0"]


@pytest.mark.parametrize("pattern", ["{claims.email}", "ci:{claims.repository}", "{", "a}", "{{x}}"])
@pytest.mark.parametrize("place", ["users.0", "groups.0", "requesters.1.commonName"])
def test_a_brace_does_not_load(pattern: str, place: str) -> None:
    """A template of a later version is not taken for a name by this one."""
    assert "brace" in problems(changed(f"{PROFILE}.{place}", pattern))[f"{PROFILE}.{place}"]
