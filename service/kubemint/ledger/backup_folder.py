"""The folder of a backup: the log as C2SP tlog-tiles lays it out, and a manifest with small files beside it.

Each file appears whole or not at all. The checkpoint is what a backup is of: it is written last, so that
whatever it tells of is there, on disk, before it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kubemint.errors import ConfigurationError, InvalidProof
from kubemint.ledger.backup_manifest import FileFacts, Manifest, parse_manifest
from kubemint.transparency.tiles import (
    ENTRY_MAX_OCTETS,
    TILE_WIDTH,
    Tile,
    decode_entries,
    encode_entries,
    entries_path,
    tile_path,
)

CHECKPOINT: Final = "checkpoint"
MANIFEST: Final = "manifest.json"
_TILES: Final = "tile"
_BUNDLE_MAX_OCTETS: Final = TILE_WIDTH * (2 + ENTRY_MAX_OCTETS)
_FILE_MAX_OCTETS: Final = 16 * 1024 * 1024  # of a small file; nothing makes a larger one


class BackupFolder:
    """Reads and writes the files of a backup. What is read is nobody's word until it is verified."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._unsynced: set[Path] = set()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Make the folder, for its owner alone, and keep other backups from it meanwhile.

        Raises:
            ConfigurationError: it cannot be made or written, or another backup is under way.
        """
        try:
            self._make(self.folder)
            lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as fault:
            raise self._unwritable(fault) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise ConfigurationError(str(self.folder), ["another backup into it is under way"]) from None
        finally:
            os.close(lock)

    def has(self, name: str) -> bool:
        """Tell whether there is a file of this name."""
        return (self.folder / name).is_file()

    def read(self, name: str, most: int = _FILE_MAX_OCTETS) -> bytes:
        """Read a file of at most so many octets.

        Raises:
            InvalidProof: it is not there, cannot be read, or has more.
        """
        try:
            with (self.folder / name).open("rb") as stream:
                content = stream.read(most + 1)
        except OSError as fault:
            raise InvalidProof(f"{name} of the backup cannot be read: {fault.strerror}") from None
        if len(content) > most:
            raise InvalidProof(f"{name} of the backup has more than {most} octets")
        return content

    def checkpoint(self) -> str:
        """Read the checkpoint, a signed note that nobody has verified yet. Raises as `read` does."""
        try:
            return self.read(CHECKPOINT).decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidProof("the checkpoint of the backup is no text") from None

    def manifest(self) -> Manifest:
        """Read the manifest. Raises as `read` does, and where it is not as it was written."""
        return parse_manifest(self.read(MANIFEST))

    def bundle(self, index: int, width: int) -> tuple[bytes, ...]:
        """Read the `width` entries from `index` * 256 on. Raises as `read` does."""
        name = bundle_name(index, width)
        bodies = decode_entries(self.read(name, _BUNDLE_MAX_OCTETS))
        if len(bodies) != width:
            raise InvalidProof(f"{name} of the backup has {len(bodies)} entries, not {width}")
        return bodies

    def tile(self, tile: Tile) -> bytes:
        """Read a tile. Raises as `read` does."""
        return self.read(tile_name(tile))

    def write_bundle(self, index: int, bodies: tuple[bytes, ...]) -> None:
        """Write an entry bundle."""
        self.write(bundle_name(index, len(bodies)), encode_entries(bodies))

    def write_tile(self, tile: Tile, hashes: bytes) -> None:
        """Write a tile, unless it is there."""
        try:
            is_there = self.tile(tile) == hashes
        except InvalidProof:
            is_there = False
        if not is_there:
            self.write(tile_name(tile), hashes)

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all, that its owner alone can read; `sync` makes its name durable.

        Raises:
            ConfigurationError: it cannot be written.
        """
        file = self.folder / name
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            self._make(file.parent)
            with os.fdopen(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(file)
        except OSError as fault:
            temporary.unlink(missing_ok=True)
            raise self._unwritable(fault) from None
        self._unsynced.add(file.parent)

    def sync(self) -> None:
        """Make durable where the files are that were written. Raises as `write` does."""
        try:
            for folder in self._unsynced:
                _sync_folder(folder)
        except OSError as fault:
            raise self._unwritable(fault) from None
        self._unsynced.clear()

    def remove(self, name: str) -> None:
        """Remove a file that nothing refers to any more; what cannot be removed does no harm."""
        try:
            (self.folder / name).unlink(missing_ok=True)
            (self.folder / name).parent.rmdir()
        except OSError:
            return

    def check_files(self, manifest: Manifest) -> None:
        """Compare every small file with what the manifest says of it.

        Raises:
            InvalidProof: one is missing, or differs.
        """
        for name, facts in manifest.files.items():
            if FileFacts.of(self.read(name)) != facts:
                raise InvalidProof(f"{name} of the backup is not what the manifest says")

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make(folder.parent)
            folder.mkdir(mode=0o700, exist_ok=True)
            self._unsynced.add(folder.parent)

    def _unwritable(self, fault: OSError) -> ConfigurationError:
        return ConfigurationError(str(self.folder), [f"cannot be written: {fault.strerror}"])


def bundle_name(index: int, width: int) -> str:
    """Give the name of an entry bundle's file."""
    return f"{_TILES}/{entries_path(index, width)}"


def tile_name(tile: Tile) -> str:
    """Give the name of a tile's file."""
    return f"{_TILES}/{tile_path(tile)}"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
