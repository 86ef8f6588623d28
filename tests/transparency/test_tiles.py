"""Tiles and bundles are those of tlog-tiles, and what does not fit is refused."""

import itertools
from collections import Counter
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemint.errors import InvalidProof
from kubemint.transparency.checkpoint import NoteSigner
from kubemint.transparency.tiles import (
    ENTRY_MAX_OCTETS,
    TILE_WIDTH,
    Tile,
    decode_entries,
    encode_entries,
    entries_path,
    full_tiles_between,
    nodes_from_tiles,
    parse_tile_index,
    partial_width,
    tile_path,
    tile_root,
)
from kubemint.transparency.tree import HASH_OCTETS, consistency_proof, inclusion_proof, root
from transparency.directory import LogDirectory
from transparency.naive import NaiveTree, bodies

LARGE = 66_000  # entries: enough for a tile of level 2
LARGE_TREE = NaiveTree(bodies(LARGE))
PATHS = st.from_regex(r"(x?[0-9]{1,4}/){0,6}[0-9]{0,4}(\.p/[0-9]{0,4})?", fullmatch=True) | st.text(max_size=30)


@pytest.fixture(scope="module")
def large_log(tmp_path_factory: pytest.TempPathFactory) -> LogDirectory:
    """Write a log of tiles of three levels."""
    log = LogDirectory(tmp_path_factory.mktemp("log"), NoteSigner("log.example", Ed25519PrivateKey.generate()))
    log.add(bodies(LARGE))
    return log


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "0/000"),
        (Tile(0, 1_234_067), "0/x001/x234/067"),
        (Tile(2, 999, 1), "2/999.p/1"),
        (Tile(1, 1000, 255), "1/x001/000.p/255"),
        (Tile(63, 0, 256), "63/000"),
    ],
)
def test_paths(tile: Tile, path: str) -> None:
    """A path must have three digits an element, x before all but the last, and the width where it is partial."""
    assert tile_path(tile) == path
    assert parse_tile_index(path.partition("/")[2]) == (tile.index, tile.width)


def test_bundles_have_the_paths_of_their_tiles() -> None:
    """The entries of a tile must be found by its index and width."""
    assert entries_path(1_234_067, 9) == "entries/x001/x234/067.p/9"
    assert entries_path(0) == "entries/000"


@given(index=st.integers(0, 2**55 - 1), width=st.integers(1, 256))
@settings(derandomize=True)
def test_paths_are_read_as_written(index: int, width: int) -> None:
    """Every tile must be found under its path."""
    assert parse_tile_index(tile_path(Tile(0, index, width)).removeprefix("0/")) == (index, width)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "00",
        "0000",
        "x001",  # no last element
        "x000/001",  # a leading zero
        "001/002",
        "x01/002",
        "X001/002",
        "x001/x002",
        "x001//002",
        "/000",
        "000/",
        "000.p",
        "000.p/",
        "000.p/0",
        "000.p/01",
        "000.p/256",  # a full tile has no width
        "000.p/257",
        "000.p/1/2",
        "000.P/1",
        "000\n",
        "٠٠٠",  # digits, but not ASCII ones
        "-01",
        "x036/x028/x797/x018/x963/968",  # 2**55, one more than the largest tree has
        "x001/x000/x000/x000/x000/x000/000",
    ],
)
def test_other_paths_are_refused(text: str) -> None:
    """What `tile_path` would not write must be refused: a tile has one name."""
    with pytest.raises(InvalidProof, match="path"):
        parse_tile_index(text)


@given(text=PATHS)
@settings(derandomize=True)
def test_garbage_is_no_path(text: str) -> None:
    """Whatever is asked for, it is the one path of a tile or our error comes and nothing else."""
    try:
        index, width = parse_tile_index(text)
    except InvalidProof:
        return
    assert tile_path(Tile(0, index, width)) == f"0/{text}"


@pytest.mark.parametrize(
    ("old_size", "new_size", "tiles"),
    [
        (0, 255, ()),
        (0, 256, (Tile(0, 0),)),
        (255, 256, (Tile(0, 0),)),
        (256, 511, ()),
        (256, 768, (Tile(0, 1), Tile(0, 2))),
        (65_535, 65_536, (Tile(0, 255), Tile(1, 0))),
        (65_536, 65_536, ()),
        (256**3 - 1, 256**3, (Tile(0, 65_535), Tile(1, 255), Tile(2, 0))),
    ],
)
def test_tiles_that_become_full(old_size: int, new_size: int, tiles: tuple[Tile, ...]) -> None:
    """A tile must be written once: when the tree has all of it for the first time, and after those below it."""
    assert full_tiles_between(old_size, new_size) == tiles


def test_growing_fills_the_same_tiles_in_any_steps() -> None:
    """Whether a tree grows at once or in steps, each tile must become full once."""
    steps = [0, 1, 255, 257, 1_024, 65_000, 66_000, 140_000]
    filled = [tile for old, new in itertools.pairwise(steps) for tile in full_tiles_between(old, new)]

    assert Counter(filled) == Counter(full_tiles_between(0, steps[-1]))


