"""`kubemint requests` and `kubemint request` against services that answer strangely, and what is sent to them."""

import json
from pathlib import Path
from typing import Any

import pytest

from client.peers import Peer, Reply, document, listening, problem
from commands.cli import failed_cleanly, kubemint
from kubemint.client.terms import printable

REQUEST = "4f1d5a0c9be2476d8c3e17a2b05f6d98"
DIGEST = "sha256:" + "ab" * 32
PENDING: dict[str, Any] = {
    "request": REQUEST,
    "state": "pending",
    "user": "jane",
    "groups": ["admins"],
    "profile": "admins",
    "keyType": "ecdsa-p256",
    "publicKeySha256": "cd" * 32,
    "lifetimeSeconds": 1800,
    "digest": DIGEST,
    "requester": "token:requester",
    "method": "token",
    "approvalsNeeded": 1,
    "approvals": [],
    "expires": "2026-11-23T05:13:59Z",
    "previous": None,
}


def accepted(**members: Any) -> Reply:
    """Answer that a request waits."""
    return Reply(status=202, body=json.dumps(PENDING | members).encode())


def run(peer: Peer, place: Path, *arguments: str) -> Any:
    """Run a command against a peer."""
    return kubemint(*arguments, "--url", peer.url, cwd=place)


def test_the_digest_that_was_shown_is_sent(tmp_path: Path) -> None:
    """What is approved must be what was on the screen, even if the service has something else by then."""
    with listening(document(**PENDING), document(**PENDING | {"state": "issued"})) as peer:
        ran = run(peer, tmp_path, "requests", "approve", REQUEST, "--yes", "--reason", "ticket 7")

    assert ran.code == 0, ran.errors
    get, post = peer.seen
    assert (get.method, get.path) == ("GET", f"/v1/requests/{REQUEST}")
    assert (post.method, post.path) == ("POST", f"/v1/requests/{REQUEST}/approval")
    assert json.loads(post.body) == {"verdict": "approve", "digest": DIGEST, "reason": "ticket 7"}
    assert DIGEST in ran.errors


@pytest.mark.parametrize(
    "members",
    [
        {"digest": None},
        {"groups": "admins"},
        {"approvals": [1]},
        {"approvals": [{"by": "x"}]},
        {"lifetimeSeconds": "1"},
        {"previous": {"serialNumber": "01"}},
        {"previous": "none"},
        {"issued": {}, "denial": "x"},
        {"groups": [1]},
    ],
)
def test_what_cannot_be_shown_is_not_approved(tmp_path: Path, members: dict[str, Any]) -> None:
    """An answer that is no request must stop the command before anything is sent."""
    with listening(document(**PENDING | members)) as peer:
        ran = run(peer, tmp_path, "requests", "approve", REQUEST, "--yes")

    assert failed_cleanly(ran), ran.errors
    assert [seen.method for seen in peer.seen] == ["GET"]


def test_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """Control characters and those that turn the direction of text must be shown as what they are."""
    evil = "jane\x1b[2J\r\u202eadmin"
    claims = {"email": "a\x1b]0;x\x07"}
    said = [{"by": evil, "time": "now", "reason": evil}]
    with listening(
        document(**PENDING | {"user": evil, "groups": [evil], "approvals": said, "claims": claims})
    ) as peer:
        shown = run(peer, tmp_path, "requests", "show", REQUEST)
        with listening(document(items=[PENDING | {"user": evil}])) as other:
            listed = run(other, tmp_path, "requests", "list")

    assert (shown.code, listed.code) == (0, 0)
    for output in (shown.output, listed.output):
        assert not {"\x1b", "\r", "\x07", "\u202e"} & set(output)
        assert "jane\\x1b[2J\\r\\u202eadmin" in output


@pytest.mark.parametrize("text", ["jane", "zoë", "名前", "ci:acme/shop", "a b"])
def test_names_that_can_be_read_are_left_alone(text: str) -> None:
    """What people can read must be shown as it is."""
    assert printable(text) == text


