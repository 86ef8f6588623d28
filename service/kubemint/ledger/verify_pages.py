"""Entries, bundle after bundle, out of the database and the archive, and what is in place of the tree there.

One bundle is read in one transaction and nothing stays open between two, so that a verification that takes
hours holds nobody up. What cannot be read of an entry is no exception here: somebody will be told of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from kubemint.errors import InvalidProof, LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.verify_findings import Finding, FindingCode
from kubemint.ledger.verify_tree import StoredEntry, StoredTile
from kubemint.transparency.tiles import TILE_WIDTH, Tile, decode_entries, entries_path


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHead:
    """The head as it is found; `witnessed` is the checkpoint with cosignatures, empty if there is none."""

    size: int
    frontier: bytes
    checkpoint: str
    archived: int
    witnessed: str


@dataclass(frozen=True, slots=True)
class EntryPages:
    """Reads entries below `archived` out of the archive's folder where the database has no body of them."""

    archive: Path | None
    archived: int

    def bundle(self, connection: Connection, number: int, size: int) -> list[StoredEntry | None]:
        """Give the entries of a bundle that a ledger of `size` entries has; None for one that is not there."""
        first = number * TILE_WIDTH
        return self._entries(connection, first, min(size, first + TILE_WIDTH))

    def entry(self, connection: Connection, index: int) -> StoredEntry | None:
        """Give one entry, or None."""
        return self._entries(connection, index, index + 1)[0]

    def _entries(self, connection: Connection, first: int, end: int) -> list[StoredEntry | None]:
        columns = tables.entries.c
        query = select(columns.index, columns.time, columns.kind, columns.body, columns.leaf_hash)
        rows = connection.execute(query.where(columns.index >= first, columns.index < end)).mappings().all()
        found = {row["index"]: row for row in rows}
        is_archived = any(not row["body"] and row["index"] < self.archived for row in rows)
        archived = self._archived(first // TILE_WIDTH) if is_archived else ()
        entries: list[StoredEntry | None] = []
        for index in range(first, end):
            if (row := found.get(index)) is None:
                entries.append(None)
                continue
            body = octets(row["body"])
            if not body and index < self.archived and index % TILE_WIDTH < len(archived):
                body = archived[index % TILE_WIDTH]
            beside = (str(row["time"]), str(row["kind"]))
            hashed = octets(row["leaf_hash"])
            entries.append(StoredEntry(index=index, body=body, leaf_hash=hashed, columns=beside))
        return entries

    def _archived(self, number: int) -> Sequence[bytes]:
        """Give the bodies of an archived bundle; none where its file is missing or no bundle."""
        if self.archive is None:
            return ()
        try:
            return decode_entries((self.archive / "tile" / entries_path(number)).read_bytes())
        except (OSError, InvalidProof):
            return ()


def octets(value: object) -> bytes:
    """Give what a column of octets holds; none where it holds something else, which SQLite lets anybody do."""
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else b""


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a connection for one look, in which everything is of one moment.

    Raises:
        LedgerUnavailable: the ledger cannot be read.
    """
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as fault:
        raise LedgerUnavailable(f"the ledger cannot be read: {getattr(fault, 'orig', fault)}") from fault


def read_head(connection: Connection) -> StoredHead | None:
    """Give the head, or None if it is not there or no head."""
    head = tables.head.c
    row = connection.execute(select(head.size, head.frontier, head.checkpoint, head.archived)).first()
    if row is None or not isinstance(row.size, int) or not isinstance(row.archived, int):
        return None
    witnessed = connection.execute(select(tables.witnessed.c.checkpoint)).scalar()
    return StoredHead(
        size=row.size,
        frontier=octets(row.frontier),
        checkpoint=str(row.checkpoint),
        archived=row.archived,
        witnessed=str(witnessed or ""),
    )


def read_tile(connection: Connection, tile: Tile) -> StoredTile | None:
    """Give a stored tile, or None."""
    columns = tables.tiles.c
    query = select(columns.hashes, columns.root).where(columns.level == tile.level, columns.index == tile.index)
    row = connection.execute(query).first()
    return None if row is None else StoredTile(hashes=octets(row.hashes), root=octets(row.root))


def beyond_the_head(connection: Connection) -> list[Finding]:
    """Find entries and tiles that a head of now does not count."""
    size = connection.execute(select(tables.head.c.size)).scalar() or 0
    index = tables.entries.c.index
    query = select(func.count()).select_from(tables.entries).where((index >= size) | (index < 0))
    findings = []
    if entries := connection.execute(query).scalar_one():
        told = f"there are {entries} entries outside of the {size} that the head counts"
        findings.append(Finding(code=FindingCode.ENTRY_UNKNOWN, message=told))
    tiles = connection.execute(select(func.count()).select_from(tables.tiles)).scalar_one()
    if tiles > (full := _full_tiles(size)):
        told = f"there are {tiles} tiles, and {size} entries fill {full}"
        findings.append(Finding(code=FindingCode.TILE_UNKNOWN, message=told))
    return findings


def _full_tiles(size: int) -> int:
    """Count the tiles that so many entries fill."""
    count = 0
    while size := size // TILE_WIDTH:
        count += size
    return count