@pytest.mark.parametrize(
    ("size", "widths"),
    [(0, [0, 0, 0]), (255, [255, 0, 0]), (256, [0, 1, 0]), (70_000, [112, 17, 1]), (256**3, [0, 0, 0])],
)
def test_widths_of_partial_tiles(size: int, widths: list[int]) -> None:
    """The right edge must be as wide as tlog-tiles has it, with its example of 70,000 entries."""
    assert [partial_width(level, size) for level in range(3)] == widths


def test_the_root_of_a_tile() -> None:
    """A full tile must hash to the subtree of its leaves; one that is not full must be refused."""
    hashes = b"".join(LARGE_TREE.leaf_hashes[:TILE_WIDTH])

    assert tile_root(hashes) == LARGE_TREE.root(0, TILE_WIDTH)
    for wrong in (b"", hashes[HASH_OCTETS:], hashes[1:], hashes + hashes):
        with pytest.raises(InvalidProof, match="full tile"):
            tile_root(wrong)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700, 65_536, LARGE])
def test_proofs_from_tiles(large_log: LogDirectory, size: int, tmp_path: Path) -> None:
    """Roots and proofs out of tiles must be those of the whole tree."""
    log = large_log
    if size < LARGE:
        log = LogDirectory(tmp_path, NoteSigner("log.example", Ed25519PrivateKey.generate()))
        log.add(bodies(size))
    node = nodes_from_tiles(log.read, size)

    assert root(size, node) == LARGE_TREE.root(0, size) == log.root
    for index in {0, size // 3, size // 2, size - 1}:
        assert list(inclusion_proof(index, size, node)) == LARGE_TREE.path(index, size)
    for old_size in {1, size // 3, size // 2, size - 1} - {0}:
        assert list(consistency_proof(old_size, size, node)) == LARGE_TREE.proof(old_size, size)


def test_tiles_are_read_once(large_log: LogDirectory) -> None:
    """Many proofs must ask for a tile once, and never for one that this size does not have."""
    asked: list[Tile] = []

    def read(tile: Tile) -> bytes:
        asked.append(tile)
        return large_log.read(tile)

    node = nodes_from_tiles(read, LARGE)
    for index in range(0, LARGE, 5_000):
        inclusion_proof(index, LARGE, node)

    assert max(Counter(asked).values()) == 1
    assert {tile for tile in asked if tile.width < TILE_WIDTH} <= {Tile(0, 257, 208), Tile(1, 1, 1), Tile(2, 0, 1)}


@pytest.mark.parametrize(("level", "index"), [(0, 700), (1, 350), (9, 1), (10, 0), (0, -1), (-1, 0)])
def test_a_tree_has_no_other_subtrees(level: int, index: int) -> None:
    """A subtree that is not complete must be refused, and no tile be asked for."""

    def read(tile: Tile) -> bytes:
        raise AssertionError(tile)

    with pytest.raises(InvalidProof, match="no subtree"):
        nodes_from_tiles(read, 700)(level, index)


@pytest.mark.parametrize("length", [0, 31, 188 * HASH_OCTETS - 1, 189 * HASH_OCTETS, TILE_WIDTH * HASH_OCTETS])
def test_tiles_of_another_length_are_refused(length: int) -> None:
    """A tile that is shorter or longer than its width says must be refused."""
    with pytest.raises(InvalidProof, match=r"tile 0/002\.p/188 has"):
        nodes_from_tiles(lambda _: bytes(length), 700)(0, 699)


@given(st.lists(st.binary(max_size=300), max_size=TILE_WIDTH))
@settings(derandomize=True)
def test_bundles_are_read_as_written(entries: list[bytes]) -> None:
    """A bundle must give back the entries that were put into it, empty ones too."""
    assert decode_entries(encode_entries(entries)) == tuple(entries)


def test_the_largest_entry() -> None:
    """An entry may have as many octets as two can count, and no more."""
    largest = bytes(ENTRY_MAX_OCTETS)

    assert decode_entries(encode_entries([largest])) == (largest,)
    with pytest.raises(InvalidProof, match="65536 octets"):
        encode_entries([largest + b"x"])


def test_bundles_are_as_wide_as_tiles() -> None:
    """A bundle of more entries than a tile has hashes must be refused."""
    assert len(decode_entries(encode_entries([b"entry"] * TILE_WIDTH))) == TILE_WIDTH
    with pytest.raises(InvalidProof, match="at most"):
        decode_entries(encode_entries([b"entry"] * (TILE_WIDTH + 1)))


def test_no_part_of_a_bundle_is_one() -> None:
    """A bundle that ends within an entry must be refused, wherever that is, and so must octets after its end."""
    bundle = encode_entries([b"first", b"second"])
    ends = {0, len(encode_entries([b"first"])), len(bundle)}
    for length in range(len(bundle) + 1):
        if length not in ends:
            with pytest.raises(InvalidProof, match="ends within"):
                decode_entries(bundle[:length])
    with pytest.raises(InvalidProof, match="ends within"):
        decode_entries(bundle + b"\0")


@given(octets=st.binary(max_size=100))
@settings(derandomize=True)
def test_garbage_is_no_bundle(octets: bytes) -> None:
    """Whatever the octets are, they are entries that are written the same way, or our error comes."""
    try:
        entries = decode_entries(octets)
    except InvalidProof:
        return
    assert encode_entries(entries) == octets
