"""The text of old entries in files: it is found there, and whoever changes it is found out."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from kubemint.errors import KubemintError, LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.archive import NO_ARCHIVE, Archive
from kubemint.ledger.archiving import Archived, archive_old
from kubemint.ledger.log import LedgerLog
from kubemint.ledger.reader import LedgerReader
from kubemint.ledger.stores import open_store
from kubemint.ledger.writer import LedgerWriter
from kubemint.record import Entry, Event, EventKind
from kubemint.transparency.tiles import TILE_WIDTH, Tile, decode_entries, encode_entries, entries_path, tile_path
from kubemint.transparency.tree import leaf_hash
from ledger.adapters import Adapter, stored
from ledger.events import NOW, answered, approved, issued, policy_changed, refused, requested

DAY = timedelta(days=1)
KEPT = 90 * DAY
TODAY = NOW + 200 * DAY
RECENT = TODAY - DAY
OLD_BUNDLES = 2


def _events() -> Iterator[Event]:
    """Give two bundles that are over, of all kinds, and half a bundle that is not."""
    yield policy_changed("v1")
    yield issued(1, key="k1")
    yield refused()
    yield requested("r1")
    yield approved("r1")
    yield answered("r1", 2)
    for serial in range(3, OLD_BUNDLES * TILE_WIDTH - 3):
        yield issued(serial)
    for serial in range(1000, 1128):
        yield issued(serial, time=RECENT)


@pytest.fixture
def filled(adapter: Adapter) -> tuple[Adapter, list[Entry]]:
    """Give a ledger with these events, and its entries."""
    ledger = adapter.open()
    events = list(_events())
    entries: list[Entry] = []
    for start in range(0, len(events), 50):
        entries += ledger.append(*events[start : start + 50]).entries
    return adapter, entries


@pytest.fixture
def archived(filled: tuple[Adapter, list[Entry]], tmp_path: Path) -> tuple[Adapter, Path, list[Entry]]:
    """Give a ledger whose old bundles are in a folder."""
    adapter, entries = filled
    moved = archive_old(adapter.database().engine, Archive(tmp_path / "archive"), KEPT, TODAY)
    assert moved == Archived(bundles=OLD_BUNDLES, bodies=OLD_BUNDLES * TILE_WIDTH - 3)
    return adapter, tmp_path / "archive", entries


def test_full_bundles_that_are_over_become_files(archived: tuple[Adapter, Path, list[Entry]]) -> None:
    """The files are those of tlog-tiles, of full bundles, and the database has no text of what is in them."""
    adapter, folder, entries = archived
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    assert files == ["tile/0/000", "tile/0/001", "tile/entries/000", "tile/entries/001"]
    rows = stored(adapter, tables.entries)
    for number in range(OLD_BUNDLES):
        bodies = decode_entries((folder / "tile" / entries_path(number)).read_bytes())
        hashes = (folder / "tile" / tile_path(Tile(0, number))).read_bytes()
        assert b"".join(map(leaf_hash, bodies)) == hashes
        first = number * TILE_WIDTH
        assert [json.loads(body) for body in bodies] == [
            entry.fields for entry in entries[first : first + TILE_WIDTH]
        ]
    end = OLD_BUNDLES * TILE_WIDTH
    emptied = {row["kind"] for row in rows if not row["body"]}
    kept = {row["kind"] for row in rows[:end] if row["body"]}
    assert (emptied, kept) == ({"issued", "refused"}, {"policy-changed", "requested", "approved"})
    assert all(row["body"] for row in rows[end:])
    assert stored(adapter, tables.head)[0]["archived"] == end


def test_the_log_is_what_it_was(archived: tuple[Adapter, Path, list[Entry]]) -> None:
    """Bundles, receipts and proofs are given of what is archived, as before."""
    adapter, folder, entries = archived
    log = LedgerLog(adapter.readers[0], adapter.keys, Archive(folder))
    for number in range(OLD_BUNDLES):
        bundle = log.bundle(number, TILE_WIDTH)
        assert bundle == (folder / "tile" / entries_path(number)).read_bytes()
    for index in (1, 2, OLD_BUNDLES * TILE_WIDTH - 1, len(entries) - 1):
        receipt = log.receipt(index)
        assert json.loads(receipt.extra) == entries[index].fields
        leaf, _, tree = log.inclusion(index, None)
        assert leaf == leaf_hash(receipt.extra)
        assert tree.size == len(entries)


def test_entries_are_read_from_the_folder(archived: tuple[Adapter, Path, list[Entry]]) -> None:
    """Streams, searches, requests and repeats give the entries that were recorded."""
    adapter, folder, entries = archived
    reader = LedgerReader(adapter.readers[0], Archive(folder))
    assert list(reader.entries(EventKind)) == entries
    assert reader.find_by_serial("01") == entries[1]
    assert reader.find_by_key("token:ci", "k1") == entries[1]
    record = reader.find_request("r1")
    assert record is not None
    assert (record.entry, record.approvals, record.outcome) == (entries[3], (entries[4],), entries[5])
    database = open_store(make_url(adapter.url)).writable()
    again = LedgerWriter(database, adapter.keys, lambda _: None, Archive(folder)).append(issued(9999, key="k1"))
    database.close()
    assert again.repeated
    assert again.entries == (entries[1],)


def test_without_the_folder_nothing_is_invented(archived: tuple[Adapter, Path, list[Entry]]) -> None:
    """Where no folder is configured, what is in it is unavailable, the error says why, and the rest is there."""
    adapter, _, entries = archived
    reader, log = LedgerReader(adapter.readers[0]), LedgerLog(adapter.readers[0], adapter.keys)
    for ask in (
        lambda: reader.find_by_serial("01"),
        lambda: reader.find_by_key("token:ci", "k1"),
        lambda: list(reader.entries(EventKind)),
        lambda: log.bundle(0, TILE_WIDTH),
        lambda: log.receipt(1),
        lambda: adapter.open().append(issued(9999, key="k1")),
    ):
        with pytest.raises(LedgerUnavailable) as fault:
            ask()
        assert "archive" in str(fault.value) or "archive" in str(fault.value.__cause__)
    assert reader.last_policy() == entries[0]
    assert log.receipt(len(entries) - 1).index == len(entries) - 1
    assert adapter.open().append(issued(9998, time=TODAY)).entry.index == len(entries)


def test_a_changed_file_is_found_out(archived: tuple[Adapter, Path, list[Entry]]) -> None:
    """An entry whose text in the folder is another one is not given; its neighbours are."""
    adapter, folder, entries = archived
    file = folder / "tile" / entries_path(0)
    bodies = list(decode_entries(file.read_bytes()))
    bodies[1] = bodies[1].replace(b"jan", b"eve")
    file.write_bytes(encode_entries(bodies))
    reader = LedgerReader(adapter.readers[0], Archive(folder))
    with pytest.raises(LedgerUnavailable, match="not the one that was recorded"):
        reader.find_by_serial("01")
    assert reader.find_by_serial("03") == entries[6]
    with pytest.raises(LedgerUnavailable):
        LedgerLog(adapter.readers[0], adapter.keys, Archive(folder)).bundle(0, TILE_WIDTH)


def test_a_lost_file_is_missed(archived: tuple[Adapter, Path, list[Entry]]) -> None:
    """Where a file is gone, the error names it."""
    adapter, folder, _ = archived
    shutil.rmtree(folder)
    with pytest.raises(LedgerUnavailable, match="000 of the archive cannot be read"):
        LedgerReader(adapter.readers[0], Archive(folder)).find_by_serial("01")


def test_archiving_again_moves_nothing(archived: tuple[Adapter, Path, list[Entry]]) -> None:
    """What is archived stays as it is, and what is not over yet stays where it is."""
    adapter, folder, _ = archived
    before = stored(adapter, tables.entries)
    assert archive_old(adapter.database().engine, Archive(folder), KEPT, TODAY) == Archived(bundles=0, bodies=0)
    assert stored(adapter, tables.entries) == before


def test_a_dry_run_moves_nothing(filled: tuple[Adapter, list[Entry]], tmp_path: Path) -> None:
    """What would be moved is counted, no file is written, and no text goes."""
    adapter, _ = filled
    folder = tmp_path / "archive"
    moved = archive_old(adapter.database().engine, Archive(folder), KEPT, TODAY, dry_run=True)
    assert moved == Archived(bundles=OLD_BUNDLES, bodies=OLD_BUNDLES * TILE_WIDTH - 3)
    assert not folder.exists()
    assert all(row["body"] for row in stored(adapter, tables.entries))


@pytest.mark.parametrize(("late", "bundles"), [(0, 0), (TILE_WIDTH, 1)])
def test_one_unexpired_certificate_keeps_its_bundle(
    adapter: Adapter, tmp_path: Path, late: int, bundles: int
) -> None:
    """A bundle with a certificate that has not been over for long enough stays, and so do those after it."""
    ledger = adapter.open()
    events = [issued(index + 1, lifetime=150 * DAY if index == late else DAY) for index in range(2 * TILE_WIDTH)]
    for start in range(0, len(events), 64):
        ledger.append(*events[start : start + 64])
    moved = archive_old(adapter.database().engine, Archive(tmp_path / "archive"), KEPT, TODAY)
    assert moved.bundles == bundles


def test_a_folder_that_cannot_be_written_keeps_the_text(
    filled: tuple[Adapter, list[Entry]], tmp_path: Path
) -> None:
    """Where the files cannot be made, the database keeps every body."""
    adapter, _ = filled
    (tmp_path / "archive").write_text("a file is no folder")
    with pytest.raises(LedgerUnavailable, match="cannot be written"):
        archive_old(adapter.database().engine, Archive(tmp_path / "archive"), KEPT, TODAY)
    with pytest.raises(LedgerUnavailable, match="names none"):
        archive_old(adapter.database().engine, NO_ARCHIVE, KEPT, TODAY)
    assert all(row["body"] for row in stored(adapter, tables.entries))
    assert stored(adapter, tables.head)[0]["archived"] == 0


def test_text_that_does_not_fit_the_tree_is_not_let_go(
    filled: tuple[Adapter, list[Entry]], tmp_path: Path
) -> None:
    """A bundle whose entries are not those that its tile has the hashes of is not archived."""
    adapter, _ = filled
    adapter.execute('UPDATE tiles SET hashes = (SELECT hashes FROM tiles WHERE level = 0 AND "index" = 1)')
    with pytest.raises(LedgerUnavailable, match="bundle 0"):
        archive_old(adapter.database().engine, Archive(tmp_path / "archive"), KEPT, TODAY)
    assert all(row["body"] for row in stored(adapter, tables.entries))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET kind = 'refused' WHERE \"index\" = 1",
        'UPDATE entries SET body = leaf_hash WHERE "index" = 1',
        "UPDATE entries SET time = '' WHERE \"index\" = 600",
        'DELETE FROM entries WHERE "index" = 1',
        'UPDATE entries SET body = substr(body, 1, 0) WHERE "index" = 600',
        'UPDATE entries SET body = substr(body, 1, 0) WHERE "index" = 3',
        "UPDATE entries SET body = substr(body, 1, 0), time = '' WHERE \"index\" = 1",
        'UPDATE entries SET body = substr(body, 1, 0), leaf_hash = substr(leaf_hash, 1, 31) WHERE "index" = 1',
        'UPDATE entries SET body = substr(body, 1, 0), "index" = 9999 WHERE "index" = 1',
    ],
)
def test_no_other_change_of_an_entry_passes(archived: tuple[Adapter, Path, list[Entry]], change: str) -> None:
    """Below what is archived a certificate's or refusal's body may become empty; the database refuses all else."""
    adapter, _, _ = archived
    before = stored(adapter, tables.entries)
    with pytest.raises((sqlite3.DatabaseError, psycopg.DatabaseError), match="only ever added"):
        adapter.execute(change)
    assert stored(adapter, tables.entries) == before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(octets=st.binary(max_size=2000))
def test_garbage_in_a_file_is_an_error_of_ours(tmp_path: Path, octets: bytes) -> None:
    """Whatever is in a file of the folder, reading it gives an entry that was recorded, or our error."""
    file = tmp_path / "tile" / entries_path(0)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(octets)
    with pytest.raises(KubemintError):
        Archive(tmp_path).body(0, bytes(32))


def test_a_bundle_that_is_not_full_is_refused(tmp_path: Path) -> None:
    """Fewer entries than a bundle has are neither written nor read as one."""
    archive = Archive(tmp_path)
    with pytest.raises(LedgerUnavailable):
        archive.write_bundle(0, [b"a"], leaf_hash(b"a"))
    file = tmp_path / "tile" / entries_path(0)
    assert not file.exists()
    file.parent.mkdir(parents=True)
    file.write_bytes(encode_entries([b"a"]))
    with pytest.raises(LedgerUnavailable, match="has 1 entries"):
        archive.bundle(0)
