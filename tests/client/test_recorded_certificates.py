"""`kubemint certificates`: what the record says, from the service and from peers that answer strangely."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from client.peers import Reply, document, listening
from client.revoking import Terminal
from commands.cli import Ran, failed_cleanly, kubemint
from kubemint.client.certificate_terms import checked_record, describe_record
from kubemint.errors import ServiceUnavailable
from kubemint.transparency.checkpoint import NoteSigner
from log.issuing import issued, pem_of, receipt_of
from running_service import RunningService

SIGNER = NoteSigner("log.test/ledger", Ed25519PrivateKey.generate())
OTHER = NoteSigner("log.test/ledger", Ed25519PrivateKey.generate())
EVENT = issued(0x11D1, user="jane", groups=("developers", "team-a"))
RECEIPT = receipt_of(EVENT, SIGNER)
NOT_SHOWN = ("kind", "certificate")
RECORD: dict[str, Any] = {
    **{name: value for name, value in EVENT.fields.items() if name not in NOT_SHOWN},
    "certificate": pem_of(EVENT),
    "state": "valid",
    "logIndex": RECEIPT.index,
}
REVOKED = {"revocation": "0b7c" * 8, "time": "2026-11-22T06:00:00Z", "reason": "keyCompromise"}
RENEWED = {
    "line": "aa11",
    "profile": "developers",
    "user": "jane",
    "groups": [],
    "first": {"requester": "oidc:corp:jane", "method": "oidc", "authority": "corp", "evidence": "token sha256:ab"},
    "firstProvenAt": "2026-11-22T01:00:00Z",
}


@pytest.fixture
def terminal(service: RunningService, tmp_path: Path) -> Terminal:
    """Give a terminal in an empty folder."""
    return Terminal(service, tmp_path)


def show(place: Path, *arguments: str, receipt: str = RECEIPT.text, **changes: Any) -> Ran:
    """Show the certificate by a peer that has this record and receipt."""
    with listening(document(**RECORD | changes), Reply(body=receipt.encode(errors="surrogateescape"))) as peer:
        return kubemint("certificates", "show", "11d1", "--url", peer.url, *arguments, cwd=place)


def listed(place: Path, *items: object, arguments: tuple[str, ...] = ()) -> Ran:
    """List what a peer has."""
    with listening(document(items=items)) as peer:
        return kubemint("certificates", "list", "--url", peer.url, *arguments, cwd=place)


def test_the_list_of_the_service(terminal: Terminal) -> None:
    """Each filter keeps what fits and drops the rest, and each line has the columns that the help names."""
    mine, other = terminal.issue("lister", "developers"), terminal.issue("another")
    terminal.run("operator", "revoke", "--serial", mine["serialNumber"], "--yes")

    (line,) = terminal.run("operator", "certificates", "list", "--user", "lister").output.splitlines()
    expected = ["lister", "token:requester", "developers", mine["notAfter"], "revoked"]
    assert line.split("\t") == [mine["serialNumber"], *expected]

    def serial_numbers(*arguments: str) -> set[str]:
        found = terminal.json("operator", "certificates", "list", *arguments)
        return {record["serialNumber"] for record in found}

    first, second = mine["serialNumber"], other["serialNumber"]
    assert {first, second} <= serial_numbers()
    for fits, fits_not in (
        (("--user", "another"), ("--user", "nobody")),
        (("--requester", "token:requester"), ("--requester", "token:operator")),
        (("--profile", "developers"), ("--profile", "none")),
        (("--state", "valid"), ("--state", "expired")),
        (("--issued-since", "1h"), ("--issued-until", "1h")),
    ):
        assert second in serial_numbers(*fits)
        assert second not in serial_numbers(*fits_not)
    assert first in serial_numbers("--group", "developers", "--state", "revoked")
    assert second not in serial_numbers("--group", "developers")


def test_one_of_the_service(terminal: Terminal) -> None:
    """Serial number, credential id and file lead to the same certificate, and a checked receipt."""
    made = terminal.issue("shown", "developers")
    colons = ":".join(made["serialNumber"][at : at + 2] for at in range(0, len(made["serialNumber"]), 2)).upper()
    shown = terminal.run("operator", "certificates", "show", made["serialNumber"])
    assert shown.code == 0, shown.errors
    for line in (
        f"Serial:       {made['serialNumber']}",
        "State:        valid",
        "Groups:       developers",
        "Requester:    token:requester",
        "Proven:       by token (requester): token sha256:",
    ):
        assert line in shown.output
    assert f"Receipt:      entry {made['logIndex']} of " in shown.output
    for name in (f"serial=00{made['serialNumber']}", colons, made["credentialId"], "shown.crt"):
        assert terminal.json("operator", "certificates", "show", name)["serialNumber"] == made["serialNumber"]
    pem = terminal.run("operator", "certificates", "show", "shown.crt", "--output", "pem").output
    assert (terminal.place / "shown.crt").read_text().startswith(pem)


def test_a_receipt_that_is_fetched_later(terminal: Terminal) -> None:
    """It goes into a file alone, and holds under the log's key."""
    terminal.issue("later")
    ran = terminal.run("requester", "certificates", "show", "later.crt", "--output", "receipt")
    (terminal.place / "again.tlog-proof").write_text(ran.output)
    files = ("--receipt", "again.tlog-proof", "--certificate", "later.crt")
    vkey = kubemint("log", "key", "--config", _config(terminal), cwd=terminal.place).output.strip()
    verified = kubemint("log", "verify", *files, "--key", vkey, cwd=terminal.place)
    assert verified.code == 0, verified.errors + verified.output


