"""The whole ledger again: whatever somebody with the database changes is found, and nothing else is."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table

from kubemint.ledger import tables
from kubemint.ledger.verify_findings import Finding, NotChecked
from kubemint.record import EventKind
from kubemint.transparency.tiles import TILE_WIDTH, encode_entries, entries_path
from kubemint.transparency.tree import leaf_hash
from kubemint.x509.twin import twin_digest
from ledger.adapters import Adapter
from ledger.events import NOW, denied, refused
from log.issuing import authority, der_of, issued
from log.record import (
    APPROVED,
    AT_EDGE,
    DENIED,
    EVENTS,
    IN_TILE,
    OPEN,
    SIZE,
    add,
    change,
    checkpoint_of,
    codes,
    disarm,
    entry,
    findings,
    flipped,
    outcomes,
    remove,
    renamed,
    rewrite,
    seen,
    value,
)

ENTRIES, HEAD, TILES = tables.entries, tables.head, tables.tiles
Attack = Callable[[Adapter], None]
OF_REVOCATIONS = {tables.revocations, tables.revoked_certificates, tables.blocks}  # test_revocations.py


def test_a_sound_ledger(filled: Adapter) -> None:
    """Nothing is found in a ledger that nobody has changed, with or without checkpoints of it."""
    early = seen(filled)
    assert findings(filled, seen=[early]) == []
    filled.open().append(issued(1000), refused())
    assert findings(filled, seen=[early, seen(filled)]) == []


def test_an_empty_ledger(adapter: Adapter) -> None:
    """A ledger without entries is in order."""
    assert findings(adapter, seen=[seen(adapter)]) == []


@pytest.mark.parametrize("index", [0, IN_TILE, TILE_WIDTH - 1, TILE_WIDTH, AT_EDGE, SIZE - 1])
def test_a_flipped_bit_of_an_entry(filled: Adapter, index: int) -> None:
    """One bit of one entry is found, and named, and nothing else is said."""
    body = value(filled, ENTRIES.c.body, entry(index))
    change(filled, ENTRIES, entry(index), body=flipped(body, len(body) // 2))
    assert findings(filled) == [("entry-changed", index)]


def test_a_flipped_bit_of_a_certificate(filled: Adapter) -> None:
    """One letter of the certificate in an entry is found."""
    body = value(filled, ENTRIES.c.body, entry(IN_TILE))
    place = body.index(b'"certificate":"') + 200
    changed = body[:place] + (b"A" if body[place : place + 1] != b"A" else b"B") + body[place + 1 :]
    change(filled, ENTRIES, entry(IN_TILE), body=changed)
    assert findings(filled) == [("entry-changed", IN_TILE)]


@pytest.mark.parametrize("index", [IN_TILE, AT_EDGE])
def test_a_flipped_bit_of_a_leaf_hash(filled: Adapter, index: int) -> None:
    """A leaf hash that is not its entry's is found; where no tile knows better, the root differs too."""
    hashed = value(filled, ENTRIES.c.leaf_hash, entry(index))
    change(filled, ENTRIES, entry(index), leaf_hash=flipped(hashed))
    expected = [("entry-changed", index)] + ([] if index == IN_TILE else [("head-differs", None)] * 2)
    assert findings(filled) == expected


@pytest.mark.parametrize("column", ["hashes", "root"])
def test_a_flipped_bit_of_a_tile(filled: Adapter, column: str) -> None:
    """A tile that is not that of its entries is found, and the entries are not blamed."""
    octets = value(filled, TILES.c[column], TILES.c.level == 0)
    change(filled, TILES, TILES.c.level == 0, **{column: flipped(octets, 5)})
    assert findings(filled) == [("tile-differs", None)]


def test_a_flipped_bit_of_the_frontier(filled: Adapter) -> None:
    """A frontier that is not that of the entries is found."""
    change(filled, HEAD, HEAD.c.id == 1, frontier=flipped(value(filled, HEAD.c.frontier, HEAD.c.id == 1)))
    assert findings(filled) == [("head-differs", None)]


