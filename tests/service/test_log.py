"""The log of a running service, walked by those who do not trust it."""

import gzip
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from csrs import good_csr
from kubemint.transparency.checkpoint import open_checkpoint
from kubemint.transparency.notation import decode_hash
from kubemint.transparency.receipt import parse_receipt, verify_receipt
from kubemint.transparency.tree import leaf_hash, verify_consistency, verify_inclusion
from running_service import RunningService
from service.approving import workspace_with_approval
from service.logs import OLD_ENTRIES, fill, log_key, serve_public_log
from service.stranger import Stranger
from service.workspaces import make_workspace
from transparency.verifier_program import Verifier

PKCS10 = {"Content-Type": "application/pkcs10"}
A_YEAR = "max-age=31536000, immutable"


def issue(service: RunningService) -> dict[str, Any]:
    """Get a certificate for the requester."""
    path = "/v1/certificates?profile=developers"
    answer = service.call("POST", path, headers=PKCS10, body=good_csr(), token="requester")
    assert answer.status == 201, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve a log of some hundred entries that everybody may read."""
    with serve_public_log(tmp_path_factory.mktemp("public") / "kubemint") as running:
        yield running


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve a log that is not open, with an auditor (siem), operators and requesters."""
    file = workspace_with_approval(tmp_path_factory.mktemp("private") / "kubemint")
    with RunningService(file.parent, config=file) as running:
        yield running


@pytest.fixture(scope="module")
def stranger(public: RunningService) -> Stranger:
    """Give somebody without any identity."""
    return Stranger(public, log_key(public))


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Verifier:
    """Build the program in Go."""
    return Verifier(tmp_path_factory.mktemp("go"))


def test_a_stranger_walks_a_public_log(public: RunningService, stranger: Stranger) -> None:
    """Without identity, all entries can be had, and tiles and entries are what is signed; a new one is found."""
    before = stranger.checkpoint()
    old_bodies = stranger.check(before)
    certificate = issue(public)
    after = stranger.checkpoint()
    bodies = stranger.check(after)

    assert before.size > OLD_ENTRIES
    assert bodies[: before.size] == old_bodies
    entry = json.loads(bodies[certificate["logIndex"]])
    assert (entry["kind"], entry["serialNumber"]) == ("issued", certificate["serialNumber"])


def test_a_public_log_asks_nobody_who_they_are(public: RunningService, stranger: Stranger) -> None:
    """A token that does not hold must not close what is open to all; the record itself must stay closed."""
    answer = stranger.get("checkpoint", Authorization="Bearer kubemint_wrong")
    record = public.call("GET", f"/v1/certificates/{issue(public)['serialNumber']}")

    assert (answer.status, record.status) == (200, 401)


def test_an_auditor_walks_a_private_log(private: RunningService) -> None:
    """Who has the role of an auditor or operator can do the same where the log is not public."""
    issue(private)
    for token in ("siem", "ann"):
        reader = Stranger(private, log_key(private), token)
        kinds = [json.loads(body)["kind"] for body in reader.check(reader.checkpoint())]
        assert kinds[0] == "policy-changed"
        assert "issued" in kinds


