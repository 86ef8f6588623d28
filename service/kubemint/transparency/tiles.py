"""The tree and the entries of a log cut into files that never change: C2SP tlog-tiles.

A tile has 256 hashes of one level, or fewer at the right edge of the tree; a hash of the next level is
the root of a full tile. An entry bundle has the entries whose leaf hashes a tile of level 0 has.
"""

import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from kubemint.errors import InvalidProof
from kubemint.transparency.tree import HASH_OCTETS, Nodes, node_hash

TILE_HEIGHT: Final = 8  # tlog-tiles: a full tile spans eight levels of the tree
TILE_WIDTH: Final = 1 << TILE_HEIGHT
ENTRY_MAX_OCTETS: Final = 0xFFFF  # tlog-tiles: the length of an entry is a uint16

_INDEX: Final = re.compile(r"((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_INDEX_BASE: Final = 1000  # tlog-tiles: three digits are a path element
_INDEX_MAX: Final = 2**55 - 1  # of a tree of 2**63 leaves
_LENGTH: Final = struct.Struct(">H")


@dataclass(frozen=True, slots=True)
class Tile:
    """Hashes of one level, from `index * 256` on: `width` of them, which is 256 in a full tile."""

    level: int
    index: int
    width: int = TILE_WIDTH


def tile_path(tile: Tile) -> str:
    """Give the path of a tile below `tile/`: level, index and, of a partial one, width."""
    return f"{tile.level}/{_index_path(tile.index, tile.width)}"


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Give the path of an entry bundle below `tile/`."""
    return f"entries/{_index_path(index, width)}"


def parse_tile_index(text: str) -> tuple[int, int]:
    """Read the part of a path that is after the level: the index and the width.

    Raises:
        InvalidProof: it is not what `tile_path` or `entries_path` writes for any tile.
    """
    if (match := _INDEX.fullmatch(text)) is None:
        raise InvalidProof(f"not the path of a tile: {text[:80]!a}")
    index = int(match[1].replace("x", "").replace("/", ""))
    width = TILE_WIDTH if match[2] is None else int(match[2])
    if index > _INDEX_MAX or width > TILE_WIDTH or _index_path(index, width) != text:
        raise InvalidProof(f"not the path of a tile: {text[:80]!a}")
    return index, width


def full_tiles_between(old_size: int, new_size: int) -> tuple[Tile, ...]:
    """Give the tiles of every level that a tree fills while it grows, lowest level first."""
    tiles: list[Tile] = []
    level, old, new = 0, old_size // TILE_WIDTH, new_size // TILE_WIDTH
    while new > 0:
        tiles.extend(Tile(level, index) for index in range(old, new))
        level, old, new = level + 1, old // TILE_WIDTH, new // TILE_WIDTH
    return tuple(tiles)


def partial_width(level: int, size: int) -> int:
    """Give how many hashes the partial tile of a level has in a tree of `size` leaves; 0 if there is none."""
    return (size >> TILE_HEIGHT * level) % TILE_WIDTH


def tile_root(hashes: bytes) -> bytes:
    """Give the root of a full tile, which is a hash of the next level.

    Raises:
        InvalidProof: the tile is not full.
    """
    if len(hashes) != TILE_WIDTH * HASH_OCTETS:
        raise InvalidProof(f"a full tile has {TILE_WIDTH * HASH_OCTETS} octets, not {len(hashes)}")
    return _complete_root(hashes)


def nodes_from_tiles(read: Callable[[Tile], bytes], size: int) -> Nodes:
    """Give the subtrees of a tree of `size` leaves out of its tiles.

    `read` is asked for each tile once at most, for the full one wherever the tree has it. The function
    that is returned raises `InvalidProof` where a tile has the wrong length or the tree no such subtree,
    and believes what the tiles say: whoever does not trust them compares `tree.root` with a checkpoint.
    """
    tiles: dict[Tile, bytes] = {}

    def node(level: int, index: int) -> bytes:
        if level < 0 or index < 0 or (index + 1) << level > size:
            raise InvalidProof(f"a tree of {size} leaves has no subtree {index} of level {level}")
        tile_level, height = divmod(level, TILE_HEIGHT)
        tile_index, start = divmod(index << height, TILE_WIDTH)
        is_full = tile_index < size >> TILE_HEIGHT * (tile_level + 1)
        tile = Tile(tile_level, tile_index, TILE_WIDTH if is_full else partial_width(tile_level, size))
        if tile not in tiles:
            tiles[tile] = _checked(tile, read(tile))
        return _complete_root(tiles[tile][start * HASH_OCTETS : (start + (1 << height)) * HASH_OCTETS])

    return node


def encode_entries(bodies: Iterable[bytes]) -> bytes:
    """Write an entry bundle: each entry after its length.

    Raises:
        InvalidProof: an entry is longer than a bundle can say.
    """
    parts: list[bytes] = []
    for body in bodies:
        if len(body) > ENTRY_MAX_OCTETS:
            raise InvalidProof(f"an entry has {len(body)} octets, and a bundle holds {ENTRY_MAX_OCTETS} at most")
        parts += (_LENGTH.pack(len(body)), body)
    return b"".join(parts)


def decode_entries(octets: bytes) -> tuple[bytes, ...]:
    """Read an entry bundle.

    Raises:
        InvalidProof: it ends within an entry, or has more entries than a tile has hashes.
    """
    bodies: list[bytes] = []
    start = 0
    while start < len(octets):
        begin = start + _LENGTH.size
        end = begin + int.from_bytes(octets[start:begin], "big")
        if begin > len(octets) or end > len(octets):
            raise InvalidProof(f"the bundle ends within its entry {len(bodies)}")
        bodies.append(octets[begin:end])
        start = end
    if len(bodies) > TILE_WIDTH:
        raise InvalidProof(f"a bundle has {TILE_WIDTH} entries at most, not {len(bodies)}")
    return tuple(bodies)


def _index_path(index: int, width: int) -> str:
    path = f"{index % _INDEX_BASE:03d}"
    while (index := index // _INDEX_BASE) > 0:
        path = f"x{index % _INDEX_BASE:03d}/{path}"
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def _complete_root(hashes: bytes) -> bytes:
    """Hash a complete subtree: the hashes are as many as a power of two."""
    level = [hashes[start : start + HASH_OCTETS] for start in range(0, len(hashes), HASH_OCTETS)]
    while len(level) > 1:
        level = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def _checked(tile: Tile, hashes: bytes) -> bytes:
    if len(hashes) != tile.width * HASH_OCTETS:
        raise InvalidProof(f"tile {tile_path(tile)} has {len(hashes)} octets, not {tile.width * HASH_OCTETS}")
    return hashes