def test_a_flipped_bit_of_the_signature(filled: Adapter) -> None:
    """A checkpoint that the log's key did not sign is found."""
    note = checkpoint_of(filled)
    place = note.rindex(" ") + 20
    changed = note[:place] + ("A" if note[place] != "A" else "B") + note[place + 1 :]
    change(filled, HEAD, HEAD.c.id == 1, checkpoint=changed)
    assert findings(filled) == [("checkpoint-unsigned", None)]


@pytest.mark.parametrize("checkpoint", ["", "log.test/ledger\n1\nAA==\n", "no note"])
def test_a_head_that_nobody_signed(filled: Adapter, checkpoint: str) -> None:
    """What is no signed checkpoint is found as such."""
    change(filled, HEAD, HEAD.c.id == 1, checkpoint=checkpoint)
    assert findings(filled) == [("checkpoint-unsigned", None)]


def test_a_lost_head(filled: Adapter) -> None:
    """A ledger without a head is told as such."""
    remove(filled, HEAD, HEAD.c.id == 1)
    assert findings(filled) == [("head-differs", None)]


@pytest.mark.parametrize("index", [3, IN_TILE])
def test_a_deleted_entry(filled: Adapter, index: int) -> None:
    """An entry that is not there is found, though its tile still has its hash."""
    remove(filled, ENTRIES, entry(index))
    assert findings(filled) == [("entry-missing", index)]


@pytest.mark.parametrize("index", [AT_EDGE, SIZE - 1])
def test_a_deleted_entry_that_no_tile_has(filled: Adapter, index: int) -> None:
    """An entry of the edge that is not there is found, and that the root cannot be made without it."""
    remove(filled, ENTRIES, entry(index))
    assert findings(filled) == [("entry-missing", index), ("head-differs", None), ("head-differs", None)]


def test_a_swapped_pair(filled: Adapter) -> None:
    """Two entries that changed places, with their hashes, are both found."""
    _swap(filled, 2, IN_TILE)
    assert {("entry-changed", 2), ("entry-changed", IN_TILE)} <= set(findings(filled))


def test_a_swapped_pair_that_no_tile_has(filled: Adapter) -> None:
    """Two entries of the edge that changed places lead to another root."""
    _swap(filled, AT_EDGE, AT_EDGE + 1)
    assert "head-differs" in codes(filled)


def test_time_and_kind_beside_an_entry(filled: Adapter) -> None:
    """What is beside an entry, by which it is looked for, says what the entry says."""
    change(filled, ENTRIES, entry(1), kind="refused")
    change(filled, ENTRIES, entry(2), time="2020-01-01T00:00:00Z")
    assert findings(filled) == [("entry-changed", 1), ("entry-changed", 2)]


@pytest.mark.parametrize("index", [IN_TILE, AT_EDGE])
def test_a_rewritten_tail_that_is_not_signed(filled: Adapter, index: int) -> None:
    """Who has the database can make all of it fit together, and not sign it."""
    _rename(filled, index, is_signed=False)
    assert findings(filled) == [("head-differs", None)]


@pytest.mark.parametrize("index", [IN_TILE, AT_EDGE])
def test_a_rewritten_tail_that_is_signed(filled: Adapter, index: int) -> None:
    """Who has the log's key too is found by whoever kept a checkpoint, and by nobody else."""
    kept = seen(filled)
    _rename(filled, index, is_signed=True)
    assert findings(filled) == []
    assert findings(filled, seen=[kept]) == [("history-rewritten", None)]
    filled.open().append(refused())
    assert findings(filled, seen=[kept, seen(filled)]) == [("history-rewritten", None)]


