"""A log as files, the way tlog-tiles lays them out: what a service serves, written to a directory."""

from collections.abc import Sequence
from pathlib import Path

from kubemint.transparency.checkpoint import Checkpoint, NoteSigner
from kubemint.transparency.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    encode_entries,
    entries_path,
    full_tiles_between,
    partial_width,
    tile_path,
    tile_root,
)
from kubemint.transparency.tree import Frontier, grow, leaf_hash


class LogDirectory:
    """A log in `directory` that grows; each size that it had stays readable."""

    def __init__(self, directory: Path, signer: NoteSigner) -> None:
        self.directory = directory
        self._signer = signer
        self._bodies: list[bytes] = []
        self._frontier = Frontier.empty()
        self._hashes: list[list[bytes]] = [[]]  # of each level of tiles, from the first one on

    @property
    def root(self) -> bytes:
        """Give the root of what is there."""
        return self._frontier.root()

    def add(self, bodies: Sequence[bytes]) -> None:
        """Add entries: new full tiles first, then partial ones, and the checkpoint last."""
        old_size, size = len(self._bodies), len(self._bodies) + len(bodies)
        leaf_hashes = [leaf_hash(body) for body in bodies]
        self._bodies += bodies
        self._hashes[0] += leaf_hashes
        self._frontier = grow(self._frontier, leaf_hashes).frontier
        for tile in full_tiles_between(old_size, size):
            self._write_tile(tile)
            self._hashes += [[]] if len(self._hashes) == tile.level + 1 else []
            self._hashes[tile.level + 1].append(tile_root(self.read(tile)))
        for level in range(len(self._hashes)):
            if (width := partial_width(level, size)) > 0:
                self._write_tile(Tile(level, size >> TILE_HEIGHT * (level + 1), width))
        checkpoint = Checkpoint(origin=self._signer.name, size=size, root=self.root)
        self._write("checkpoint", self._signer.sign(checkpoint.text).encode())

    def read(self, tile: Tile) -> bytes:
        """Read a tile."""
        return (self.directory / "tile" / tile_path(tile)).read_bytes()

    def _write_tile(self, tile: Tile) -> None:
        hashes = self._hashes[tile.level][tile.index * TILE_WIDTH :][: tile.width]
        self._write(f"tile/{tile_path(tile)}", b"".join(hashes))
        if tile.level == 0:
            bodies = self._bodies[tile.index * TILE_WIDTH :][: tile.width]
            self._write(f"tile/{entries_path(tile.index, tile.width)}", encode_entries(bodies))

    def _write(self, path: str, content: bytes) -> None:
        file = self.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
