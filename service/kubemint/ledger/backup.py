"""Copying the log into a folder, while others add to it.

The checkpoint is read first; what it tells of never changes, so no lock is held and no read stays open. What
is copied is hashed again, entry by entry: the root of the copy must be the one that was signed.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import assert_never

import orjson

from kubemint.errors import ConfigurationError, InvalidProof, LedgerDamaged
from kubemint.ledger.backup_folder import CHECKPOINT, MANIFEST, BackupFolder, bundle_name, tile_name
from kubemint.ledger.backup_manifest import Manifest
from kubemint.ledger.backup_tree import BundleTree, bundle_widths
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.log import LedgerLog
from kubemint.transparency.checkpoint import Checkpoint
from kubemint.transparency.following import Differs, Follows, Older, follows_from
from kubemint.transparency.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    decode_entries,
    partial_width,
)
from kubemint.transparency.tree import leaf_hash

Progress = Callable[[int], None]
"""Be told that so many more entries are done."""

Bodies = tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedLog:
    """What was copied: the checkpoint, how the entries count by kind, the octets of all bodies.

    `replaced` is the checkpoint of the backup that was there before, None if there was none.
    """

    note: str
    checkpoint: Checkpoint
    kinds: Mapping[str, int]
    octets: int
    bundles_written: int
    replaced: Checkpoint | None


def copy_log(log: LedgerLog, keys: LogKeys, folder: BackupFolder, progress: Progress) -> CopiedLog:
    """Copy entries and tiles; the checkpoint of an earlier backup stays until `complete`.

    Every entry is read from the ledger, also where the folder has it already: an old copy says nothing of
    whether the ledger still has what it had. A bundle that is there, and is the ledger's, is not written again.

    Raises:
        ConfigurationError: the folder holds a backup of another log or of a newer one, or cannot be written.
        LedgerDamaged: the ledger is not what was signed.
        LedgerUnavailable: it cannot be read.
    """
    note, checkpoint = log.head()
    replaced = _replaced(log, keys, folder, checkpoint)
    tree, kinds, octets, written = BundleTree(), Counter[str](), 0, 0
    for index, width in bundle_widths(checkpoint.size):
        leaf_tile = _tile(log, Tile(0, index, width))
        bodies = _recorded(log, index, width, leaf_tile)
        if not _is_there(folder, index, bodies):
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
        raise LedgerDamaged("the entries are not those of the signed checkpoint: see `kubemint log verify`")
    return CopiedLog(
        note=note,
        checkpoint=checkpoint,
        kinds=MappingProxyType(dict(sorted(kinds.items()))),
        octets=octets,
        bundles_written=written,
        replaced=replaced,
    )


def complete(folder: BackupFolder, manifest: Manifest, copied: CopiedLog) -> None:
    """Make what was copied the backup: manifest, then checkpoint; and take away what only the last one needed.

    Raises:
        ConfigurationError: it cannot be written.
    """
    folder.sync()
    folder.write(MANIFEST, manifest.encode())
    # Between the two, the folder is no whole backup, and says so; the next run mends it.
    folder.write(CHECKPOINT, copied.note.encode())
    folder.sync()
    if copied.replaced is not None:
        for name in set(_partial_names(copied.replaced.size)) - set(_partial_names(copied.checkpoint.size)):
            folder.remove(name)


def _replaced(log: LedgerLog, keys: LogKeys, folder: BackupFolder, checkpoint: Checkpoint) -> Checkpoint | None:
    """Give the checkpoint of the backup that is there, if it may be replaced; None if there is none.

    A good backup is not replaced by one of a ledger that is older, or was rewritten.
    """
    if not folder.has(CHECKPOINT):
        return None
    try:
        note = folder.checkpoint()
    except InvalidProof as fault:
        raise ConfigurationError(str(folder.folder), [f"holds no checkpoint: {fault.message}"]) from None
    found = follows_from(note, checkpoint, keys.open, lambda size: log.consistency(size, checkpoint.size)[0])
    match found:
        case Follows(seen=seen):
            return seen
        case Older(seen=seen):
            told = f"holds {seen.size} entries, and the ledger {checkpoint.size}: the ledger is the older one"
        case Differs(problem=problem):
            told = f"holds {problem}; was the ledger rewritten since, or is this another folder?"
        case _ as never:
            assert_never(never)
    raise ConfigurationError(str(folder.folder), [told])


def _tile(log: LedgerLog, tile: Tile) -> bytes:
    if (hashes := log.tile(tile)) is None:
        raise LedgerDamaged(f"the log has lost tile {tile.level}/{tile.index}")
    return hashes


def _recorded(log: LedgerLog, index: int, width: int, leaf_tile: bytes) -> Bodies:
    """Give the entries of a bundle as the ledger, or its archive, has them; they are those of the tile."""
    octets = log.bundle(index, width)
    bodies = decode_entries(octets or b"")
    if b"".join(map(leaf_hash, bodies)) != leaf_tile:
        first = index * TILE_WIDTH
        told = f"entries {first} to {first + width - 1} are not those of their tile: see `kubemint log verify`"
        raise LedgerDamaged(told)
    return bodies


def _is_there(folder: BackupFolder, index: int, bodies: Bodies) -> bool:
    try:
        return folder.bundle(index, len(bodies)) == bodies
    except InvalidProof:
        return False


def _kind(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["kind"])
    except (ValueError, KeyError, TypeError):
        raise LedgerDamaged("an entry of the ledger cannot be read") from None


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