def test_an_old_backup(filled: Adapter) -> None:
    """A ledger that is older than a checkpoint of it is found, though it fits together."""
    old = seen(filled)
    later = replace(old, checkpoint=replace(old.checkpoint, size=SIZE + 1))
    assert findings(filled, seen=[old, later]) == [("checkpoint-older", None)]


def test_what_witnesses_have_signed(filled: Adapter) -> None:
    """The checkpoint with cosignatures is held against the entries as any that was seen earlier."""
    note = checkpoint_of(filled)
    change(filled, tables.witnessed, tables.witnessed.c.id == 1, size=SIZE, checkpoint=note)
    assert findings(filled) == []
    _rename(filled, AT_EDGE, is_signed=True)
    assert findings(filled) == [("history-rewritten", None)]
    change(filled, tables.witnessed, tables.witnessed.c.id == 1, size=SIZE, checkpoint="x")
    assert findings(filled) == [("checkpoint-unsigned", None)]


def test_what_the_head_does_not_count(filled: Adapter) -> None:
    """Entries and tiles beyond the head are found."""
    body = refused().body
    beyond = {"time": "2026-11-20T12:00:00Z", "kind": "refused", "body": body, "leaf_hash": leaf_hash(body)}
    add(filled, ENTRIES, index=SIZE, **beyond)
    assert findings(filled) == [("entry-unknown", None)]
    add(filled, TILES, level=1, index=0, root=bytes(32), hashes=bytes(8192))
    assert findings(filled) == [("entry-unknown", None), ("tile-unknown", None)]


def test_a_lost_tile(filled: Adapter) -> None:
    """A tile that should be there is missed."""
    remove(filled, TILES, TILES.c.level == 0)
    assert findings(filled) == [("tile-missing", None)]


@pytest.mark.parametrize(
    ("table", "column", "value", "index"),
    [
        (tables.certificates, "user_name", "admin", IN_TILE),
        (tables.certificates, "not_after", 0, AT_EDGE),
        (tables.certificates, "serial_number", b"\x07", IN_TILE),
        (tables.refusals, "requester", "token:other", 2),
        (tables.refusals, "user_name", None, 2),
        (tables.policies, "version", "v2", 0),
        (tables.requests, "user_name", "admin", 9),
        (tables.requests, "state", "denied", 9),
        (tables.requests, "approvals", 2, 9),
        (tables.requests, "state", "issued", 8),
        (tables.requests, "outcome_index", 3, 8),
        (tables.requests, "outcome_index", 15, 7),
        (tables.requests, "expires_at", 1, 7),
        (tables.token_uses, "entry_index", 5, 4),
        (tables.idempotency_keys, "entry_index", 4, 1),
    ],
    ids=str,
)
def test_a_row_that_disagrees(filled: Adapter, table: Table, column: str, value: Any, index: int) -> None:
    """A row that says something else than its entries is found."""
    change(filled, table, table.c.entry_index == index, **{column: value})
    found = findings(filled)
    assert found
    assert {code for code, _ in found} == {"row-differs"}


@pytest.mark.parametrize("ended", [APPROVED, DENIED])
def test_a_request_that_is_opened_again(filled: Adapter, ended: str) -> None:
    """A request that is over, and whose row says that it waits, is found."""
    requests = tables.requests
    change(filled, requests, requests.c.id == ended, state="pending", outcome_index=None)
    assert codes(filled) == {"row-differs"}


@pytest.mark.parametrize(
    "table", [table for table in tables.QUERY_TABLES if table not in OF_REVOCATIONS], ids=lambda table: table.name
)
def test_a_row_that_is_missing(filled: Adapter, table: Table) -> None:
    """A row that was taken away is missed, with the entry that it is of."""
    with filled.engine.connect() as connection:
        index = (
            connection.execute(table.select().order_by(table.c.entry_index)).mappings().all()[-1]["entry_index"]
        )
    remove(filled, table, table.c.entry_index == index)
    found = findings(filled)
    assert ("row-missing", index) in found
    # Without an approval, its request has fewer than its row counts.
    assert {code for code, _ in found} <= {"row-missing"} | (
        {"row-differs"} if table is tables.approvals else set()
    )


