"""`kubemint policy check`: every mistake and every warning, with its line."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from commands.cli import Ran, failed_cleanly, kubemint
from commands.policies import POLICY, write
from kubemint.commands.workspace import CaSource, Listen, create_workspace


def check(folder: Path, text: str, *options: str | Path) -> Ran:
    """Run `kubemint policy check` on a policy in a folder."""
    write(folder, "policy.yaml", text)
    return kubemint("policy", "check", "policy.yaml", *options, cwd=folder)


def test_a_policy_in_order(tmp_path: Path) -> None:
    """Nothing is printed but that it is so, and which version it is."""
    ran = check(tmp_path, POLICY)
    assert (ran.code, ran.output) == (0, "")
    assert ran.errors.startswith("policy.yaml: no mistakes, 0 warnings (sha256:")


def test_every_mistake_has_its_line(tmp_path: Path) -> None:
    """All of them at once, in the form that editors follow."""
    text = POLICY.replace("users: [jane]", "users: [system:masters]").replace("1h, max: 8h", "9h, max: 8h")
    ran = check(tmp_path, text.replace("repository: acme/shop", "a.b/c: 1.5"))
    assert ran.code == 1
    assert sorted(line.split(": ")[:2] for line in ran.output.splitlines()) == [
        ["policy.yaml:14", "profiles.people.users.0"],
        ["policy.yaml:16", "profiles.people.lifetime.default"],
        ["policy.yaml:7", "profiles.ci.requesters.0.claims.a.b/c"],
    ]
    assert ran.errors == "policy.yaml: 3 mistakes\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (POLICY + "kind: Policy\n", "policy.yaml:22: key 'kind' is repeated, or no plain key"),
        ("apiVersion: [\n", "policy.yaml:2: "),
        ("[]\n", "policy.yaml:1: Invalid input type."),
        (
            POLICY.replace("users: [jane]", "reserved: [system:nodes]\n    users: [jane]"),
            "policy.yaml:14: profiles.p",
        ),
    ],
)
def test_what_is_no_policy(tmp_path: Path, text: str, line: str) -> None:
    """The YAML's own mistakes are told like those in the rules."""
    ran = check(tmp_path, text)
    assert ran.code == 1
    assert ran.output.startswith(line)


def test_a_policy_that_cannot_be_read(tmp_path: Path) -> None:
    """No file is a sentence."""
    assert failed_cleanly(kubemint("policy", "check", "none.yaml", cwd=tmp_path))


def test_warnings_have_lines_too(tmp_path: Path) -> None:
    """They are no failure, unless that is asked for."""
    text = POLICY.replace("users: [jane]", 'users: [jane, "j*"]').replace("claims: {repository: acme/shop}", "")
    ran = check(tmp_path, text)
    assert ran.code == 0
    assert [line.split(": ")[:3] for line in ran.output.splitlines()] == [
        ["policy.yaml:6", "warning", "profiles.ci.requesters.0"],
        ["policy.yaml:14", "warning", "profiles.people.users.1"],
    ]
    assert "no mistakes, 2 warnings" in ran.errors
    assert check(tmp_path, text, "--strict").code == 1
    assert check(tmp_path, POLICY, "--strict").code == 0


def test_authorities_that_the_configuration_does_not_have(tmp_path: Path) -> None:
    """What would match nobody at the service is a mistake here; a token may still come."""
    create_workspace(tmp_path / "made", CaSource(), Listen(port=8443), None, datetime.now(UTC))
    options = "--config", tmp_path / "made" / "kubemint.yaml"
    ran = check(tmp_path, POLICY, *options)
    assert ran.code == 1
    assert [line.split(": ")[:2] for line in ran.output.splitlines()] == [
        ["policy.yaml:6", "profiles.ci.requesters.0"],
        ["policy.yaml:13", "profiles.people.requesters.1"],
        ["policy.yaml:19", "profiles.pods.requesters.0"],
    ]
    lines = POLICY.splitlines(keepends=True)
    own = "".join([*lines[:3], *lines[11:17]]).replace(", {certificate: corp, commonName: jane}", "")
    ran = check(tmp_path, own, *options)
    assert ran.code == 0
    assert ran.output == (
        "policy.yaml:5: warning: profiles.people.requesters.0: the configuration has no token 'laptop'\n"
    )
    assert check(tmp_path, own.replace("laptop", "requester"), *options).output == ""
