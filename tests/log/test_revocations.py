"""Revocations are held to their entries: nobody un-revokes, or revokes, by SQL without being found."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, select

from kubemint.ledger import tables
from kubemint.ledger.retention import retain
from kubemint.ledger.verify_entries import ToldEntry, read_entry
from kubemint.ledger.verify_pages import EntryPages, reading
from kubemint.ledger.verify_revocations import RevocationCheck
from kubemint.record import Event
from kubemint.transparency.tiles import TILE_WIDTH
from kubemint.x509.revocation import RevocationReason
from ledger import events
from ledger.adapters import Adapter, SqliteAdapter
from ledger.events import NOW, policy_changed, refused, reinstated, revoked
from log.copies import Copy, postgres_copies, sqlite_copies
from log.issuing import issued
from log.record import add, change, codes, entry, findings, remove, value

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
HOLD, COMPROMISE = RevocationReason.CERTIFICATE_HOLD, RevocationReason.KEY_COMPROMISE
CERTIFICATES, HITS, BLOCKS = tables.certificates, tables.revoked_certificates, tables.blocks
REVOCATIONS = tables.revocations
EVENTS: Sequence[Event] = (
    policy_changed("v1"),
    issued(1, user="ann", groups=("team-a",)),
    issued(2, user="bob", groups=("team-a", "team-b")),
    issued(3, user="ann", lifetime=MINUTE),  # is over when the first revocation comes
    issued(4, user="ann", groups=()),
    revoked("a", user="ann", reason=COMPROMISE, time=NOW + 5 * MINUTE),
    issued(5, user="ann", groups=("team-a",), time=NOW + 6 * MINUTE),
    revoked("b", group="team-a", reason=HOLD, suspend_until=NOW + DAY, time=NOW + 7 * MINUTE),
    revoked("c", profile="developers", reason=HOLD, user="bob", suspend_until=NOW + DAY, time=NOW + 8 * MINUTE),
    reinstated("c", time=NOW + 9 * MINUTE),
    refused(),
    revoked("d", user="carl", suspend_until=NOW + DAY, time=NOW + 9 * MINUTE),
    revoked("e", public_key_sha256="ab" * 32, time=NOW + 9 * MINUTE),
)
A, B, C, LIFT, D, E = 5, 7, 8, 9, 11, 12


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Copy]:
    """Give what makes copies of a ledger with revocations of every kind."""
    return {
        "sqlite": sqlite_copies(tmp_path_factory.mktemp("revoked"), EVENTS),
        "postgres": postgres_copies(EVENTS),
    }


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, copies: dict[str, Copy], tmp_path: Path) -> Iterator[Adapter]:
    """Give such a ledger."""
    made = copies[request.param](tmp_path)
    yield made
    made.close()


def _hit(revocation: int, certificate: int) -> Any:
    return (HITS.c.revocation_index == revocation) & (HITS.c.certificate_index == certificate)


def _of(table: Table, index: int) -> Any:
    column = table.c.entry_index if "entry_index" in table.c else table.c.revocation_index
    return column == index


def _hits(adapter: Adapter) -> list[tuple[int, int]]:
    with adapter.engine.connect() as connection:
        query = select(HITS.c.revocation_index, HITS.c.certificate_index).order_by(*HITS.primary_key.columns)
        return [tuple(row) for row in connection.execute(query)]


def test_a_sound_ledger(ledger: Adapter) -> None:
    """What revocations have hit, kept out and lifted is what their entries say: nothing is found."""
    assert _hits(ledger) == [(A, 1), (A, 4), (B, 1), (B, 2), (B, 6), (C, 2)]
    assert findings(ledger) == []


@pytest.mark.parametrize(
    ("table", "condition", "index"),
    [
        (REVOCATIONS, _of(REVOCATIONS, A), A),
        (REVOCATIONS, _of(REVOCATIONS, E), E),
        (HITS, _hit(A, 1), A),
        (HITS, _hit(C, 2), C),  # of a hold that is over
        (HITS, _of(HITS, B), B),
        (BLOCKS, _of(BLOCKS, A), A),
        (BLOCKS, _of(BLOCKS, D), D),
        (BLOCKS, _of(BLOCKS, E), E),
    ],
    ids=["revocation", "key", "hit", "lifted hit", "all hits", "keys of hits", "user", "named key"],
)
def test_a_row_that_is_missing(ledger: Adapter, table: Table, condition: Any, index: int) -> None:
    """Whoever takes a row away to un-revoke something is found, with the revocation, and nothing else is said."""
    remove(ledger, table, condition)
    assert findings(ledger) == [("row-missing", index)]


@pytest.mark.parametrize(
    ("table", "row", "index"),
    [
        (
            REVOCATIONS,
            {"entry_index": 10, "id": "x", "reason": "unspecified", "revoked_at": 0, "requester": "me"},
            10,
        ),
        (HITS, {"revocation_index": A, "certificate_index": 2}, A),
        (HITS, {"revocation_index": A, "certificate_index": 3}, A),  # was over
        (HITS, {"revocation_index": A, "certificate_index": 6}, A),  # came later
        (HITS, {"revocation_index": A, "certificate_index": 10}, A),  # is none
        (HITS, {"revocation_index": 10, "certificate_index": 2}, 10),
        (BLOCKS, {"kind": "user", "value": b"bob", "revocation_index": A}, A),
        (BLOCKS, {"kind": "key", "value": bytes(32), "revocation_index": 1}, 1),
        (BLOCKS, {"kind": "user", "value": b"bob", "revocation_index": C}, C),  # of a hold that is over
    ],
    ids=str,
)
def test_a_row_that_no_entry_tells_of(ledger: Adapter, table: Table, row: dict[str, Any], index: int) -> None:
    """Whoever adds a row to revoke something, or to keep somebody out, is found."""
    beside = {"serial_number": b"\x09", "credential_id": bytes(32), "not_after": 2**40} if table is HITS else {}
    add(ledger, table, **beside, **row)
    assert findings(ledger) == [("row-unknown", index)]


@pytest.mark.parametrize(
    ("table", "condition", "column", "told"),
    [
        (HITS, _hit(A, 1), "serial_number", b"\x07"),
        (HITS, _hit(A, 4), "credential_id", bytes(32)),
        (HITS, _hit(A, 4), "twin_id", None),
        (HITS, _hit(A, 4), "twin_id", bytes(32)),
        (HITS, _hit(A, 1), "not_after", 0),
        (BLOCKS, _of(BLOCKS, D), "until", 0),
        (BLOCKS, _of(BLOCKS, A), "until", 0),
        (BLOCKS, _of(BLOCKS, B), "until", None),
        (REVOCATIONS, _of(REVOCATIONS, A), "reason", "certificateHold"),
        (REVOCATIONS, _of(REVOCATIONS, A), "requester", "token:eve"),
        (REVOCATIONS, _of(REVOCATIONS, A), "id", "z"),
        (REVOCATIONS, _of(REVOCATIONS, A), "revoked_at", 0),
        (REVOCATIONS, _of(REVOCATIONS, A), "revoked_at", 2**40),
        (CERTIFICATES, _of(CERTIFICATES, 2), "twin_id", bytes(32)),
        (CERTIFICATES, _of(CERTIFICATES, 2), "twin_id", None),
        (CERTIFICATES, _of(CERTIFICATES, 2), "public_key", bytes(32)),
        (CERTIFICATES, _of(CERTIFICATES, 2), "public_key", None),
    ],
    ids=str,
)
def test_a_row_that_disagrees(ledger: Adapter, table: Table, condition: Any, column: str, told: Any) -> None:
    """A row that says something else than its entries is found, and nothing else is said."""
    change(ledger, table, condition, **{column: told})
    assert [code for code, _ in findings(ledger)] == ["row-differs"]


def test_a_hit_that_became_another(ledger: Adapter) -> None:
    """A row that was turned to another certificate is missed where it was, and unknown where it is."""
    change(ledger, HITS, _hit(A, 1), certificate_index=2)
    assert findings(ledger) == [("row-missing", A), ("row-unknown", A)]


@pytest.mark.parametrize("lifted", [LIFT, 10, 1000], ids=["another's", "a refusal", "none"])
def test_a_hold_that_nobody_lifted(ledger: Adapter, lifted: int) -> None:
    """Whoever says in the row that a revocation is lifted is found, though no hit is missing."""
    change(ledger, REVOCATIONS, _of(REVOCATIONS, B), lifted_index=lifted)
    remove(ledger, BLOCKS, _of(BLOCKS, B))
    assert findings(ledger) == [("row-differs", B)]


@pytest.mark.parametrize("lifted", [None, 1], ids=str)
def test_a_hold_that_was_lifted(ledger: Adapter, lifted: int | None) -> None:
    """Whoever takes the lifting back, so that the hold counts again, is found."""
    change(ledger, REVOCATIONS, _of(REVOCATIONS, C), lifted_index=lifted)
    assert ("row-differs", LIFT) in findings(ledger)


def test_everything_that_a_revocation_did(ledger: Adapter) -> None:
    """One who removes all rows of a revocation at once is found all the same."""
    for table in (BLOCKS, HITS, REVOCATIONS):
        remove(ledger, table, _of(table, A))
    assert findings(ledger) == [("row-missing", A)]


def test_rows_beyond_the_head(ledger: Adapter) -> None:
    """Rows of revocations that there never were are found."""
    add(ledger, BLOCKS, kind="user", value=b"ann", revocation_index=len(EVENTS) + 3)
    assert findings(ledger) == [("row-unknown", None)]


def test_an_entry_that_is_gone(ledger: Adapter) -> None:
    """What an entry hit that is not there any more, nobody can say; the entry is missed, and its hits are not."""
    remove(ledger, tables.entries, entry(1))
    assert ("entry-missing", 1) in findings(ledger)
    assert {code for code, index in findings(ledger) if index in {A, B}} == set()


def test_a_revocation_that_is_gone(ledger: Adapter) -> None:
    """Of a revocation whose entry is not there any more, the entry is missed, and what came of it not blamed."""
    remove(ledger, tables.entries, entry(A))
    found = findings(ledger)
    assert ("entry-missing", A) in found
    assert {code for code, _ in found} == {"entry-missing", "head-differs"}


def test_over_many_bundles(adapter: Adapter) -> None:
    """A revocation hits certificates of every bundle before it, and is lifted in one after it."""
    ledger = adapter.open()
    ledger.append(*EVENTS[:5], *[refused()] * TILE_WIDTH)
    ledger.append(issued(9, user="ann"), revoked("a", user="ann", reason=HOLD))
    ledger.append(*[refused()] * TILE_WIDTH, reinstated("a"))
    revocation = TILE_WIDTH + 6
    # The first revocation has the time of the certificate that is over for the others.
    assert _hits(adapter) == [(revocation, index) for index in (1, 3, 4, revocation - 1)]
    assert findings(adapter) == []
    remove(adapter, HITS, _hit(revocation, 4))
    assert findings(adapter) == [("row-missing", revocation)]
    change(adapter, REVOCATIONS, _of(REVOCATIONS, revocation), lifted_index=None)
    assert findings(adapter) == [("row-missing", revocation), ("row-differs", 2 * TILE_WIDTH + 7)]


def test_what_retention_drops(ledger: Adapter) -> None:
    """With the rows that retention drops, nothing is found; without a retention, they are missed."""
    late = NOW + 30 * DAY
    retain(ledger.database(), 7 * DAY, late, pause=lambda _: None)
    assert _hits(ledger) == []
    assert findings(ledger, now=late, retention=7 * DAY) == []
    assert codes(ledger, now=late, retention=60 * DAY) == {"row-missing"}


@pytest.mark.parametrize("index", [A, E])
def test_a_key_that_retention_never_drops(ledger: Adapter, index: int) -> None:
    """A key stays blocked when nothing else is left of its certificates; whoever unblocks it then is found."""
    late = NOW + 30 * DAY
    retain(ledger.database(), 7 * DAY, late, pause=lambda _: None)
    remove(ledger, BLOCKS, _of(BLOCKS, index))
    assert findings(ledger, now=late, retention=7 * DAY) == [("row-missing", index)]


def test_hits_that_outlived_their_certificates(ledger: Adapter) -> None:
    """A retention that was cut off leaves rows of what is over: no finding, unless they say something else."""
    late = NOW + 30 * DAY
    remove(ledger, CERTIFICATES, CERTIFICATES.c.entry_index > 0)
    remove(ledger, tables.entry_groups, tables.entry_groups.c.entry_index > 0)
    assert findings(ledger, now=late, retention=7 * DAY) == []
    change(ledger, HITS, _hit(A, 1), serial_number=b"\x02")
    assert findings(ledger, now=late, retention=7 * DAY) == [("row-differs", A)]


def test_a_ledger_that_grows_meanwhile(ledger: Adapter) -> None:
    """A hold that is lifted while somebody verifies, and a revocation that comes then, are no findings."""
    writer = ledger.open()
    writer.append(*[refused()] * TILE_WIDTH)

    def go_on(done: int, _: int) -> None:
        if done == TILE_WIDTH:
            writer.append(reinstated("b", time=NOW + DAY), revoked("late", user="bob", time=NOW + 10 * MINUTE))

    assert findings(ledger, progress=go_on) == []
    assert findings(ledger) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"select": {"serialNumber": "xyz"}},
        {"select": {"credentialId": "X509SHA256=zz"}},
        {"select": {"publicKeySha256": "0"}},
        {"select": {"user": 7}},
        {"select": {"issuedSince": "2026-11-20T12:00:00"}},
        {"select": []},
        {"reason": "because"},
        {"blocksKeys": None, "select": None},
        {"suspendUntil": "soon", "select": {"user": "ann"}},
    ],
    ids=str,
)
def test_a_revocation_that_cannot_be_read(sqlite: SqliteAdapter, fields: dict[str, Any]) -> None:
    """An entry that revokes nothing that there could be is found, and stops no verification."""
    good = EVENTS[A]
    bad = replace(good, fields={**good.fields, "revocation": "b", **fields})
    sqlite.open().append(*EVENTS[:5], refused())
    change(sqlite, tables.entries, entry(5), body=bad.body, kind="revoked")
    told = read_entry(_stored_entry(sqlite, 5), ())
    assert told[0] is None
    assert [finding.code.value for finding in told[1]] == ["entry-unreadable"]
    assert ("entry-changed", 5) in findings(sqlite)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE revocations SET revoked_at = 'x' WHERE entry_index = 5",
        "UPDATE revocations SET lifted_index = 'x' WHERE entry_index = 5",
        "UPDATE revoked_certificates SET serial_number = 'x' WHERE revocation_index = 5",
        "UPDATE revoked_certificates SET certificate_index = 'x' WHERE certificate_index = 4",
        "UPDATE revoked_certificates SET not_after = x'00' WHERE revocation_index = 7",
        "UPDATE blocks SET value = 'carl' WHERE revocation_index = 11",
        "UPDATE blocks SET until = 'x' WHERE revocation_index = 5",
    ],
)
def test_values_of_another_type(sqlite: SqliteAdapter, statement: str) -> None:
    """SQLite lets anybody put anything into a column: that is found like any other change."""
    sqlite.open().append(*EVENTS)
    sqlite.execute("PRAGMA foreign_keys = OFF")
    sqlite.execute(statement)
    assert codes(sqlite) & {"row-differs", "row-missing", "row-unknown"}


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqliteAdapter]:
    """Give an empty ledger in a SQLite file."""
    made = SqliteAdapter(tmp_path / "ledger.db")
    yield made
    made.close()


def test_certificates_that_are_over_are_forgotten_on_the_way(sqlite: SqliteAdapter) -> None:
    """However few are kept, each revocation is done again right, though a clock goes a year ahead and back."""
    writer, year = sqlite.open(), 365 * DAY
    for number in range(6):
        ahead = year if number == 2 else timedelta(0)
        time = NOW + ahead + number * 40 * MINUTE
        some = [events.issued(1000 * number + each + 1, time=time, user=f"u{each % 7}") for each in range(100)]
        writer.append(*some, revoked(f"r{number}", user="u3", time=time + 50 * MINUTE, reason=COMPROMISE))
    hits = _hits(sqlite)
    assert len({revocation for revocation, _ in hits}) == 6
    assert len(hits) > 6 * 14  # some of an earlier lot are still valid
    for room in (0, 150, 10**6):
        assert _check(sqlite, room) == []
    remove(sqlite, HITS, _hit(*hits[40]))
    for room in (0, 150, 10**6):
        assert _check(sqlite, room) == [("row-missing", hits[40][0])]


def _check(adapter: Adapter, room: int) -> list[tuple[str, int | None]]:
    """Verify revocations alone, over certificates that nobody signed."""
    with adapter.engine.connect() as connection:
        size = connection.execute(select(tables.head.c.size)).scalar_one()
    check, pages, found = RevocationCheck(size, None, room), EntryPages(None, 0), []
    for first in range(0, size, TILE_WIDTH):
        with reading(adapter.engine) as connection:
            told: dict[int, ToldEntry] = {}
            for one in pages.bundle(connection, first // TILE_WIDTH, size):
                assert one is not None
                read, _ = read_entry(one, ())
                assert read is not None
                told[one.index] = read
            found += check.bundle(connection, range(first, min(size, first + TILE_WIDTH)), told, pages)
    check.close()
    return [(one.code.value, one.index) for one in found]


def _stored_entry(adapter: Adapter, index: int) -> Any:
    with reading(adapter.engine) as connection:
        found = EntryPages(None, 0).entry(connection, index)
    assert found is not None
    assert value(adapter, tables.entries.c.body, entry(index)) == found.body
    return found
