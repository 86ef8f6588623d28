"""Proofs are those of RFC 6962, hold where they should, and nowhere else."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemint.errors import InvalidProof
from kubemint.transparency.tree import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from transparency.naive import NaiveTree, bodies

SIZES = 130
TREE = NaiveTree(bodies(SIZES))

# A leaf whose way to the root has left and right siblings, at the ragged edge of a tree.
INDEX, SIZE = 84, 87
LEAF, ROOT = TREE.leaf_hashes[INDEX], TREE.root(0, SIZE)
INCLUSION = inclusion_proof(INDEX, SIZE, TREE.node)
# An old tree that is no subtree of the new one.
OLD_SIZE, OLD_ROOT = 54, TREE.root(0, 54)
CONSISTENCY = consistency_proof(OLD_SIZE, SIZE, TREE.node)

HASHES = st.binary(min_size=32, max_size=32) | st.sampled_from([*INCLUSION, *CONSISTENCY, ROOT, LEAF])
PROOFS = st.lists(HASHES | st.binary(max_size=33), max_size=10)
NUMBERS = st.integers(-3, 140) | st.integers(0, 2**63)


def flipped(hashed: bytes) -> Iterator[bytes]:
    """Give a hash with each one of its bits changed."""
    number = int.from_bytes(hashed, "big")
    for bit in range(len(hashed) * 8):
        yield (number ^ 1 << bit).to_bytes(len(hashed), "big")


def tampered(proof: tuple[bytes, ...]) -> Iterator[tuple[bytes, ...]]:
    """Give a proof with a bit changed, a hash missing, one too many, two exchanged, or a border moved."""
    for place, hashed in enumerate(proof):
        yield from ((*proof[:place], changed, *proof[place + 1 :]) for changed in flipped(hashed))
        yield (*proof[:place], *proof[place + 1 :])
        yield (*proof[:place], hashed, *proof[place:])
    for place in range(len(proof) - 1):
        first, second = proof[place : place + 2]
        yield (*proof[:place], second, first, *proof[place + 2 :])
        yield (*proof[:place], first + second[:1], second[1:], *proof[place + 2 :])
    yield ()


def test_every_leaf_of_every_size() -> None:
    """The proof of every leaf must be the one of RFC 6962 2.1.1, and hold."""
    for size in range(1, SIZES + 1):
        for index in range(size):
            proof = inclusion_proof(index, size, TREE.node)

            assert list(proof) == TREE.path(index, size)
            verify_inclusion(index, size, TREE.leaf_hashes[index], proof, TREE.root(0, size))


def test_every_pair_of_sizes() -> None:
    """The proof from every size to every later one must be the one of RFC 6962 2.1.2, and hold."""
    for new_size in range(1, SIZES + 1):
        for old_size in range(1, new_size + 1):
            proof = consistency_proof(old_size, new_size, TREE.node)

            assert list(proof) == TREE.proof(old_size, new_size)
            verify_consistency(old_size, TREE.root(0, old_size), new_size, TREE.root(0, new_size), proof)


@pytest.mark.parametrize("new_size", [0, 1, 2, 87])
def test_any_tree_follows_the_empty_one(new_size: int) -> None:
    """From nothing, the proof must be empty; whoever shows more, or another root of nothing, is refused."""
    new_root = TREE.root(0, new_size)

    assert consistency_proof(0, new_size, TREE.node) == ()
    verify_consistency(0, EMPTY_ROOT, new_size, new_root, ())
    for old_root, proof in ((EMPTY_ROOT, (LEAF,)), (LEAF, ())):
        with pytest.raises(InvalidProof):
            verify_consistency(0, old_root, new_size, new_root, proof)


def test_the_empty_tree_has_one_root() -> None:
    """A new tree of nothing must have the root of nothing."""
    with pytest.raises(InvalidProof):
        verify_consistency(0, EMPTY_ROOT, 0, LEAF, ())


def test_a_tree_follows_itself_alone() -> None:
    """At equal sizes, another root or a proof that says something must be refused."""
    verify_consistency(SIZE, ROOT, SIZE, ROOT, ())
    for new_root, proof in ((LEAF, ()), (ROOT, CONSISTENCY)):
        with pytest.raises(InvalidProof):
            verify_consistency(SIZE, ROOT, SIZE, new_root, proof)


def test_tampered_inclusion_is_refused() -> None:
    """No bit of a proof, of the leaf or of the root may be another, and no hash too few or too many."""
    verify_inclusion(INDEX, SIZE, LEAF, INCLUSION, ROOT)
    cases = [(LEAF, proof, ROOT) for proof in tampered(INCLUSION)]
    cases += [(leaf, INCLUSION, ROOT) for leaf in flipped(LEAF)]
    cases += [(LEAF, INCLUSION, root) for root in flipped(ROOT)]
    for leaf, proof, root in cases:
        with pytest.raises(InvalidProof):
            verify_inclusion(INDEX, SIZE, leaf, proof, root)


def test_a_leaf_is_in_one_place() -> None:
    """A proof must hold for its own index, and for no other of the tree or beside it."""
    for index in range(-2, SIZE + 2):
        if index != INDEX:
            with pytest.raises(InvalidProof):
                verify_inclusion(index, SIZE, LEAF, INCLUSION, ROOT)


def test_a_node_is_no_leaf() -> None:
    """A subtree shown as a leaf must be refused: its place does not have the way to the root of one."""
    proof = INCLUSION[1:]
    for index in range(SIZE):
        with pytest.raises(InvalidProof):
            verify_inclusion(index, SIZE, TREE.node(1, INDEX >> 1), proof, ROOT)


def test_no_octet_moves_from_one_hash_to_the_next() -> None:
    """What hashes to the same, because only the border between leaf and sibling is elsewhere, must be refused."""
    sibling, *rest = INCLUSION
    for leaf, moved in ((LEAF + sibling[:1], sibling[1:]), (LEAF[:-1], LEAF[-1:] + sibling)):
        assert leaf + moved == LEAF + sibling
        with pytest.raises(InvalidProof, match="32 octets"):
            verify_inclusion(INDEX, SIZE, leaf, (moved, *rest), ROOT)


def test_tampered_consistency_is_refused() -> None:
    """No bit of a proof or of either root may be another, and no hash too few or too many."""
    verify_consistency(OLD_SIZE, OLD_ROOT, SIZE, ROOT, CONSISTENCY)
    cases = [(OLD_ROOT, ROOT, proof) for proof in tampered(CONSISTENCY)]
    cases += [(old_root, ROOT, CONSISTENCY) for old_root in flipped(OLD_ROOT)]
    cases += [(OLD_ROOT, root, CONSISTENCY) for root in flipped(ROOT)]
    for old_root, new_root, proof in cases:
        with pytest.raises(InvalidProof):
            verify_consistency(OLD_SIZE, old_root, SIZE, new_root, proof)


def test_tampered_consistency_from_a_complete_tree_is_refused() -> None:
    """Where the proof leaves the old root out, it must still be what the proof starts from."""
    old_root, proof = TREE.root(0, 64), consistency_proof(64, SIZE, TREE.node)
    verify_consistency(64, old_root, SIZE, ROOT, proof)
    cases = [(old_root, changed) for changed in tampered(proof)]
    cases += [(changed, proof) for changed in flipped(old_root)]
    for changed_root, changed_proof in cases:
        with pytest.raises(InvalidProof):
            verify_consistency(64, changed_root, SIZE, ROOT, changed_proof)


def test_an_old_tree_has_one_size() -> None:
    """A proof must hold from its own old size, and from no other."""
    for old_size in range(-2, SIZE + 3):
        if old_size != OLD_SIZE:
            with pytest.raises(InvalidProof):
                verify_consistency(old_size, OLD_ROOT, SIZE, ROOT, CONSISTENCY)


def test_a_changed_entry_breaks_consistency() -> None:
    """Where one old entry is another now, no proof out of the new tree may hold."""
    for index in range(OLD_SIZE):
        entries = bodies(SIZE)
        entries[index] = b"another"
        forged = NaiveTree(entries)
        with pytest.raises(InvalidProof):
            verify_consistency(OLD_SIZE, OLD_ROOT, SIZE, forged.root(0, SIZE), forged.proof(OLD_SIZE, SIZE))


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0)])
def test_no_proof_of_a_leaf_that_is_not_there(index: int, size: int) -> None:
    """Asking for the proof of what is not in the tree must be refused."""
    with pytest.raises(InvalidProof, match="no leaf"):
        inclusion_proof(index, size, TREE.node)


@pytest.mark.parametrize(("old_size", "new_size"), [(5, 4), (-1, 4), (-2, -1)])
def test_no_proof_that_a_tree_shrank(old_size: int, new_size: int) -> None:
    """Asking for the proof that a tree follows a larger one must be refused, and so must any that is shown."""
    with pytest.raises(InvalidProof, match="cannot follow"):
        consistency_proof(old_size, new_size, TREE.node)
    with pytest.raises(InvalidProof, match="cannot follow"):
        verify_consistency(old_size, OLD_ROOT, new_size, OLD_ROOT, ())


@given(index=NUMBERS, size=NUMBERS, leaf=HASHES, proof=PROOFS, root=HASHES)
@settings(derandomize=True)
def test_garbage_shows_no_inclusion(index: int, size: int, leaf: bytes, proof: list[bytes], root: bytes) -> None:
    """Whatever is shown, our error must come and nothing else, but where a root is its only leaf."""
    if (index, size, leaf, proof) == (0, 1, root, []):
        return
    with pytest.raises(InvalidProof):
        verify_inclusion(index, size, leaf, proof, root)


@given(old_size=NUMBERS, old_root=HASHES, new_size=NUMBERS, new_root=HASHES, proof=PROOFS)
@settings(derandomize=True)
def test_garbage_shows_no_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: list[bytes]
) -> None:
    """Whatever is shown, our error must come and nothing else, but where both trees are the same."""
    if (old_size, old_root, proof) == (new_size, new_root, []) and old_size > 0:
        return
    with pytest.raises(InvalidProof):
        verify_consistency(old_size, old_root, new_size, new_root, proof)
