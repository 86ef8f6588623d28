"""The policy file: every mistake is found, with its path, and nothing loads that would mean more than it says."""

import contextlib
import hashlib
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csrs import KEY_TYPES
from kubemint.documents import parse_yaml
from kubemint.errors import ConfigurationError, InvalidDocument
from kubemint.policy.claims import Pattern
from kubemint.policy.rules import CertificateRule, Limits, Policy, Profile, Roles, TokenRule
from policy.files import FULL, MISSING, PROFILE, SMALL, changed, load, problems

FRIENDLY = settings(max_examples=100, deadline=None, derandomize=True)


def test_a_full_file_becomes_a_policy() -> None:
    """Each rule of the file is in the policy, and nothing else."""
    assert load(parse_yaml(FULL), FULL) == Policy(
        version="sha256:" + hashlib.sha256(FULL).hexdigest(),
        limits=Limits(max_lifetime=timedelta(hours=12), keys=frozenset({"ecdsa-p256", "ed25519"})),
        profiles=(
            Profile(
                name="developers",
                requesters=(
                    TokenRule(token="laptop"),
                    CertificateRule(
                        certificate="corp", common_name=Pattern("j*"), organization=Pattern("engineering")
                    ),
                ),
                users=(Pattern("*"),),
                groups=(Pattern("developers"), Pattern("team-*"), Pattern("system:monitoring")),
                required=(Pattern("staff"),),
                reserved=frozenset({"system:monitoring"}),
                default_lifetime=timedelta(hours=1),
                max_lifetime=timedelta(hours=8),
                keys=frozenset({"ed25519"}),
            ),
        ),
        roles=Roles(
            auditors=(TokenRule(token="siem"),),
            operators=(CertificateRule(certificate="corp", common_name=None, organization=Pattern("oncall")),),
        ),
    )


def test_what_is_left_out_has_the_narrow_meaning() -> None:
    """No groups, no reserved names and no roles; a day at most, and every sound type of key."""
    loaded = load(parse_yaml(SMALL))
    (profile,) = loaded.profiles
    assert loaded.limits == Limits(max_lifetime=timedelta(hours=24), keys=frozenset(KEY_TYPES))
    assert (profile.groups, profile.reserved, profile.keys) == ((), frozenset(), frozenset(KEY_TYPES))
    assert loaded.roles == Roles()


def test_a_profile_without_keys_has_those_of_the_limits() -> None:
    """The ceiling is what counts where a profile does not lower it."""
    loaded = load(changed(f"{PROFILE}.keys", MISSING))
    assert loaded.profiles[0].keys == loaded.limits.keys == frozenset({"ecdsa-p256", "ed25519"})


@pytest.mark.parametrize(
    ("path", "value"),
    [("profiles", {}), (f"{PROFILE}.requesters", []), (f"{PROFILE}.users", []), (f"{PROFILE}.keys", [])],
)
def test_an_empty_list_loads_and_allows_nothing(path: str, value: Any) -> None:
    """Nobody, no name, no key: that is what an empty list says, never "all" (P6)."""
    assert load(changed(path, value))


@pytest.mark.parametrize(
    "path",
    [
        "extra",
        "limits.extra",
        f"{PROFILE}.extra",
        f"{PROFILE}.lifetime.extra",
        f"{PROFILE}.requesters.0.ldap",
        f"{PROFILE}.requesters.1.claim",
        f"{PROFILE}.renewals",
        f"{PROFILE}.user",
        "roles.admin",
        "roles.auditor.0.extra",
        "Limits",
    ],
)
def test_an_unknown_key_is_refused_where_it_stands(path: str) -> None:
    """A key that means nothing here is a mistake at each level: a rule that nobody reads is no rule (P6)."""
    assert problems(changed(path, "x"))[path] == "Unknown field."


