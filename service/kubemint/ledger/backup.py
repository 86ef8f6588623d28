"""Copying the log into a folder, while others add to it.

The checkpoint is read first; what it tells of never changes, so no lock is held and no read stays open. What
is copied is hashed again, entry by entry: the root of the copy must be the one that was signed.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import orjson
from sqlalchemy import Engine, Row, Select, select
from sqlalchemy.exc import SQLAlchemyError

from kubemint.errors import ConfigurationError, InvalidProof, LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.backup_folder import CHECKPOINT, MANIFEST, BackupFolder, bundle_name, tile_name
from kubemint.ledger.backup_manifest import Manifest
from kubemint.ledger.backup_tree import BundleTree, bundle_widths
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.log import LedgerLog
from kubemint.transparency.checkpoint import Checkpoint
from kubemint.transparency.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    decode_entries,
    nodes_from_tiles,
    partial_width,
)
from kubemint.transparency.tree import leaf_hash, root

Progress = Callable[[int], None]
"""Be told that so many more entries are done."""

_EMPTY_HASH: Final = leaf_hash(b"")

Bodies = tuple[bytes, ...]


class LogSource:
    """The ledger as a backup reads it; `archive` is where the bodies of old entries are, if there is one."""

    def __init__(self, engine: Engine, keys: LogKeys, archive: Path | None) -> None:
        self.keys = keys
        self._engine = engine
        self._log = LedgerLog(engine, keys)
        self._archive = archive

    def checkpoint(self) -> tuple[str, Checkpoint]:
        """Give the newest checkpoint, as a signed note and read.

        Raises:
            LedgerUnavailable: the ledger cannot be read, or its head was not signed by the log.
        """
        ((note,),) = self._rows(select(tables.head.c.checkpoint))
        try:
            return note, self.keys.open(note)
        except InvalidProof as fault:
            raise LedgerUnavailable(f"the head of the ledger is not what was signed: {fault.message}") from None

    def tile(self, tile: Tile) -> bytes:
        """Give the hashes of a tile.

        Raises:
            LedgerUnavailable: the ledger cannot be read, or has not got it.
        """
        if (hashes := self._log.tile(tile)) is None:
            raise LedgerUnavailable(f"the log has lost tile {tile.level}/{tile.index}")
        return hashes

    def bodies(self, index: int, width: int) -> Bodies:
        """Give the entries of a bundle, whose hashes are those on record. Raises as `tile` does."""
        columns, first = tables.entries.c, index * TILE_WIDTH
        query = (
            select(columns.body, columns.leaf_hash)
            .where(columns.index >= first, columns.index < first + width)
            .order_by(columns.index)
        )
        rows = [(bytes(row.body), bytes(row.leaf_hash)) for row in self._rows(query)]
        if any(not body and hashed != _EMPTY_HASH for body, hashed in rows):
            bodies = self._archived(index)
        else:
            bodies = tuple(body for body, _ in rows)
        if len(bodies) != width or [leaf_hash(body) for body in bodies] != [hashed for _, hashed in rows]:
            raise LedgerUnavailable(f"entries {first} to {first + width - 1} are not what their hashes are of")
        return bodies

    def _archived(self, index: int) -> Bodies:
        if self._archive is None:
            raise LedgerUnavailable("old entries are in the archive, and ledger.archive names none")
        file = self._archive / bundle_name(index, TILE_WIDTH)
        try:
            return decode_entries(file.read_bytes())
        except (OSError, InvalidProof) as fault:
            cause = fault.strerror if isinstance(fault, OSError) else str(fault)
            raise LedgerUnavailable(f"{file} of the archive cannot be read: {cause}") from None

    def _rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        try:
            with self._engine.connect() as connection:
                return connection.execute(query).all()
        except SQLAlchemyError as fault:
            raise LedgerUnavailable("the ledger cannot be read") from fault


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedLog:
    """What was copied: the checkpoint, how the entries count by kind, the octets of all bodies."""

    note: str
    checkpoint: Checkpoint
    kinds: Mapping[str, int]
    octets: int
    bundles_written: int


def copy_log(source: LogSource, folder: BackupFolder, progress: Progress) -> CopiedLog:
    """Copy entries and tiles; the checkpoint of an earlier backup stays until `complete`.

    A bundle that is there already, and is what the log's tile says, is not written again.

    Raises:
        ConfigurationError: the folder holds a backup of another log or of a newer one, or cannot be written.
        LedgerUnavailable: the ledger cannot be read, or is not what was signed.
    """
    note, checkpoint = source.checkpoint()
    _check_previous(source, folder, checkpoint)
    tree, kinds, octets, written = BundleTree(), Counter[str](), 0, 0
    for index, width in bundle_widths(checkpoint.size):
        hashes = source.tile(Tile(0, index, width))
        bodies = _kept(folder, index, width, hashes)
        if bodies is None:
            bodies = source.bodies(index, width)
            folder.write_bundle(index, bodies)
            written += 1
        for tile, tile_hashes in tree.add([leaf_hash(body) for body in bodies]):
            folder.write_tile(tile, tile_hashes)
        kinds.update(_kind(body) for body in bodies)
        octets += sum(map(len, bodies))
        progress(width)
    for tile, tile_hashes in tree.partial_tiles():
        folder.write_tile(tile, tile_hashes)
    if tree.frontier.root() != checkpoint.root:
        raise LedgerUnavailable("the entries are not those of the signed checkpoint: see `kubemint log verify`")
    return CopiedLog(
        note=note,
        checkpoint=checkpoint,
        kinds=MappingProxyType(dict(sorted(kinds.items()))),
        octets=octets,
        bundles_written=written,
    )


def complete(folder: BackupFolder, manifest: Manifest, copied: CopiedLog, keys: LogKeys) -> None:
    """Make what was copied the backup: manifest, then checkpoint; and take away what only the last one needed.

    Raises:
        ConfigurationError: it cannot be written.
    """
    previous = _previous(folder, keys)
    folder.sync()
    folder.write(MANIFEST, manifest.encode())
    # Between the two, the folder is no whole backup, and says so; the next run mends it.
    folder.write(CHECKPOINT, copied.note.encode())
    folder.sync()
    if previous is not None:
        for name in set(_partial_names(previous.size)) - set(_partial_names(copied.checkpoint.size)):
            folder.remove(name)


def _check_previous(source: LogSource, folder: BackupFolder, checkpoint: Checkpoint) -> None:
    """Refuse to replace a good backup by one of a ledger that is older, or was rewritten."""
    if (previous := _previous(folder, source.keys)) is None:
        return
    if previous.size > checkpoint.size:
        problem = f"holds {previous.size} entries, and the ledger {checkpoint.size}: the ledger is the older one"
        raise ConfigurationError(str(folder.folder), [problem])
    node = nodes_from_tiles(source.tile, checkpoint.size)
    try:
        is_same = root(previous.size, node) == previous.root
    except InvalidProof as fault:
        raise LedgerUnavailable(f"the log does not prove itself: {fault.message}") from None
    if not is_same:
        problem = f"holds {previous.size} entries that are not those of the ledger, which was rewritten since"
        raise ConfigurationError(str(folder.folder), [problem])


def _previous(folder: BackupFolder, keys: LogKeys) -> Checkpoint | None:
    """Give the checkpoint of the backup that is there; None if there is none."""
    if not folder.has(CHECKPOINT):
        return None
    try:
        return keys.open(folder.checkpoint())
    except InvalidProof as fault:
        raise ConfigurationError(str(folder.folder), [f"is no backup of this log: {fault.message}"]) from None


def _kept(folder: BackupFolder, index: int, width: int, hashes: bytes) -> Bodies | None:
    """Give the entries of a bundle that is in the folder and is what it must be; None else."""
    try:
        bodies = folder.bundle(index, width)
    except InvalidProof:
        return None
    return bodies if b"".join(map(leaf_hash, bodies)) == hashes else None


def _kind(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["kind"])
    except (ValueError, KeyError, TypeError):
        raise LedgerUnavailable("an entry of the ledger cannot be read") from None


def _partial_names(size: int) -> list[str]:
    """Name the files of a log of this size that are not of a larger one."""
    names, level = [], 0
    while size >> TILE_HEIGHT * level:
        if width := partial_width(level, size):
            index = size >> TILE_HEIGHT * (level + 1)
            names.append(tile_name(Tile(level, index, width)))
            if level == 0:
                names.append(bundle_name(index, width))
        level += 1
    return names
