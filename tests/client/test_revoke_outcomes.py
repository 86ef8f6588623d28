"""What `kubemint revoke` says that it will do and has done, where that is nothing, and what a retry sends."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from client.peers import DROP, Reply, document, listening, problem
from client.test_revoke_refusals import REVOCATION, REVOKED, run
from kubemint.client.revocation_terms import describe_revocation
from kubemint.commands.main import kubemint as command_line

HELD: dict[str, Any] = REVOKED | {"reason": "certificateHold"}
NOTHING: dict[str, Any] = REVOKED | {"certificates": 0, "reason": "keyCompromise", "blocksKeys": True}


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--user", "tim"), "user tim gets no certificate until 2999-01-01T00:00:00Z"),
        (("--group", "viewers"), "nobody gets a certificate with group viewers until 2999-01-01T00:00:00Z"),
    ],
)
def test_whom_a_suspension_keeps_out_is_said(tmp_path: Path, option: tuple[str, str], said: str) -> None:
    """The question, the preview and the record say it in words."""
    arguments = ["revoke", *option, "--suspend-until", "2999-01-01T00:00:00Z"]
    with listening(document(certificates=2)) as peer:
        previewed = run(peer, tmp_path, *arguments, "--preview")
        asked = CliRunner().invoke(command_line, [*arguments, "--url", peer.url], input="n\n")
    select = {option[0].removeprefix("--"): option[1]}
    with listening(document(**REVOKED | {"select": select, "suspendUntil": "2999-01-01T00:00:00Z"})) as peer:
        done = run(peer, tmp_path, *arguments, "--yes")
    for text in (previewed.output, asked.stderr, done.output):
        assert f"Suspended:    {said}\n" in text


def test_suspensions_of_old_and_lifted_ones() -> None:
    """One that names both says that each is kept out; one that was lifted before its end ended then."""
    both = REVOKED | {"select": {"user": "tim", "group": "viewers"}, "suspendUntil": "2999-01-01T00:00:00Z"}
    lifted = both | {"lifted": {"by": "x", "time": "2026-11-23T06:00:00Z", "note": ""}}
    later = both | {"lifted": {"by": "x", "time": "2999-01-01T00:00:01Z", "note": ""}}
    said = (
        "user tim gets no certificate, and nobody gets a certificate with group viewers until 2999-01-01T00:00:00Z"
    )
    assert f"Suspended:    {said}\n" in describe_revocation(both) + "\n"
    assert "Suspended:    until 2026-11-23T06:00:00Z, when it was lifted\n" in describe_revocation(lifted)
    assert f"Suspended:    {said}\n" in describe_revocation(later)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"certificates": 1}, "1 certificate counts again, if nothing else revokes it"),
        ({"certificates": 2}, "Of 2 certificates those that nothing else revokes count again"),
        ({"certificates": 0}, "It hit no certificates"),
        (
            {"certificates": 0, "select": {"group": "a\x1b"}, "suspendUntil": "2999-01-01T00:00:00Z"},
            "It hit no certificates; unless another suspension stands, group a\\x1b may get new ones",
        ),
    ],
)
def test_what_lifting_does(tmp_path: Path, members: dict[str, Any], said: str) -> None:
    """The question promises no more than the lifting does; without a yes nothing is sent."""
    with listening(document(**HELD | members)) as peer:
        for answer, end in (("n\n", "Nothing was lifted.\n"), ("", "Nothing was lifted: nobody answered.")):
            arguments = ["revocations", "lift", REVOCATION, "--url", peer.url]
            asked = CliRunner().invoke(command_line, arguments, input=answer)
            assert asked.exit_code == 1
            assert f"Lift it? {said} [y/N]" in asked.stderr
            assert end in asked.stderr
    assert [seen.method for seen in peer.seen] == ["GET", "GET"]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"reason": "keyCompromise"}, "is keyCompromise, and that is for good"),
        (
            {"lifted": {"by": "x", "time": "2026-11-23T06:00:00Z", "note": ""}},
            "was lifted at 2026-11-23T06:00:00Z already",
        ),
    ],
)
def test_what_is_not_lifted_is_not_asked_about(tmp_path: Path, members: dict[str, Any], said: str) -> None:
    """What is for good, and what was lifted before, ends with what it is, and no question."""
    with listening(document(**HELD | members)) as peer:
        ran = run(peer, tmp_path, "revocations", "lift", REVOCATION)
    assert (ran.code, ran.errors.splitlines()[-1]) == (1, f"kubemint: {REVOCATION} {said}")
    assert [seen.method for seen in peer.seen] == ["GET"]


@pytest.mark.parametrize(
    ("members", "is_told"),
    [
        ({}, True),
        ({"reason": "superseded"}, False),
        ({"certificates": 0}, False),
        ({"lifted": {"by": "x", "time": "2026-11-23T06:00:00Z", "note": ""}}, False),
    ],
    ids=str,
)
def test_how_a_hold_is_lifted(tmp_path: Path, members: dict[str, Any], is_told: bool) -> None:
    """A hold that was just ordered ends with the command that lifts it; no other does, nor JSON."""
    arguments = ("revoke", "--user", "jane", "--reason", "certificateHold", "--yes")
    with listening(document(**HELD | members)) as peer:
        ran = run(peer, tmp_path, *arguments)
        as_json = run(peer, tmp_path, *arguments, "--output", "json")
    assert ran.output.endswith(f"\nTo lift it: kubemint revocations lift {REVOCATION}\n") is is_told
    assert ("To lift it" in ran.output) is is_told
    assert json.loads(as_json.output)["revocation"] == REVOCATION


def test_nobody_answers(tmp_path: Path) -> None:
    """A script that was not told to ask nothing is told so, with code 1; it is only counted."""
    with listening(document(certificates=2)) as peer:
        ran = CliRunner().invoke(command_line, ["revoke", "--user", "jane", "--url", peer.url], input="")
    assert ran.exit_code == 1
    assert ran.stderr.endswith("\nNothing was revoked: nobody answered. In scripts: --yes\n")
    assert [json.loads(seen.body)["preview"] for seen in peer.seen] == [True]


@pytest.mark.parametrize(
    ("members", "code", "has_keys"),
    [
        ({}, 1, False),
        ({"blocksKeys": False}, 1, False),
        ({"certificates": 1}, 0, True),
        ({"certificates": 1, "blocksKeys": False}, 0, False),
        ({"suspendUntil": "2999-01-01T00:00:00Z"}, 0, False),
        ({"select": {"publicKeySha256": "ab" * 32}}, 0, True),
        ({"select": {"publicKeySha256": "ab" * 32}, "blocksKeys": False}, 1, False),
    ],
    ids=str,
)
def test_nothing_hit_is_an_error(tmp_path: Path, members: dict[str, Any], code: int, has_keys: bool) -> None:
    """Where nothing was hit, nobody suspended and no key kept out, it is code 1 and a line, if not allowed."""
    arguments = ("revoke", "--user", "janne", "--reason", "keyCompromise", "--yes")
    with listening(document(**NOTHING | members)) as peer:
        ran = run(peer, tmp_path, *arguments)
        as_json = run(peer, tmp_path, *arguments, "--output", "json")
        allowed = run(peer, tmp_path, *arguments, "--allow-none")
    for one in (ran, as_json):
        assert one.code == code
        assert [line[:26] for line in one.errors.splitlines()] == ["kubemint: nothing was hit,"] * code
    assert json.loads(as_json.output)["revocation"] == REVOCATION
    assert ("Keys:" in ran.output) is has_keys
    assert (allowed.code, allowed.errors, allowed.output) == (0, "", ran.output)


def test_a_hold_that_was_lifted_refuses_no_key() -> None:
    """A record that says so does not say that keys are refused."""
    lifted = REVOKED | {"blocksKeys": True, "lifted": {"by": "x", "time": "now", "note": ""}}
    assert "Keys:" not in describe_revocation(lifted)


def test_only_nothing_of_ones_own_is_allowed(tmp_path: Path) -> None:
    """404 is no error to --allow-none only where the service counts none; elsewhere it may be another's 404."""
    arguments = ("revoke", "--user", "janne", "--yes")
    for replies, codes in (
        ((problem(404), document(certificates=0)), (1, 0)),
        ((problem(404), document(certificates=2)), (1, 1)),
        ((problem(404),), (1, 1)),
        ((problem(403), document(certificates=0)), (1, 1)),
    ):
        with listening(*replies) as peer:
            allowed = run(peer, tmp_path, *arguments, "--allow-none")
        with listening(*replies) as peer:
            ran = run(peer, tmp_path, *arguments)
        assert (ran.code, allowed.code) == codes
        assert ("Nothing was revoked." in allowed.output) is (codes[1] == 0)


@pytest.mark.parametrize("lost", [Reply(status=DROP), problem(503)], ids=["no answer", "503"])
@pytest.mark.parametrize(
    "arguments",
    [("revoke", "--user", "jane", "--suspend-for", "7d", "--yes"), ("revocations", "lift", REVOCATION, "--yes")],
    ids=["revoke", "lift"],
)
def test_an_answer_that_was_lost(tmp_path: Path, arguments: tuple[str, ...], lost: Reply) -> None:
    """The same order is sent again under the same key; the next command's is another one."""
    with listening(lost, document(**REVOKED)) as peer:
        assert run(peer, tmp_path, *arguments).code == 0
        assert run(peer, tmp_path, *arguments).code == 0
    first, again, other = peer.seen
    keys = [seen.headers["Idempotency-Key"] for seen in (first, again, other)]
    assert again.body == first.body
    assert keys[0] == keys[1] != keys[2]