@pytest.mark.parametrize(
    "path",
    [
        *("apiVersion", "kind", "profiles", f"{PROFILE}.requesters", f"{PROFILE}.users", f"{PROFILE}.lifetime"),
        *(f"{PROFILE}.lifetime.default", f"{PROFILE}.lifetime.max"),
    ],
)
def test_a_key_that_must_be_there_is_missed(path: str) -> None:
    """What has no safe default must be written."""
    assert set(problems(changed(path, MISSING))) == {path}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("apiVersion", "kubemint/v2"),
        ("apiVersion", 1),
        ("kind", "policy"),
        ("kind", None),
        ("limits", []),
        ("limits", None),
        ("limits.maxLifetime", 86400),
        ("limits.maxLifetime", "1 day"),
        ("limits.maxLifetime", "0s"),
        ("limits.maxLifetime", None),
        ("limits.keys", "ed25519"),
        ("limits.keys", None),
        ("profiles", []),
        ("profiles", None),
        ("profiles", "developers"),
        (PROFILE, None),
        (PROFILE, []),
        (f"{PROFILE}.requesters", {}),
        (f"{PROFILE}.requesters", {"token": "laptop"}),
        (f"{PROFILE}.requesters", None),
        (f"{PROFILE}.requesters.0", "laptop"),
        (f"{PROFILE}.requesters.0", None),
        (f"{PROFILE}.requesters.0", {}),
        (f"{PROFILE}.requesters.0.token", ""),
        (f"{PROFILE}.requesters.0.token", 5),
        (f"{PROFILE}.requesters.0.token", None),
        (f"{PROFILE}.requesters.1.commonName", ""),
        (f"{PROFILE}.requesters.1.organization", ["engineering"]),
        (f"{PROFILE}.users", "*"),
        (f"{PROFILE}.users", None),
        (f"{PROFILE}.users.0", ""),
        (f"{PROFILE}.users.0", 5),
        (f"{PROFILE}.users.0", None),
        (f"{PROFILE}.users.0", True),
        (f"{PROFILE}.groups", "developers"),
        (f"{PROFILE}.groups.1", {"name": "x"}),
        (f"{PROFILE}.groups.1", ["x"]),
        (f"{PROFILE}.reserved", "system:monitoring"),
        (f"{PROFILE}.reserved.0", 5),
        (f"{PROFILE}.reserved.0", ""),
        (f"{PROFILE}.lifetime", "1h"),
        (f"{PROFILE}.lifetime", None),
        (f"{PROFILE}.lifetime.default", 3600),
        (f"{PROFILE}.lifetime.default", "-1h"),
        (f"{PROFILE}.lifetime.max", "for ever"),
        (f"{PROFILE}.keys", "ed25519"),
        (f"{PROFILE}.keys.0", "rsa-1024"),
        (f"{PROFILE}.keys.0", "Ed25519"),
        (f"{PROFILE}.keys.0", None),
        ("roles", []),
        ("roles", None),
        ("roles.auditor", {"token": "siem"}),
        ("roles.auditor.0", "siem"),
        ("roles.operator.0.organization", 5),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(path: str, value: Any) -> None:
    """No number is taken for a text, no single value for a list, and nothing for something."""
    assert set(problems(changed(path, value))) == {path}


@pytest.mark.parametrize("document", [None, [], "policy", 5, True, {}])
def test_another_document_is_refused(document: Any) -> None:
    """A file that holds something else is no policy."""
    assert problems(document)


@pytest.mark.parametrize(
    "rule",
    [
        {"token": "laptop", "certificate": "corp"},
        {"oidc": "github", "kubernetes": "prod"},
        {"commonName": "jane"},
        {"claims": {"repository": "acme/shop"}},
    ],
)
@pytest.mark.parametrize("place", [f"{PROFILE}.requesters.0", "roles.auditor.0"])
def test_a_requester_is_one_kind_of_proof(rule: dict[str, Any], place: str) -> None:
    """A rule names a token, a CA, a token issuer or a cluster: one of them."""
    assert set(problems(changed(place, rule))) == {place}


@pytest.mark.parametrize(
    ("rule", "foreign"),
    [
        ({"token": "laptop", "commonName": "jane"}, "commonName"),
        ({"token": "laptop", "claims": {"a": "b"}}, "claims"),
        ({"certificate": "corp", "namespace": "ci"}, "namespace"),
        ({"oidc": "github", "dnsName": "a.test"}, "dnsName"),
        ({"kubernetes": "prod", "claims": {"a": "b"}}, "claims"),
    ],
)
@pytest.mark.parametrize("place", [f"{PROFILE}.requesters.0", "roles.auditor.0"])
def test_a_condition_of_another_kind_does_not_load(rule: dict[str, Any], foreign: str, place: str) -> None:
    """A condition that would never be looked at is a mistake."""
    kind = next(iter(rule))
    assert problems(changed(place, rule)) == {f"{place}.{foreign}": f"Does not belong to {kind}."}