def _config(terminal: Terminal) -> Path:
    return terminal.service.directory / "kubemint.yaml"


def test_what_is_another_s(terminal: Terminal) -> None:
    """A requester sees its own; of others it cannot tell whether they exist, nor list them."""
    made = terminal.issue("private")
    assert terminal.run("requester", "certificates", "show", made["serialNumber"]).code == 0
    refused = terminal.run("webhook", "certificates", "show", made["serialNumber"])
    assert failed_cleanly(refused), refused.errors
    assert "There is no such certificate, or it is not yours to see." in refused.errors
    empty = terminal.run("webhook", "certificates", "list")
    assert (empty.code, empty.output, empty.errors) == (0, "", "no such certificate\n")
    others = terminal.run("webhook", "certificates", "list", "--requester", "token:requester")
    assert failed_cleanly(others), others.errors
    assert "Only auditors and operators" in others.errors


def test_everything_is_told(tmp_path: Path) -> None:
    """Revocation, approval, renewal, claims and what was asked for have a line each, if they are there."""
    plain = describe_record(RECORD)
    told = describe_record(
        RECORD
        | {
            "state": "revoked",
            "revocation": REVOKED,
            "request": "4f" * 16,
            "approvedBy": ["token:ann", "token:bob"],
        }
        | {"claims": {"email": "a\x1b"}, "singleUse": {"authority": "corp", "tokenId": "id-7"}, "renews": RENEWED}
        | {"requestedGroups": ["developers"], "requestedProfile": "developers", "requestedExpirationSeconds": 61}
        | {"provenAt": "2026-11-22T05:00:00Z"}
    )
    for line in (
        f"Revoked:      at 2026-11-22T06:00:00Z by revocation {'0b7c' * 8}: keyCompromise",
        f"Approved:     by token:ann, token:bob (request {'4f' * 16})",
        'Claims:       {"email": "a\\u001b"}',
        "Used up:      token id-7 of corp",
        "Renews:       serial number aa11, whose proof was at 2026-11-22T01:00:00Z",
        "First proven: as oidc:corp:jane by oidc: token sha256:ab",
        "Asked for:    groups developers; profile developers; 61 s",
        ", at 2026-11-22T05:00:00Z: ",
    ):
        assert line in told
        assert line not in plain


@pytest.mark.parametrize(
    ("receipt", "changes", "said"),
    [
        ("garbage", {}, "does not show"),
        ("\udcff", {}, "not UTF-8"),
        (receipt_of(issued(2), SIGNER).text, {}, "is for another certificate"),
        (receipt_of(EVENT, OTHER).text, {}, "is not signed by log.test/ledger"),
        (RECEIPT.text, {"requester": "token:mallory"}, "something else than the service: requester"),
        (RECEIPT.text, {"logIndex": 7}, "something else than the service: logIndex"),
        (RECEIPT.text, {"certificate": "none"}, "no certificate in PEM"),
    ],
)
def test_a_receipt_that_proves_nothing(tmp_path: Path, receipt: str, changes: dict[str, Any], said: str) -> None:
    """What the log does not confirm ends with code 1 and the reason; JSON is not given then."""
    good = show(tmp_path, "--log-key", SIGNER.vkey)
    assert good.code == 0, good.errors
    assert "Receipt:      entry 2 of 3, signed by log.test/ledger\n" in good.output
    human = show(tmp_path, "--log-key", SIGNER.vkey, receipt=receipt, **changes)
    for_programs = show(tmp_path, "--log-key", SIGNER.vkey, "--output", "json", receipt=receipt, **changes)
    for ran in (human, for_programs):
        assert failed_cleanly(ran), ran.errors
        assert said in ran.errors
    assert "Serial:       11d1\n" in human.output
    assert "Receipt:" not in human.output
    assert for_programs.output == ""


