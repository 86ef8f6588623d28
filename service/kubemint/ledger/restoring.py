"""Filling an empty ledger from a backup, so that nobody takes a part of it for the whole.

While it is filled, the head stays at size 0 and carries the checkpoint of what is to come: no writer goes on
from such a head, since it is not what was signed. (Of a backup of 0 entries it is what was signed, and the
ledger is whole from the start.) Entries, their query rows and tiles come in transactions of
a few bundles, each of them verified; a restore that was cut off finds what is there and goes on behind it.
The policies on record come last, with the head: without one, no service starts.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg
from sqlalchemy import Engine, bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError

from kubemint.errors import ConfigurationError, InvalidProof, LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.backup import Progress
from kubemint.ledger.backup_folder import BackupFolder, tile_name
from kubemint.ledger.backup_tree import BundleTree, bundle_widths
from kubemint.ledger.batch import write_rows
from kubemint.ledger.conditions import Pending
from kubemint.ledger.growing import Head, LogKeys, read_head, write_head, write_tiles
from kubemint.ledger.restored_entry import RestoredEntry, restored_entry
from kubemint.ledger.rows import Row
from kubemint.ledger.statements import Cursor, Statements
from kubemint.ledger.writer import WritableDatabase
from kubemint.transparency.checkpoint import Checkpoint
from kubemint.transparency.tiles import TILE_WIDTH, Tile
from kubemint.transparency.tree import Frontier, grow, leaf_hash

BUNDLES_A_TRANSACTION: Final = 4  # 1,024 entries: bounds what is in memory, and what a crash does again
_PAGE_ENTRIES: Final = 2_048
NOT_EMPTY: Final = "has entries already, and a backup goes into an empty ledger alone"
_COLUMNS: Final = tuple(tables.entries.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredLog:
    """What was written, or is there: where the tree stands, and how the entries count by kind."""

    frontier: Frontier
    kinds: Counter[str]


class Restoration:
    """One restore of one backup: `begin`, `fill`, `read_back`, and `finish` when all the rest has held too.

    `note` is the backup's checkpoint, signed by the log, and `checkpoint` what it says.
    """

    def __init__(
        self, folder: BackupFolder, note: str, checkpoint: Checkpoint, database: WritableDatabase
    ) -> None:
        self._folder = folder
        self._note = note
        self._checkpoint = checkpoint
        self._database = database
        self._statements = Statements(database.engine)
        entries = tables.entries.c
        # first index, index after the last -> the columns of the table, in order
        self._read_entries = str(
            select(*_COLUMNS)
            .where(entries.index >= bindparam("first"), entries.index < bindparam("end"))
            .order_by(entries.index)
            .compile(database.engine)
        )
        self._last_index = str(select(func.max(entries.index)).compile(database.engine))
        self._policies: list[Row] = []
        self._there: Frontier | None = None  # what the database has given back

    def begin(self, keys: LogKeys) -> None:
        """Mark the ledger as one that is being restored; one that is being restored already stays so.

        Raises:
            ConfigurationError: it has entries of its own.
            LedgerUnavailable: it cannot be written.
        """
        with self._transaction() as cursor:
            head = read_head(cursor, self._statements)
            if head.size or not self._is_ours(head, keys, cursor):
                raise ConfigurationError("ledger.url", [NOT_EMPTY])
            self._move_head(Head(size=0, frontier=b"", checkpoint=self._note), cursor)

    def fill(self, progress: Progress) -> RestoredLog:
        """Write entries, query rows and tiles, and verify all of it on the way.

        Raises:
            InvalidProof: the backup is not what the log signed, or the ledger holds the beginning of another.
            LedgerUnavailable: the ledger cannot be written.
        """
        tree, kinds = BundleTree(), Counter[str]()
        self._policies.clear()
        for bundles in _some_bundles(self._checkpoint.size):
            entries: list[RestoredEntry] = []
            for index, width in bundles:
                bodies = self._folder.bundle(index, width)
                self._compare(tree.add([leaf_hash(body) for body in bodies]))
                entries += (restored_entry(index * TILE_WIDTH + place, body) for place, body in enumerate(bodies))
            self._write(entries)
            kinds.update(entry.row["kind"] for entry in entries)
            progress(len(entries))
        self._compare(tree.partial_tiles())
        if tree.frontier.root() != self._checkpoint.root:
            raise InvalidProof("the entries of the backup are not those of its checkpoint")
        return RestoredLog(frontier=tree.frontier, kinds=kinds)

    def read_back(self, progress: Progress) -> RestoredLog:
        """Hash again what the database gives back.

        Raises:
            InvalidProof: an entry is missing, or is not what its leaf hash was made of.
            LedgerUnavailable: the ledger cannot be read.
        """
        self._there = None
        frontier, kinds = Frontier.empty(), Counter[str]()
        while frontier.size < self._checkpoint.size:
            end = min(self._checkpoint.size, frontier.size + _PAGE_ENTRIES)
            rows = _page(self._database.engine, frontier.size, end)
            hashes = [leaf_hash(row["body"]) for row in rows]
            expected = [(frontier.size + place, hashed) for place, hashed in enumerate(hashes)]
            if not rows or [(row["index"], row["leaf_hash"]) for row in rows] != expected:
                raise InvalidProof(f"the ledger does not give back what was written from entry {frontier.size} on")
            kinds.update(row["kind"] for row in rows)
            frontier = grow(frontier, hashes).frontier
            progress(len(rows))
        self._there = frontier
        return RestoredLog(frontier=frontier, kinds=kinds)

    def finish(self) -> None:
        """Move the head to the checkpoint of the backup: from here on the ledger counts.

        Raises:
            InvalidProof: it was not read back, or gave back other entries than the log has signed.
            LedgerUnavailable: it cannot be written, or somebody else changed it.
        """
        there, signed = self._there, self._checkpoint
        if there is None or (there.size, there.root()) != (signed.size, signed.root):
            raise InvalidProof("the ledger was not read back, or does not give back what the log has signed")
        with self._transaction() as cursor:
            self._check_head(cursor)
            pending = Pending()
            pending.rows[tables.policies] = self._policies
            write_rows(pending, cursor, self._statements)
            self._move_head(Head(size=there.size, frontier=there.encode(), checkpoint=self._note), cursor)

    def _compare(self, computed: Iterable[tuple[Tile, bytes]]) -> None:
        for tile, hashes in computed:
            if self._folder.tile(tile) != hashes:
                raise InvalidProof(f"{tile_name(tile)} of the backup is not the tile of its entries")

    def _write(self, entries: Sequence[RestoredEntry]) -> None:
        """Write those entries that are not there yet; those that are there must be these."""
        with self._transaction() as cursor:
            self._check_head(cursor)
            first, end = entries[0].index, entries[-1].index + 1
            cursor.execute(self._read_entries, (first, end))
            there = [_row(values) for values in cursor.fetchall()]
            if there != [entry.row for entry in entries[: len(there)]]:
                raise InvalidProof("the ledger holds the beginning of another backup: give an empty one")
            missing, pending = entries[len(there) :], Pending()
            for entry in missing:
                pending.rows[tables.entries].append(entry.row)
                pending.add(entry.found)
            pending.rows.pop(tables.policies, None)
            write_rows(pending, cursor, self._statements)
            hashes = [entry.row["leaf_hash"] for entry in missing]
            write_tiles(first + len(there), hashes, cursor, self._statements)
        # Committed: if the process dies here, the next one finds these and goes on behind them.
        for entry in entries:
            self._policies += (row for table, row in entry.found.rows if table is tables.policies)

    def _is_ours(self, head: Head, keys: LogKeys, cursor: Cursor) -> bool:
        """Tell whether a ledger of size 0 is empty, or was left by a restore that was cut off."""
        try:
            signed = keys.open(head.checkpoint)
        except InvalidProof:
            return False
        cursor.execute(self._last_index)
        is_empty = cursor.fetchone()[0] is None
        return is_empty or signed.size > 0

    def _check_head(self, cursor: Cursor) -> None:
        head = read_head(cursor, self._statements)
        if head.size or head.checkpoint != self._note:
            raise LedgerUnavailable("somebody else has changed the ledger while it was restored")

    def _move_head(self, head: Head, cursor: Cursor) -> None:
        write_head(head, 0, cursor, self._statements)

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        try:
            with self._database.transaction() as cursor:
                yield cursor
        except (sqlite3.Error, psycopg.Error) as fault:  # what the database has against the rows
            raise LedgerUnavailable(f"the ledger does not take what is in the backup: {fault}") from fault


def _page(engine: Engine, first: int, end: int) -> list[Row]:
    index = tables.entries.c.index
    query = select(*_COLUMNS).where(index >= first, index < end).order_by(index)
    try:
        with engine.connect() as connection:
            return [_row(tuple(values)) for values in connection.execute(query)]
    except SQLAlchemyError as fault:
        raise LedgerUnavailable("the ledger cannot be read") from fault


def _row(values: Sequence[object]) -> Row:
    row = dict(zip((column.name for column in _COLUMNS), values, strict=True))
    return row | {name: bytes(row[name]) for name in ("body", "leaf_hash")}  # type: ignore[call-overload]  # as stored


def _some_bundles(size: int) -> Iterator[list[tuple[int, int]]]:
    bundles = list[tuple[int, int]]()
    for bundle in bundle_widths(size):
        bundles.append(bundle)
        if len(bundles) == BUNDLES_A_TRANSACTION:
            yield bundles
            bundles = []
    if bundles:
        yield bundles