def test_a_list_is_walked_to_its_limit(tmp_path: Path) -> None:
    """Pages must be asked for one after the other, with the cursor as it came, and no longer than needed."""
    with listening(
        document(items=[PENDING] * 2, nextCursor="7"), document(items=[PENDING] * 2, nextCursor="5")
    ) as peer:
        ran = run(peer, tmp_path, "requests", "list", "--limit", "3", "--output", "json")

    assert len(json.loads(ran.output)) == 3
    assert [seen.path for seen in peer.seen] == [
        "/v1/requests?state=pending&limit=3",
        "/v1/requests?state=pending&cursor=7&limit=1",
    ]


def test_nothing_waits(tmp_path: Path) -> None:
    """An empty list says so where it disturbs no program; as JSON it is an empty list."""
    with listening(document(items=[])) as peer:
        human = run(peer, tmp_path, "requests", "list")
        other = run(peer, tmp_path, "requests", "list", "--all")
        for_programs = run(peer, tmp_path, "requests", "list", "--output", "json")
        revocations = run(peer, tmp_path, "revocations", "list")

    assert (human.code, human.output, human.errors) == (0, "", "nothing waits for approval\n")
    assert (other.output, other.errors) == ("", "no such request\n")
    assert (for_programs.output, for_programs.errors) == ("[]\n", "")
    said = "you have ordered no revocation; auditors and operators see all (--token-file)\n"
    assert (revocations.output, revocations.errors) == ("", said)


@pytest.mark.parametrize("members", [{}, {"items": "none"}, {"items": [1]}, {"items": [{}]}])
def test_what_is_no_list(tmp_path: Path, members: dict[str, Any]) -> None:
    """An answer that is no list must be a sentence."""
    with listening(document(**members)) as peer:
        assert failed_cleanly(run(peer, tmp_path, "requests", "list"))


@pytest.mark.parametrize(
    "members", [{"request": "../x"}, {"request": None}, {"expires": 1}, {"approvalsNeeded": "1"}]
)
def test_a_request_that_waits_under_no_name(tmp_path: Path, members: dict[str, Any]) -> None:
    """An answer that tells of waiting and cannot be asked after must leave no file."""
    with listening(accepted(**members)) as peer:
        ran = run(peer, tmp_path, "request", "--user", "jane")

    assert failed_cleanly(ran), ran.errors
    assert list(tmp_path.iterdir()) == []


def test_denied_while_waiting(tmp_path: Path) -> None:
    """A denial must end the wait with its reason; the key stays, for nobody but its owner throws it away."""
    denied = PENDING | {"state": "denied", "denial": {"by": "token:ann", "time": "now", "reason": "not\x1b today"}}
    with listening(accepted(), document(**denied)) as peer:
        ran = run(peer, tmp_path, "request", "--user", "jane", "--wait", "1m")

    assert ran.code == 1
    assert f"request {REQUEST} is denied: not\\x1b today" in ran.errors
    assert [file.name for file in tmp_path.iterdir()] == ["jane.key"]


def test_a_service_that_is_away_while_waiting(tmp_path: Path) -> None:
    """An outage must not end the wait before its time; then it is told."""
    with listening(accepted(), Reply(status=502, body=b"bad gateway")) as peer:
        ran = run(peer, tmp_path, "request", "--user", "jane", "--wait", "1s")

    assert ran.code == 1
    assert "answered 502" in ran.errors
    assert len(peer.seen) >= 3
    assert [file.name for file in tmp_path.iterdir()] == ["jane.key"]


@pytest.mark.parametrize("issued", [{}, {"certificate": 1}, "PEM"])
def test_an_issued_request_without_a_certificate(tmp_path: Path, issued: Any) -> None:
    """What is said to be issued and is no certificate must not be written."""
    with listening(accepted(), document(**PENDING | {"state": "issued", "issued": issued})) as peer:
        ran = run(peer, tmp_path, "request", "--user", "jane", "--wait", "1s")

    assert ran.code == 1
    assert "Traceback" not in ran.errors
    assert not (tmp_path / "jane.crt").exists()


def test_a_refusal_has_its_reasons(tmp_path: Path) -> None:
    """A verdict that cannot count must be told with every reason."""
    reasons = [{"code": "approval-own", "message": "nobody approves its own", "path": "request.requester"}]
    with listening(document(**PENDING), problem(409, reasons=reasons)) as peer:
        ran = run(peer, tmp_path, "requests", "approve", REQUEST, "--yes")

    assert ran.code == 1
    assert "nobody approves its own" in ran.errors
