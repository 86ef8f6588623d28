"""The tree of entries that come bundle after bundle: its tiles as they fill, its root in the end.

A backup writes these tiles and a restore compares with them. Neither believes a tile that somebody stored.
"""

from collections.abc import Iterator, Sequence

from kubemint.transparency.tiles import TILE_WIDTH, Tile, tile_root
from kubemint.transparency.tree import Frontier, grow


class BundleTree:
    """Grows by whole bundles, but for the last. `frontier` is where it stands."""

    def __init__(self) -> None:
        self.frontier = Frontier.empty()
        self._full: list[int] = []  # tiles of each level that are full
        self._open: list[list[bytes]] = []  # hashes of each level that are in no full tile yet

    def add(self, leaf_hashes: Sequence[bytes]) -> Iterator[tuple[Tile, bytes]]:
        """Add a bundle's leaf hashes; gives the tiles that it fills, lowest level first, with their hashes."""
        self.frontier = grow(self.frontier, leaf_hashes).frontier
        return iter([*self._fill(0, leaf_hashes)])

    def partial_tiles(self) -> Iterator[tuple[Tile, bytes]]:
        """Give the tiles at the right edge with their hashes; to be asked when all bundles are in."""
        for level, hashes in enumerate(self._open):
            if hashes:
                yield Tile(level, self._full[level], len(hashes)), b"".join(hashes)

    def _fill(self, level: int, hashes: Sequence[bytes]) -> Iterator[tuple[Tile, bytes]]:
        if level == len(self._open):
            self._open.append([])
            self._full.append(0)
        self._open[level].extend(hashes)
        if len(self._open[level]) < TILE_WIDTH:
            return
        tile, octets = Tile(level, self._full[level]), b"".join(self._open[level])
        self._open[level] = []
        self._full[level] += 1
        yield tile, octets
        yield from self._fill(level + 1, [tile_root(octets)])


def bundle_widths(size: int) -> Iterator[tuple[int, int]]:
    """Give index and width of each entry bundle of a log of `size` entries."""
    for index in range(-(-size // TILE_WIDTH)):
        yield index, min(TILE_WIDTH, size - index * TILE_WIDTH)