@pytest.mark.parametrize("name", ["Developers", "-a", "a-", "a.b", "a b", "", "a" * 64, "a\n", "ä", 5])
def test_a_profile_has_a_plain_name(name: Any) -> None:
    """Names appear in paths, metrics and flags: they are DNS labels, as Kubernetes' are."""
    body = parse_yaml(FULL)["profiles"]["developers"]
    assert problems(changed("profiles", {name: body}))


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a" * 63])
def test_a_dns_label_is_a_profile_name(name: str) -> None:
    """Lower-case letters, digits and dashes inside, up to 63."""
    body = parse_yaml(FULL)["profiles"]["developers"]
    assert load(changed("profiles", {name: body})).profiles[0].path == f"profiles.{name}"


def test_a_default_above_the_maximum_does_not_load() -> None:
    """A default that is always refused is a mistake; one that equals the maximum is not."""
    path = f"{PROFILE}.lifetime.default"
    assert problems(changed(path, "8h1s")) == {path: "Must not be longer than max."}
    assert load(changed(path, "8h"))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(SMALL + b"    users: ['*']\n", id="users twice"),
        pytest.param(SMALL + b"profiles: {}\n", id="profiles twice"),
        pytest.param(SMALL + b"  developers:\n    requesters: []\n", id="profile twice"),
        pytest.param(SMALL.replace(b"[jane]", b"&x [jane]") + b"    groups: *x\n", id="alias"),
        pytest.param(SMALL + b"    <<: {groups: ['*']}\n", id="merge key"),
        pytest.param(SMALL + b"---\n" + SMALL, id="two policies"),
    ],
)
def test_a_file_that_reads_in_two_ways_does_not_load(text: bytes) -> None:
    """The reviewer and the service see the same rules."""
    with pytest.raises(InvalidDocument):
        load(parse_yaml(text))


def test_all_mistakes_are_named_at_once() -> None:
    """Whoever mends the file learns everything that is wrong with it, each with its path."""
    document = changed("limits.maxLifetime", "never")
    document["kind"] = "Polity"
    document["profiles"]["developers"]["users"] = ["system:masters", "ok", "{x}"]
    document["profiles"]["developers"]["lifetime"] = {"default": "2h", "max": "1h"}
    document["profiles"]["other"] = {"users": []}
    document["roles"]["root"] = []
    assert set(problems(document)) == {
        "kind",
        "limits.maxLifetime",
        f"{PROFILE}.users.0",
        f"{PROFILE}.users.2",
        f"{PROFILE}.lifetime.default",
        "profiles.other.requesters",
        "profiles.other.lifetime",
        "roles.root",
    }


def test_the_message_names_the_file_on_each_line() -> None:
    """What is printed at the start can be followed to the place."""
    with pytest.raises(ConfigurationError) as caught:
        load({"kind": "Policy"})
    assert all(line.startswith("policy.yaml: ") for line in caught.value.message.splitlines())


def test_the_version_is_the_digest_of_the_file() -> None:
    """Another octet is another version, even where it changes no rule."""
    versions = {load(parse_yaml(text), text).version for text in (SMALL, SMALL + b"\n", SMALL)}
    assert versions == {"sha256:" + hashlib.sha256(text).hexdigest() for text in (SMALL, SMALL + b"\n")}


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["1h", "*", "system:masters"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["limits", "profiles", "users", "groups", "lifetime", "max", "roles", "token", "a", ""]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@FRIENDLY
@given(limits=ANYTHING, profiles=ANYTHING, body=ANYTHING, roles=ANYTHING)
def test_garbage_raises_our_error_and_nothing_else(limits: Any, profiles: Any, body: Any, roles: Any) -> None:
    """Any document is a policy or a list of mistakes."""
    head = {"apiVersion": "kubemint/v1", "kind": "Policy", "limits": limits, "roles": roles}
    for document in (limits, head | {"profiles": profiles}, head | {"profiles": {"a": body}}):
        with contextlib.suppress(ConfigurationError):
            assert isinstance(load(document), Policy)
