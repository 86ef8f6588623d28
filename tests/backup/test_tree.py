"""The tiles of entries that come bundle after bundle are those of the tree that they make."""

import hashlib

import pytest

from kubemint.ledger.backup_tree import BundleTree, bundle_widths
from kubemint.transparency.tiles import Tile, full_tiles_between, nodes_from_tiles, partial_width
from kubemint.transparency.tree import Frontier, grow, root


def _leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(b"%d" % number).digest() for number in range(count)]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, 700, 65_535, 65_536, 65_537, 66_000])
def test_the_tiles_lead_to_the_root(size: int) -> None:
    """Every tile that a log of this size has is given once, and their root is that of the leaves."""
    leaves, tree = _leaves(size), BundleTree()
    tiles: list[tuple[Tile, bytes]] = []
    for index, width in bundle_widths(size):
        tiles += tree.add(leaves[index * 256 : index * 256 + width])
    tiles += tree.partial_tiles()
    found = dict(tiles)
    assert len(found) == len(tiles)
    assert {tile for tile in found if tile.width == 256} == set(full_tiles_between(0, size))
    partial = {tile.level: tile.width for tile in found if tile.width < 256}
    widths = {level: partial_width(level, size) for level in range(4)}
    assert partial == {level: width for level, width in widths.items() if width}
    expected = grow(Frontier.empty(), leaves).frontier
    assert tree.frontier == expected
    assert root(size, nodes_from_tiles(found.__getitem__, size)) == expected.root()


@pytest.mark.parametrize(
    ("size", "widths"), [(0, []), (1, [(0, 1)]), (256, [(0, 256)]), (257, [(0, 256), (1, 1)])]
)
def test_the_bundles_of_a_log(size: int, widths: list[tuple[int, int]]) -> None:
    """All are full but the last."""
    assert [*bundle_widths(size)] == widths
