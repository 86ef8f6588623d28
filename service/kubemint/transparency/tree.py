"""Merkle trees of RFC 6962, section 2.1: hashing, growing, proving, and checking a proof.

A tree is never held whole. `grow` needs the frontier alone, which is as long as the size has bits set,
so that a commit hashes its own leaves and little else; proofs about older leaves ask for the complete
subtrees that they need (`Nodes`), wherever those are kept.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from kubemint.errors import InvalidProof

HASH_OCTETS: Final = 32  # RFC 6962 2.1: SHA-256
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()  # RFC 6962 2.1: the root of no leaves

Nodes = Callable[[int, int], bytes]
"""Give the hash of the complete subtree of `2**level` leaves that is number `index` (level, index)."""

_LEAF_PREFIX: Final = b"\x00"  # RFC 6962 2.1: keeps leaves and inner nodes apart
_NODE_PREFIX: Final = b"\x01"


def leaf_hash(body: bytes) -> bytes:
    """Hash an entry as a leaf: SHA-256 of 0x00 and the entry's canonical bytes."""
    return hashlib.sha256(_LEAF_PREFIX + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees as one: SHA-256 of 0x01 and both hashes."""
    return hashlib.sha256(_NODE_PREFIX + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """The roots of the complete subtrees that a tree of `size` leaves falls into, largest first."""

    size: int
    hashes: tuple[bytes, ...]

    @classmethod
    def empty(cls) -> Self:
        """Give the frontier of no leaves."""
        return cls(0, ())

    @classmethod
    def decode(cls, size: int, octets: bytes) -> Self:
        """Read what `encode` wrote.

        Raises:
            InvalidProof: a tree of this size has another number of complete subtrees.
        """
        if size < 0 or len(octets) != HASH_OCTETS * size.bit_count():
            raise InvalidProof(f"{len(octets)} octets are not the frontier of a tree of {size} leaves")
        starts = range(0, len(octets), HASH_OCTETS)
        return cls(size, tuple(octets[start : start + HASH_OCTETS] for start in starts))

    def encode(self) -> bytes:
        """Write the hashes one after the other; the size says how many there are."""
        return b"".join(self.hashes)

    def root(self) -> bytes:
        """Give the root of the whole tree."""
        if not self.hashes:
            return EMPTY_ROOT
        *larger, root = self.hashes
        for left in reversed(larger):
            root = node_hash(left, root)
        return root


@dataclass(frozen=True, slots=True)
class Growth:
    """A tree after new leaves: its frontier, its root, and the proof of each new leaf.

    `levels` has what was hashed on the way: for each level, the index of its first node and the nodes
    from there to the right edge. The first index is even, so that a new node's left sibling is there.
    """

    frontier: Frontier
    root: bytes
    first: int
    levels: tuple[tuple[int, Sequence[bytes]], ...]

    def inclusion_proof(self, index: int) -> tuple[bytes, ...]:
        """Prove that a new leaf is in the tree (RFC 6962 2.1.1), by looking up what is hashed already.

        Raises:
            InvalidProof: the leaf is not one of the new ones.
        """
        if not self.first <= index < self.frontier.size:
            raise InvalidProof(f"leaf {index} is not one of {self.first} to {self.frontier.size - 1}")
        proof = []
        for start, nodes in self.levels:
            sibling = (index ^ 1) - start
            if sibling < len(nodes):
                proof.append(nodes[sibling])
            index >>= 1
        return tuple(proof)


def grow(frontier: Frontier, leaf_hashes: Sequence[bytes]) -> Growth:
    """Add leaves to a tree of which only the frontier is known.

    Costs about one hash for each new leaf and one for each level. A node at the right edge that has no
    sibling goes up unchanged, which is what RFC 6962 2.1 makes of a tree whose size is no power of two.
    """
    size = frontier.size + len(leaf_hashes)
    left_siblings = reversed(frontier.hashes)  # smallest first: the order in which levels need them
    start, nodes = frontier.size, list(leaf_hashes)
    levels: list[tuple[int, Sequence[bytes]]] = []
    while True:
        if start & 1:
            start, nodes = start - 1, [next(left_siblings), *nodes]
        levels.append((start, nodes))
        if start == 0 and len(nodes) <= 1:
            break
        start, nodes = start >> 1, _level_above(nodes)
    root = nodes[0] if nodes else EMPTY_ROOT
    complete = [
        above[(size >> level) - 1 - begin] for level, (begin, above) in enumerate(levels) if size >> level & 1
    ]
    return Growth(Frontier(size, tuple(reversed(complete))), root, frontier.size, tuple(levels))


def root(size: int, node: Nodes) -> bytes:
    """Give the root of the tree of the first `size` leaves."""
    return _subtree_root(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: Nodes) -> tuple[bytes, ...]:
    """Prove that a leaf is in the tree of the first `size` leaves (RFC 6962 2.1.1).

    Raises:
        InvalidProof: the tree has no such leaf.
    """
    spans = [span for span, _ in _siblings(index, size)]
    return tuple(_subtree_root(start, end, node) for start, end in spans)


def consistency_proof(old_size: int, new_size: int, node: Nodes) -> tuple[bytes, ...]:
    """Prove that the first `old_size` leaves of a tree are still its first leaves (RFC 6962 2.1.2).

    The proof is empty for equal sizes and for an old size of nothing.

    Raises:
        InvalidProof: the new size is less than the old.
    """
    _check_sizes(old_size, new_size)
    if old_size in (0, new_size):
        return ()
    common, siblings = _fork(old_size, new_size)
    spans = [span for span, _ in siblings]
    if common[0] > 0:  # else it is the whole old tree, whose root the verifier has
        spans.insert(0, common)
    return tuple(_subtree_root(start, end, node) for start, end in spans)


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that a proof leads from a leaf to the root of a tree of `size` leaves.

    Raises:
        InvalidProof: it does not.
    """
    siblings = _siblings(index, size)
    _check_hashes((leaf_hash, *proof, root))
    if len(proof) != len(siblings):
        raise InvalidProof(f"the proof of leaf {index} of {size} has {len(siblings)} hashes, not {len(proof)}")
    computed = leaf_hash
    for hashed, (_, is_left) in zip(proof, siblings, strict=True):
        computed = node_hash(hashed, computed) if is_left else node_hash(computed, hashed)
    if computed != root:
        raise InvalidProof(f"the proof does not lead from leaf {index} to the root of {size} leaves")


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that a tree is an older one with leaves added: nothing was changed or taken away.

    Raises:
        InvalidProof: it was, or the proof does not show that it was not.
    """
    _check_sizes(old_size, new_size)
    _check_hashes((old_root, new_root, *proof))
    if old_size in (0, new_size):
        expected = EMPTY_ROOT if old_size == 0 else new_root
        if proof or old_root != expected or (new_size == 0 and new_root != EMPTY_ROOT):
            raise InvalidProof(f"the tree of {new_size} leaves is not the one of {old_size} with leaves added")
        return
    common, siblings = _fork(old_size, new_size)
    hashes = list(proof) if common[0] > 0 else [old_root, *proof]
    if len(hashes) != len(siblings) + 1:
        raise InvalidProof(f"the proof from {old_size} to {new_size} leaves has the wrong length, {len(proof)}")
    old = new = hashes[0]
    for hashed, (_, is_left) in zip(hashes[1:], siblings, strict=True):
        old = node_hash(hashed, old) if is_left else old
        new = node_hash(hashed, new) if is_left else node_hash(new, hashed)
    if (old, new) != (old_root, new_root):
        raise InvalidProof(f"the tree of {new_size} leaves is not the one of {old_size} with leaves added")


_Span = tuple[int, int]  # the leaves from the first number to before the second
_Siblings = list[tuple[_Span, bool]]  # from the leaves to the root; whether it is the left one


def _level_above(nodes: list[bytes]) -> list[bytes]:
    if len(nodes) == 1:
        return nodes
    sha256 = hashlib.sha256  # the next line is most of what a commit spends here
    above = [
        sha256(_NODE_PREFIX + left + right).digest()
        for left, right in zip(nodes[::2], nodes[1::2], strict=False)  # the odd one out goes up as it is
    ]
    if len(nodes) & 1:
        above.append(nodes[-1])
    return above


def _siblings(index: int, size: int) -> _Siblings:
    """Give the subtrees beside the way from a leaf to the root: PATH of RFC 6962 2.1.1."""
    if not 0 <= index < size:
        raise InvalidProof(f"a tree of {size} leaves has no leaf {index}")
    start, end, siblings = 0, size, _Siblings()
    while end - start > 1:
        middle = _split(start, end)
        if index < middle:
            siblings.append(((middle, end), False))
            end = middle
        else:
            siblings.append(((start, middle), True))
            start = middle
    return siblings[::-1]


def _fork(old_size: int, new_size: int) -> tuple[_Span, _Siblings]:
    """Give the last subtree of the old tree that the new one has too, and what is beside its way to the root.

    This is SUBPROOF of RFC 6962 2.1.2.
    """
    start, end, siblings = 0, new_size, _Siblings()
    while end != old_size:
        middle = _split(start, end)
        if old_size <= middle:
            siblings.append(((middle, end), False))
            end = middle
        else:
            siblings.append(((start, middle), True))
            start = middle
    return (start, end), siblings[::-1]


def _split(start: int, end: int) -> int:
    """Tell where a tree of at least two leaves falls in two: after the largest power of two below its size."""
    return start + (1 << (end - start - 1).bit_length() - 1)


def _subtree_root(start: int, end: int, node: Nodes) -> bytes:
    """Hash the complete subtrees together that a span falls into, from the smallest, at its right end."""
    size = end - start
    levels = [level for level in range(size.bit_length()) if size >> level & 1]
    computed = node(levels[0], (end >> levels[0]) - 1)
    for level in levels[1:]:
        computed = node_hash(node(level, (end >> level) - 1), computed)
    return computed


def _check_sizes(old_size: int, new_size: int) -> None:
    if not 0 <= old_size <= new_size:
        raise InvalidProof(f"a tree of {new_size} leaves cannot follow one of {old_size}")


def _check_hashes(hashes: Sequence[bytes]) -> None:
    # A hash of another length would move the border between two that are hashed together.
    if any(len(hashed) != HASH_OCTETS for hashed in hashes):
        raise InvalidProof(f"a hash has {HASH_OCTETS} octets")
