"""Entries as the tables hold them, and the way through many of them in the order of the ledger."""

import json
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, func, select

from kubemint.ledger import tables
from kubemint.ledger.archive import NO_ARCHIVE, Archive
from kubemint.record import Entry, EventKind

PAGE_ENTRIES: Final = 500  # bounds what is in memory
CLOCKS_DIFFER: Final = timedelta(minutes=10)  # how far before its start a stream looks for later times

ENTRY_COLUMNS: Final = tuple(tables.entries.c[name] for name in ("index", "kind", "body", "leaf_hash"))
_WHOLE_SECONDS: Final = len("2026-11-20T12:00:00")


def entry_of(row: RowMapping, archive: Archive) -> Entry:
    """Give the entry of a row that has `ENTRY_COLUMNS`.

    Raises:
        LedgerUnavailable: its body is in the archive, and cannot be read there.
    """
    return Entry(index=row["index"], kind=EventKind(row["kind"]), fields=json.loads(body_of(row, archive)))


def body_of(row: RowMapping, archive: Archive) -> bytes:
    """Give the body of such a row. Raises as `entry_of` does."""
    body: bytes = row["body"] or archive.body(row["index"], bytes(row["leaf_hash"]))
    return body


def stream_entries(
    engine: Engine,
    kinds: Collection[EventKind],
    since: datetime | None,
    after: int,
    archive: Archive = NO_ARCHIVE,
) -> Iterator[Entry]:
    """Give the entries of these kinds that stand now, page by page; no read is open between two pages."""
    with engine.connect() as connection:
        size = _size(connection)
        after = max(after, _first_index(connection, since, size) - 1)
    while True:
        query = (
            select(*ENTRY_COLUMNS)
            .where(tables.entries.c.index > after, tables.entries.c.index < size, *_wanted(kinds, since))
            .order_by(tables.entries.c.index)
            .limit(PAGE_ENTRIES)
        )
        with engine.connect() as connection:
            page = connection.execute(query).mappings().all()
        for row in page:
            yield entry_of(row, archive)
        if len(page) < PAGE_ENTRIES:
            return
        after = page[-1]["index"]


def count_entries(engine: Engine, kinds: Collection[EventKind], since: datetime | None) -> int:
    """Count what `stream_entries` gives from the start."""
    with engine.connect() as connection:
        first = _first_index(connection, since, _size(connection))
        query = select(func.count()).where(tables.entries.c.index >= first, *_wanted(kinds, since))
        return int(connection.execute(query).scalar_one())


def first_index_since(connection: Connection, moment: datetime) -> int:
    """Find where entries of a moment begin, or a little before it."""
    return _first_index(connection, moment, _size(connection))


def _wanted(kinds: Collection[EventKind], since: datetime | None) -> Iterator[ColumnElement[bool]]:
    yield tables.entries.c.kind.in_([kind.value for kind in kinds])
    if since is not None:
        # Without the fraction, which some moments have and some have not, their text is in the order of time.
        yield func.substr(tables.entries.c.time, 1, _WHOLE_SECONDS) >= _text(since)


def _first_index(connection: Connection, since: datetime | None, size: int) -> int:
    """Find where entries of a time begin, by halves: times rise with the index, but for clocks that differ."""
    if since is None:
        return 0
    moment, low, high = _text(since - CLOCKS_DIFFER), 0, size
    while low < high:
        middle = (low + high) // 2
        if _time(connection, middle) < moment:
            low = middle + 1
        else:
            high = middle
    return low


def _time(connection: Connection, index: int) -> str:
    query = select(tables.entries.c.time).where(tables.entries.c.index == index)
    return str(connection.execute(query).scalar_one())


def _size(connection: Connection) -> int:
    return int(connection.execute(select(tables.head.c.size)).scalar_one())


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
