"""The folder of old entries: bundles and tiles as files, by the paths of C2SP tlog-tiles.

What an archived entry said is there and nowhere else; its leaf hash stays in the ledger, so that a file which
was changed is found when it is read. A file is written once: under another name first, and durable, with its
folder, before anything counts on it.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from kubemint.errors import InvalidProof, LedgerUnavailable
from kubemint.transparency.tiles import (
    TILE_WIDTH,
    Tile,
    decode_entries,
    encode_entries,
    entries_path,
    tile_path,
)
from kubemint.transparency.tree import leaf_hash

Bodies = tuple[bytes, ...]


class Archive:
    """Old entries in a folder; threads share it. `folder` is None where the configuration names none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._last: tuple[int, Bodies] | None = None  # whoever reads one reads its neighbours

    def body(self, index: int, hashed: bytes) -> bytes:
        """Give the body of an entry, which `hashed` is the leaf hash of.

        Raises:
            LedgerUnavailable: no folder is configured, or the file is not there or not what was archived.
        """
        number, place = divmod(index, TILE_WIDTH)
        body = self.bundle(number)[place]
        if leaf_hash(body) != hashed:
            raise LedgerUnavailable(f"entry {index} in the archive is not the one that was recorded")
        return body

    def bundle(self, number: int) -> Bodies:
        """Give the 256 bodies of a bundle; whether they are what was archived, their hashes tell.

        Raises:
            LedgerUnavailable: no folder is configured, or the file is not there or no full bundle.
        """
        last = self._last
        if last is not None and last[0] == number:
            return last[1]
        bodies = self._read_bundle(number)
        self._last = number, bodies
        return bodies

    def write_bundle(self, number: int, bodies: Sequence[bytes], hashes: bytes) -> None:
        """Write a full bundle, durably, and read it back: `hashes` are those of its tile of level 0.

        Raises:
            LedgerUnavailable: it cannot be written, or is not what the tile has the hashes of.
        """
        _check(number, bodies, hashes)
        self._write(entries_path(number), encode_entries(bodies))
        _check(number, self._read_bundle(number), hashes)

    def write_tile(self, tile: Tile, hashes: bytes) -> None:
        """Write a full tile, durably. Raises as `write_bundle` does."""
        self._write(tile_path(tile), hashes)

    def _read_bundle(self, number: int) -> Bodies:
        file = self._file(entries_path(number))
        try:
            bodies = decode_entries(file.read_bytes())
        except OSError as fault:
            raise LedgerUnavailable(f"{file} of the archive cannot be read: {fault.strerror}") from None
        except InvalidProof as fault:
            raise LedgerUnavailable(f"{file} of the archive is no bundle: {fault.message}") from None
        if len(bodies) != TILE_WIDTH:
            raise LedgerUnavailable(f"{file} of the archive has {len(bodies)} entries, not {TILE_WIDTH}")
        return bodies

    def _write(self, path: str, octets: bytes) -> None:
        file = self._file(path)
        try:
            _make_folders(file.parent)
            _write_durably(file, octets)
        except OSError as fault:
            raise LedgerUnavailable(f"{file} of the archive cannot be written: {fault.strerror}") from None

    def _file(self, path: str) -> Path:
        if self._folder is None:
            raise LedgerUnavailable("the text of old entries is in an archive, and ledger.archive names none")
        return self._folder / "tile" / path


NO_ARCHIVE: Final = Archive(None)


def _check(number: int, bodies: Sequence[bytes], hashes: bytes) -> None:
    if len(bodies) != TILE_WIDTH or b"".join(map(leaf_hash, bodies)) != hashes:
        raise LedgerUnavailable(f"the entries of bundle {number} are not those that tile 0/{number} has hashes of")


def _make_folders(folder: Path) -> None:
    """Make a folder and those above it, each durable in the one that it is in."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _sync_folder(folder.parent)


def _write_durably(file: Path, octets: bytes) -> None:
    written = file.with_name(f".{file.name}.{os.getpid()}")
    # A crash before the last line leaves the other name, which is nobody's, and nothing that counts on the file.
    descriptor = os.open(written, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(octets)
        opened.flush()
        os.fsync(opened.fileno())
    written.replace(file)
    _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