@pytest.mark.parametrize(
    "path",
    [
        "checkpoint",
        "tile/0/000.p/1",
        "tile/0/999",
        "tile/99/wrong",
        "tile/entries/000.p/1",
        "tile/entries/wrong",
        "inclusion?index=0",
        "inclusion?index=999999",
        "consistency?from=1",
    ],
)
@pytest.mark.parametrize(
    ("token", "status", "code"), [(None, 401, "not-authenticated"), ("requester", 403, "not-permitted")]
)
def test_a_private_log_is_closed(
    private: RunningService, path: str, token: str | None, status: int, code: str
) -> None:
    """Others must be told nothing, not even how far the log has grown or which paths there are."""
    answer = Stranger(private, log_key(private), token).get(path)

    assert (answer.status, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("path", ["tile/0/000", "tile/1/000.p/2", "tile/entries/000", "tile/entries/001.p/3"])
def test_what_never_changes_may_be_kept(private: RunningService, stranger: Stranger, path: str) -> None:
    """Tiles and entries may be cached for a year, by everybody where the log is public and else by the client."""
    auditor = Stranger(private, log_key(private), "siem")
    partial = auditor.get("tile/0/000.p/1")

    assert stranger.get(path).headers["Cache-Control"] == f"public, {A_YEAR}"
    assert partial.headers["Cache-Control"] == f"private, {A_YEAR}"


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/999", "tile/wrong/000", "inclusion?index=0"])
def test_what_changes_may_not_be_kept(stranger: Stranger, path: str) -> None:
    """The checkpoint, a proof, and the word that something is not there yet must not be cached."""
    assert stranger.get(path).headers["Cache-Control"] == "no-store"


def test_the_checkpoint_is_text(stranger: Stranger) -> None:
    """tlog-tiles: the checkpoint must be plain text in UTF-8."""
    assert stranger.get("checkpoint").headers["Content-Type"] == "text/plain; charset=utf-8"


def test_entries_are_compressed_for_who_accepts_it(stranger: Stranger) -> None:
    """Entries must come in gzip to who accepts it, and as they are to others."""
    plain, refusing = (stranger.get("tile/entries/000", **sent) for sent in ({}, {"Accept-Encoding": "gzip;q=0"}))
    small = stranger.get("tile/entries/000", **{"Accept-Encoding": "gzip, identity"})

    assert [answer.headers["Content-Encoding"] for answer in (plain, refusing, small)] == [None, None, "gzip"]
    assert [answer.headers["Vary"] for answer in (plain, small)] == ["Accept-Encoding"] * 2
    assert gzip.decompress(small.body) == plain.body == refusing.body
    assert len(small.body) < len(plain.body) == int(plain.headers["Content-Length"])


def test_an_inclusion_proof_leads_to_the_checkpoint(public: RunningService, stranger: Stranger) -> None:
    """An entry must be found by its index, serial number and credential id, and be proven in what is signed."""
    certificate = issue(public)
    identifiers = {name: certificate[name] for name in ("serialNumber", "credentialId")}

    for name, value in {"index": certificate["logIndex"], **identifiers}.items():
        proof = stranger.get(f"inclusion?{name}={value}").json()
        signed = open_checkpoint(proof["checkpoint"], log_key(public))
        body = stranger.bodies(signed.size)[proof["logIndex"]]
        hashes = [decode_hash(text) for text in proof["hashes"]]
        assert json.loads(body)["serialNumber"] == certificate["serialNumber"]
        assert decode_hash(proof["leafHash"]) == leaf_hash(body)
        assert (proof["size"], decode_hash(proof["rootHash"])) == (signed.size, signed.root)
        verify_inclusion(proof["logIndex"], signed.size, leaf_hash(body), hashes, signed.root)


@pytest.mark.parametrize(("index", "size"), [(0, 1), (255, 256), (256, 257), (300, 511), (511, OLD_ENTRIES)])
def test_an_inclusion_proof_in_an_earlier_tree(stranger: Stranger, index: int, size: int) -> None:
    """The tree of any size that the log had must be proven in; no checkpoint of another may stand beside it."""
    proof = stranger.get(f"inclusion?index={index}&size={size}").json()
    node = stranger.nodes(size)

    assert proof["size"] == size
    assert "checkpoint" not in proof
    hashes = [decode_hash(text) for text in proof["hashes"]]
    verify_inclusion(index, size, node(0, index), hashes, decode_hash(proof["rootHash"]))


def test_the_holder_of_a_certificate_asks_about_its_own(private: RunningService) -> None:
    """Who asked for a certificate can have it proven; others must not learn that it is there."""
    certificate = issue(private)
    for name in ("serialNumber", "credentialId"):
        path = f"inclusion?{name}={certificate[name]}"
        answers = {
            token: Stranger(private, log_key(private), token).get(path)
            for token in ("requester", "siem", "bob", "stranger", None)
        }
        assert [answer.status for answer in answers.values()] == [200, 200, 200, 404, 401]
        assert answers["requester"].json()["logIndex"] == certificate["logIndex"]
        assert "checkpoint" in answers["requester"].json()


def test_the_log_has_only_grown(public: RunningService, stranger: Stranger) -> None:
    """From what was seen earlier to what is signed now, a proof must lead; from any size to any later one too."""
    before = stranger.checkpoint()
    issue(public)
    grown = stranger.get(f"consistency?from={before.size}").json()
    signed = open_checkpoint(grown["checkpoint"], log_key(public))

    assert grown["from"]["size"] == before.size < grown["to"]["size"] == signed.size
    hashes = [decode_hash(text) for text in grown["hashes"]]
    verify_consistency(before.size, before.root, signed.size, signed.root, hashes)
    for old, new in ((0, 1), (1, 256), (255, 257), (256, 512), (300, 300), (300, 601)):
        found = stranger.get(f"consistency?from={old}&to={new}").json()
        roots = [decode_hash(found[end]["rootHash"]) for end in ("from", "to")]
        verify_consistency(old, roots[0], new, roots[1], [decode_hash(text) for text in found["hashes"]])
        assert "checkpoint" not in found


def test_receipts_hold_without_the_service(private: RunningService) -> None:
    """The receipt in an answer, and the one that is asked for later, must hold by the log's key alone."""
    certificate = issue(private)
    path = f"/v1/certificates/{certificate['serialNumber']}/receipt"
    later = private.call("GET", path, token="requester")

    assert private.call("GET", path, token="stranger").status == 404
    assert later.headers["Content-Type"] == "text/plain; charset=utf-8"
    for text in (certificate["receipt"], later.text):
        receipt = parse_receipt(text)
        assert receipt.extra is not None
        assert verify_receipt(receipt, log_key(private), receipt.extra).size > receipt.index
        assert json.loads(receipt.extra)["credentialId"] == certificate["credentialId"]


def test_go_verifies_what_was_downloaded(
    public: RunningService, stranger: Stranger, verifier: Verifier, tmp_path: Path
) -> None:
    """Go's checks must take the files of the running service for the log that was signed, and no changed one."""
    log = stranger.download(tmp_path / "log")
    vkey = log_key(public).vkey
    files = sorted(file.relative_to(log) for file in log.rglob("*") if file.is_file())

    assert len(files) == 1 + 2 + 1 + 1 + 2 + 1  # checkpoint; tiles of level 0 and 1; entries
    assert verifier.accepts("tiles", log, vkey)
    for number, file in enumerate(files):
        changed = Path(shutil.copytree(log, tmp_path / str(number)))
        octets = (changed / file).read_bytes()
        (changed / file).write_bytes(octets[:-9] + bytes([octets[-9] ^ 1]) + octets[-8:])
        assert not verifier.accepts("tiles", changed, vkey), file


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE tiles SET hashes = zeroblob(8192) WHERE level = 0",
        "UPDATE head SET checkpoint = 'all is well'",
        "UPDATE head SET checkpoint = replace(checkpoint, '601', '600')",
    ],
)
def test_a_tree_that_was_changed_is_not_given_away(tmp_path: Path, change: str) -> None:
    """A proof that would not hold must be a 503 that the log tells of, whatever was changed, and never a 500."""
    file = make_workspace(tmp_path / "kubemint")
    fill(file, OLD_ENTRIES)
    with RunningService(file.parent, config=file) as service:
        with closing(sqlite3.connect(service.ledger_file, isolation_level=None)) as database:
            for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                database.execute(f'DROP TRIGGER "{trigger}"')
            database.execute(change)
        answers = [
            service.call("GET", f"/v1/log/{path}", token="operator")
            for path in ("inclusion?index=5", "consistency?from=300")
        ]

    assert [(answer.status, answer.json()["code"]) for answer in answers] == [(503, "ledger-unavailable")] * 2
    assert any(line["level"] == "error" and "prove itself" in json.dumps(line) for line in service.log_lines())