@pytest.mark.parametrize(
    ("table", "row"),
    [
        (tables.certificates, {"entry_index": 2, "serial_number": b"\x09", "credential_id": b"\x09"}),
        (tables.refusals, {"entry_index": 1}),
        (tables.policies, {"entry_index": 1, "version": "v0"}),
        (tables.requests, {"entry_index": 1, "id": "9" * 32}),
        (tables.approvals, {"entry_index": 16, "request": DENIED}),
        (tables.token_uses, {"entry_index": 1, "authority": "github", "token_id": "t9"}),
        (tables.idempotency_keys, {"entry_index": 4, "requester": "token:ci", "idempotency_key": "retry-9"}),
        (tables.entry_groups, {"entry_index": 1, "group_name": "admins"}),
    ],
    ids=str,
)
def test_a_row_that_no_entry_tells_of(filled: Adapter, table: Table, row: dict[str, Any]) -> None:
    """A row that comes of no entry is found."""
    with filled.engine.connect() as connection:
        another = dict(connection.execute(table.select()).mappings().first() or {})
    add(filled, table, **{**another, **row})
    assert ("row-unknown", row["entry_index"]) in findings(filled)


def test_rows_beyond_the_head(filled: Adapter) -> None:
    """Rows of entries that there never were are found."""
    disarm(filled)
    add(filled, tables.policies, entry_index=SIZE + 5, version="v9")
    assert findings(filled) == [("row-unknown", None)]


def test_what_retention_may_drop(filled: Adapter) -> None:
    """Rows of what has been over for longer than the retention may be gone, and nothing else may."""
    late = NOW + timedelta(days=30)
    for table in (tables.certificates, tables.refusals, tables.entry_groups):
        remove(
            filled,
            table,
            table.c.entry_index == IN_TILE if table is not tables.refusals else table.c.entry_index == 2,
        )
    assert codes(filled, now=late) == {"row-missing"}
    assert codes(filled, now=late, retention=timedelta(days=60)) == {"row-missing"}
    assert findings(filled, now=late, retention=timedelta(days=7)) == []
    remove(filled, tables.idempotency_keys, tables.idempotency_keys.c.entry_index == 1)
    assert findings(filled, now=late, retention=timedelta(days=7)) == [("row-missing", 1)]


def test_a_certificate_that_is_not_what_its_entry_says(adapter: Adapter) -> None:
    """An entry that lies about its certificate is found, though everything about it is signed."""
    good = issued(1)
    lies = [
        replace(good, fields={**issued(number).fields, name: told})
        for number, (name, told) in enumerate(
            {
                "user": "admin",
                "groups": [],
                "notAfter": "2030-01-01T00:00:00Z",
                "notBefore": "2020-01-01T00:00:00Z",
                "serialNumber": "0a",
                "credentialId": "X509SHA256=" + "0" * 64,
                "publicKeySha256": "0" * 64,
                "certificate": "AAAA",
            }.items(),
            2,
        )
    ]
    foreign = issued(50, by=authority("another"))
    adapter.open().append(good, *lies, foreign)
    expected = [("certificate-differs", index) for index in range(1, len(lies) + 2)]
    assert findings(adapter) == expected


def test_an_entry_that_cannot_be_read(adapter: Adapter) -> None:
    """An entry of a kind that nobody knows is found."""
    event = denied("r")
    adapter.open().append(refused(), replace(event, fields={**event.fields, "kind": "unheard-of"}))
    assert findings(adapter) == [("entry-unreadable", 1)]


