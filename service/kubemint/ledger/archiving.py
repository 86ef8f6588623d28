"""Moving the text of old entries out of the database, a few bundles at a time, into the archive.

A bundle goes when all of it was over for as long as the retention says. Its files are durable and read back
before the database lets the text go; leaf hashes and tiles stay there for ever, so that the tree, and every
proof, is what it was. Entries that are neither certificates nor refusals keep their text in both places.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine, RowMapping, select, update
from sqlalchemy.exc import SQLAlchemyError

from kubemint.errors import LedgerDamaged, LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.archive import Archive
from kubemint.record import EventKind
from kubemint.transparency.tiles import TILE_WIDTH, Tile, full_tiles_between

STEP_BUNDLES: Final = 4  # in a transaction, for as long as which writers wait
MOVED: Final = (EventKind.ISSUED, EventKind.REFUSED)
_ENDS: Final = {EventKind.ISSUED: "notAfter", EventKind.REFUSED: "time", EventKind.REQUESTED: "expires"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """What a run moved, or would have: full bundles, and the bodies in them that the database let go."""

    bundles: int
    bodies: int


@dataclass(frozen=True, slots=True)
class _Bundle:
    number: int
    bodies: tuple[bytes, ...]
    hashes: bytes
    moved: int


def archive_old(
    engine: Engine, archive: Archive, retention: timedelta, now: datetime, *, dry_run: bool = False
) -> Archived:
    """Move the bundles, from the oldest on, of which all was over `retention` ago; the first other one ends it.

    A crash leaves files that the next run writes again, or entries that are in both places.

    Raises:
        LedgerUnavailable: the ledger or the archive cannot be read or written, or somebody else archives.
    """
    start = _archived(engine)
    end, bodies = start, 0
    while bundles := list(_over(engine, end // TILE_WIDTH, now - retention)):
        old, end = end, end + len(bundles) * TILE_WIDTH
        bodies += sum(bundle.moved for bundle in bundles)
        if not dry_run:
            _write(engine, archive, bundles, old, end)
            _let_go(engine, old, end)
    return Archived(bundles=(end - start) // TILE_WIDTH, bodies=bodies)


def _over(engine: Engine, first: int, cutoff: datetime) -> Iterator[_Bundle]:
    """Give some bundles from `first` on, while each is full and over."""
    for number in range(first, first + STEP_BUNDLES):
        with _ours(), engine.connect() as connection:
            bundle = _bundle(connection, number, cutoff)
        if bundle is None:
            return
        yield bundle


def _bundle(connection: Connection, number: int, cutoff: datetime) -> _Bundle | None:
    hashes = _tile(connection, Tile(0, number))
    if hashes is None:
        return None
    columns, start = tables.entries.c, number * TILE_WIDTH
    query = (
        select(columns.kind, columns.time, columns.body)
        .where(columns.index >= start, columns.index < start + TILE_WIDTH)
        .order_by(columns.index)
    )
    rows = connection.execute(query).mappings().all()
    if not all(_end(row) < cutoff for row in rows):
        return None
    moved = sum(row["kind"] in MOVED for row in rows)
    return _Bundle(number, tuple(bytes(row["body"]) for row in rows), hashes, moved)


def _end(row: RowMapping) -> datetime:
    """Tell when an entry was over: what it says itself, or else its time."""
    kind = EventKind(row["kind"])
    said = json.loads(row["body"])[_ENDS[kind]] if kind in _ENDS else row["time"]
    return datetime.fromisoformat(said).astimezone(UTC)


def _tile(connection: Connection, tile: Tile) -> bytes | None:
    columns = tables.tiles.c
    query = select(columns.hashes).where(columns.level == tile.level, columns.index == tile.index)
    found = connection.execute(query).scalar()
    return None if found is None else bytes(found)


def _write(engine: Engine, archive: Archive, bundles: list[_Bundle], old: int, end: int) -> None:
    """Write bundles, their tiles, and those above that are full with them."""
    for bundle in bundles:
        archive.write_bundle(bundle.number, bundle.bodies, bundle.hashes)
    for tile in full_tiles_between(old, end):
        with _ours(), engine.connect() as connection:
            hashes = _tile(connection, tile)
        if hashes is None:
            raise LedgerDamaged(f"the log has lost tile {tile.level}/{tile.index}")
        archive.write_tile(tile, hashes)


def _let_go(engine: Engine, old: int, end: int) -> None:
    """Empty the bodies that the archive has: the database allows it below `archived`, and nothing else."""
    head, entries = tables.head, tables.entries
    with _ours(), engine.begin() as connection:
        moved = connection.execute(update(head).where(head.c.archived == old).values(archived=end))
        if moved.rowcount != 1:
            raise LedgerUnavailable("somebody else archives this ledger")
        connection.execute(
            update(entries)
            .where(entries.c.index >= old, entries.c.index < end)
            .where(entries.c.kind.in_([kind.value for kind in MOVED]))
            .values(body=b"")
        )


def _archived(engine: Engine) -> int:
    with _ours(), engine.connect() as connection:
        return int(connection.execute(select(tables.head.c.archived)).scalar_one())


@contextmanager
def _ours() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as fault:
        raise LedgerUnavailable(f"the ledger cannot be archived: {getattr(fault, 'orig', fault)}") from fault
