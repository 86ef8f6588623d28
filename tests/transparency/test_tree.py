"""The tree is that of RFC 6962, however it grew."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemint.errors import InvalidProof
from kubemint.transparency.tree import EMPTY_ROOT, HASH_OCTETS, Frontier, grow, leaf_hash, node_hash, root
from transparency.naive import NaiveTree, bodies

SIZES = 70
TREE = NaiveTree(bodies(SIZES))

# What implementations of Certificate Transparency agree on: these entries, and the roots of the first 1, 2, 3 ...
REFERENCE_ENTRIES = (
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    bytes(range(0x60, 0x70)).hex(),
)
REFERENCE_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


@pytest.mark.parametrize("size", range(len(REFERENCE_ROOTS)))
def test_reference_roots(size: int) -> None:
    """The roots must be those that every implementation of RFC 6962 has for these entries."""
    leaf_hashes = [leaf_hash(bytes.fromhex(entry)) for entry in REFERENCE_ENTRIES[:size]]

    assert grow(Frontier.empty(), leaf_hashes).root.hex() == REFERENCE_ROOTS[size]


def test_leaves_and_nodes_are_kept_apart() -> None:
    """No entry may hash to what two subtrees hash to."""
    left, right = leaf_hash(b"left"), leaf_hash(b"right")

    assert leaf_hash(left + right) != node_hash(left, right)


def test_growth_in_every_split() -> None:
    """However many leaves were there before, the tree after must be the same, and so must its frontier."""
    for old_size in range(SIZES + 1):
        frontier = grow(Frontier.empty(), TREE.leaf_hashes[:old_size]).frontier
        for new_size in range(old_size, SIZES + 1):
            growth = grow(frontier, TREE.leaf_hashes[old_size:new_size])

            assert growth.root == TREE.root(0, new_size)
            assert growth.frontier.root() == TREE.root(0, new_size)
            assert growth.frontier == grow(Frontier.empty(), TREE.leaf_hashes[:new_size]).frontier


def test_growth_proves_its_new_leaves() -> None:
    """The proof of a new leaf must be the one that RFC 6962 defines for the tree of the new size."""
    for old_size in range(SIZES):
        frontier = grow(Frontier.empty(), TREE.leaf_hashes[:old_size]).frontier
        for new_size in range(old_size + 1, SIZES + 1):
            growth = grow(frontier, TREE.leaf_hashes[old_size:new_size])
            for index in range(old_size, new_size):
                assert list(growth.inclusion_proof(index)) == TREE.path(index, new_size)


@pytest.mark.parametrize("index", [-1, 0, 4, 8, 9])
def test_growth_proves_no_other_leaf(index: int) -> None:
    """Of a leaf that is not among the new ones there must be no proof, rather than a wrong one."""
    frontier = grow(Frontier.empty(), TREE.leaf_hashes[:5]).frontier
    growth = grow(frontier, TREE.leaf_hashes[5:8])

    with pytest.raises(InvalidProof, match=r"5 to 7"):
        growth.inclusion_proof(index)


def test_a_grown_frontier_does_not_change() -> None:
    """Growing must leave the old frontier as it is: a transaction that fails goes on from it."""
    frontier = grow(Frontier.empty(), TREE.leaf_hashes[:7]).frontier
    before = (frontier.size, frontier.hashes)
    leaf_hashes = TREE.leaf_hashes[7:9]

    assert grow(frontier, leaf_hashes) == grow(frontier, leaf_hashes)
    assert (frontier.size, frontier.hashes) == before
    assert leaf_hashes == TREE.leaf_hashes[7:9]


def test_a_frontier_is_its_complete_subtrees() -> None:
    """A tree of 7 leaves must fall into its first four, the next two, and the last."""
    frontier = grow(Frontier.empty(), TREE.leaf_hashes[:7]).frontier

    assert frontier.hashes == (TREE.root(0, 4), TREE.root(4, 6), TREE.root(6, 7))


@pytest.mark.parametrize("size", range(SIZES))
def test_frontiers_are_read_as_written(size: int) -> None:
    """What is kept of a frontier must give the same frontier."""
    frontier = grow(Frontier.empty(), TREE.leaf_hashes[:size]).frontier

    assert Frontier.decode(size, frontier.encode()) == frontier


@given(size=st.integers(-2, 2**63), octets=st.binary(max_size=HASH_OCTETS * 4))
@settings(derandomize=True)
def test_frontiers_of_another_size_are_refused(size: int, octets: bytes) -> None:
    """Octets that are not as many hashes as the size has bits set must raise our error and nothing else."""
    try:
        frontier = Frontier.decode(size, octets)
    except InvalidProof:
        assert size < 0 or len(octets) != HASH_OCTETS * bin(size).count("1")
    else:
        assert frontier.encode() == octets


def test_roots_from_subtrees() -> None:
    """The root out of stored subtrees must be the root of all leaves, for every size."""
    for size in range(SIZES + 1):
        assert root(size, TREE.node) == TREE.root(0, size)


def test_the_empty_tree() -> None:
    """No leaves have a root too, and adding none to them changes nothing."""
    growth = grow(Frontier.empty(), [])

    assert growth.root == Frontier.empty().root() == EMPTY_ROOT
    assert growth.frontier == Frontier.empty()