def test_without_the_key_of_the_log(tmp_path: Path) -> None:
    """That nobody's signature was checked is said."""
    ran = show(tmp_path)
    assert ran.code == 0, ran.errors
    assert "whose signature was not checked (no --log-key)" in ran.output
    receipt = show(tmp_path, "--output", "receipt")
    assert receipt.output == RECEIPT.text
    assert "not checked" in receipt.errors


@pytest.mark.parametrize(
    "changes", [{"groups": "admins"}, {"groups": [1]}, {"serialNumber": 7}, {"state": None}, {"logIndex": "1"}]
)
def test_what_is_no_record(tmp_path: Path, changes: dict[str, Any]) -> None:
    """An answer of another shape is a sentence, shown or listed."""
    assert failed_cleanly(show(tmp_path, **changes))
    assert failed_cleanly(listed(tmp_path, RECORD | changes))
    assert failed_cleanly(listed(tmp_path, "no record"))


@pytest.mark.parametrize("changes", [{"revocation": "x"}, {"renews": {}}, {"singleUse": [1]}, {"request": "x"}])
def test_what_cannot_be_told(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A part of another shape ends the command with a sentence."""
    assert failed_cleanly(show(tmp_path, **changes))


def test_the_record_of_another(tmp_path: Path) -> None:
    """Where the service answers with another certificate than the one that was named, it is not shown."""
    ran = show(tmp_path, serialNumber="22")
    assert failed_cleanly(ran)
    assert ran.output == ""


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda part: st.lists(part) | st.dictionaries(st.text(), part)
    )
)
def test_garbage_is_no_record(document: object) -> None:
    """Any JSON that is no record raises our error and nothing else."""
    with pytest.raises(ServiceUnavailable):
        checked_record(document)


@given(
    st.sampled_from(["revocation", "renews", "singleUse", "claims", "request", "provenAt", "requestedProfile"]),
    st.none() | st.integers() | st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text()),
)
def test_garbage_in_a_record(name: str, value: object) -> None:
    """What need not be there is told or raises our error, and never steers the terminal."""
    try:
        told = describe_record(checked_record(RECORD | {name: value}))
    except ServiceUnavailable:
        return
    assert told.replace("\n", "").isprintable()


def test_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """Control characters are shown as what they are."""
    evil = "jane\x1b[2J\r\u202e"
    shown, line = show(tmp_path, user=evil), listed(tmp_path, RECORD | {"user": evil})
    for ran in (shown, line):
        assert "jane\\x1b[2J\\r\\u202e" in ran.output
        assert not {"\x1b", "\r", "\u202e"} & set(ran.output + ran.errors)


def test_a_list_that_may_go_on(tmp_path: Path) -> None:
    """Where the limit is reached that is said, and not where it is not."""
    assert "--limit" in listed(tmp_path, RECORD, arguments=("--limit", "1")).errors
    assert listed(tmp_path, RECORD).errors == ""


def test_what_is_asked(tmp_path: Path) -> None:
    """What was given goes into the query, and nothing else."""
    with listening(document(items=[])) as peer:
        filters = ("--user", "a&b", "--state", "valid", "--issued-since", "2026-11-22T06:00:00+01:00")
        kubemint("certificates", "list", "--url", peer.url, *filters, "--limit", "7", cwd=tmp_path)
    (seen,) = peer.seen
    assert seen.path == "/v1/certificates?user=a%26b&state=valid&since=2026-11-22T05%3A00%3A00Z&limit=7"


@pytest.mark.parametrize(
    "arguments",
    [
        *(("show", name) for name in ("", "0", "00", "../requests", "f" * 41, "X509SHA256=ab", "gone.crt", "a?b")),
        ("show", "no.crt"),
        ("list", "--user", ""),
        ("list", "--state", "refused"),
        ("list", "--limit", "0"),
        ("list", "--issued-since", "yesterday"),
    ],
)
def test_wrong_use(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """What names no certificate, or filters by nothing, is wrong use, and not sent."""
    (tmp_path / "no.crt").write_text("no certificate")
    with listening() as peer:
        ran = kubemint("certificates", *arguments, "--url", peer.url, cwd=tmp_path)
    assert ran.code == 2, ran.errors
    assert peer.seen == []