def test_bodies_in_the_archive(filled: Adapter, tmp_path: Path) -> None:
    """Entries whose bodies are in the archive's files are verified there."""
    file = tmp_path / "archive" / "tile" / entries_path(0)
    file.parent.mkdir(parents=True)
    bodies = [event.body for event in EVENTS[:TILE_WIDTH]]
    file.write_bytes(encode_entries(bodies))
    disarm(filled)
    kinds = (EventKind.ISSUED.value, EventKind.REFUSED.value)
    change(filled, ENTRIES, ENTRIES.c.kind.in_(kinds) & (ENTRIES.c.index < TILE_WIDTH), body=b"")
    assert ("entry-changed", IN_TILE) in findings(filled, archive=tmp_path / "archive")
    change(filled, HEAD, HEAD.c.id == 1, archived=TILE_WIDTH)
    assert findings(filled, archive=tmp_path / "archive") == []
    assert codes(filled) == {"entry-changed"}
    bodies[IN_TILE] = flipped(bodies[IN_TILE])
    file.write_bytes(encode_entries(bodies))
    assert findings(filled, archive=tmp_path / "archive") == [("entry-changed", IN_TILE)]
    file.write_bytes(encode_entries(bodies)[:-1])
    assert codes(filled, archive=tmp_path / "archive") == {"entry-changed"}


def test_a_ledger_that_grows_meanwhile(filled: Adapter) -> None:
    """What is added while somebody verifies is no finding, and neither is a request that is decided then."""
    ledger = filled.open()

    def decide(done: int, _: int) -> None:
        ledger.append(denied(OPEN) if done == TILE_WIDTH else refused(), issued(2000 + done))

    assert findings(filled, progress=decide) == []
    assert findings(filled) == []


def test_no_read_stays_open(filled: Adapter) -> None:
    """Between two bundles the database is left alone, and the way is told."""
    told = []

    def note(done: int, total: int) -> None:
        assert filled.engine.pool.status().count("Checked out") == 0 or filled.engine.pool.checkedout() == 0
        told.append((done, total))

    outcomes(filled, progress=note)
    assert told == [(TILE_WIDTH, SIZE), (SIZE, SIZE)]


def test_many_attacks_at_once(filled: Adapter) -> None:
    """One finding hides no other."""
    remove(filled, ENTRIES, entry(2))
    body = value(filled, ENTRIES.c.body, entry(IN_TILE))
    change(filled, ENTRIES, entry(IN_TILE), body=flipped(body))
    remove(filled, tables.certificates, tables.certificates.c.entry_index == AT_EDGE)
    change(filled, tables.requests, tables.requests.c.id == DENIED, state="issued")
    found = set(findings(filled))
    expected = {
        ("entry-missing", 2),
        ("entry-changed", IN_TILE),
        ("row-missing", AT_EDGE),
        ("row-differs", 8),
    }
    assert expected <= found


def test_what_could_not_be_looked_at_is_told(filled: Adapter) -> None:
    """Nothing is left out in silence: where the database cannot check its indexes, that is said."""
    told = [one.message for one in outcomes(filled) if isinstance(one, NotChecked)]
    expected = ["the database's indexes: it has no extension amcheck"]
    assert told == (expected if filled.engine.dialect.name == "postgresql" else [])
    assert all(not isinstance(one, Finding) for one in outcomes(filled))


def _swap(adapter: Adapter, one: int, other: int) -> None:
    names = ("time", "kind", "body", "leaf_hash")
    rows = {
        index: {name: value(adapter, ENTRIES.c[name], entry(index)) for name in names} for index in (one, other)
    }
    change(adapter, ENTRIES, entry(one), **rows[other])
    change(adapter, ENTRIES, entry(other), **rows[one])


def _rename(adapter: Adapter, index: int, *, is_signed: bool) -> None:
    event = renamed(index, "mallory")
    rewrite(adapter, index, event, is_signed=is_signed)
    credential_id = bytes.fromhex(event.fields["credentialId"].partition("=")[2])
    beside = {"credential_id": credential_id, "twin_id": twin_digest(der_of(event))}
    change(adapter, tables.certificates, tables.certificates.c.entry_index == index, **beside)
