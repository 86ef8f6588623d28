"""The tree again, from the entries up: leaf hashes, tiles of every level, the root, and earlier checkpoints.

An entry is held against the leaf hash beside it and against its tile. Where they disagree, that is a finding,
and the walk goes on with what the others say, so that one changed entry is one finding and what comes after
it is looked at too. Nothing here reads: the same walk serves a database and a log that others publish.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from kubemint.errors import InvalidProof
from kubemint.ledger.growing import unknown_signers
from kubemint.ledger.verify_findings import Finding, FindingCode
from kubemint.transparency.checkpoint import Checkpoint, NoteVerifier, open_checkpoint
from kubemint.transparency.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, tile_path, tile_root
from kubemint.transparency.tree import HASH_OCTETS, Frontier, grow, leaf_hash

_NO_HASH: Final = bytes(HASH_OCTETS)  # stands for an entry of which nothing is left


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEntry:
    """An entry as it is found; `leaf_hash` and `columns` (time and kind) where a database has them beside it."""

    index: int
    body: bytes
    leaf_hash: bytes | None = None
    columns: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTile:
    """A tile as it is found; `root` where a database has it beside the hashes."""

    hashes: bytes
    root: bytes | None = None

    def leaves(self) -> Sequence[bytes | None]:
        """Give the hashes one by one, or as many None where they are not those that the root was made of."""
        if len(self.hashes) != _TILE_OCTETS or (self.root is not None and tile_root(self.hashes) != self.root):
            return _UNKNOWN
        return [self.hashes[start : start + HASH_OCTETS] for start in range(0, _TILE_OCTETS, HASH_OCTETS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCheckpoint:
    """A checkpoint that somebody has seen before, and where it comes from."""

    source: str
    checkpoint: Checkpoint


ReadTile = Callable[[Tile], StoredTile | None]
_TILE_OCTETS: Final = TILE_WIDTH * HASH_OCTETS
_UNKNOWN: Final[Sequence[bytes | None]] = (None,) * TILE_WIDTH  # no tile can tell


class TreeWalk:
    """Lets the tree of `size` entries grow, bundle after bundle, and compares on the way.

    `broken` are the entries of the last bundle that are missing or changed: nothing follows from them.
    """

    def __init__(self, size: int, seen: Sequence[SeenCheckpoint]) -> None:
        self.size = size
        self.broken: frozenset[int] = frozenset()
        self.frontier = Frontier.empty()
        self._before = self.frontier
        self._seen = sorted(seen, key=lambda one: one.checkpoint.size)
        self._roots: dict[int, list[bytes]] = {}  # of each level, those that fill no tile yet

    def start(self) -> Iterator[Finding]:
        """Find what can be told before any entry is read."""
        for one in self._seen:
            if one.checkpoint.size > self.size:
                told = f"{one.source} is of {one.checkpoint.size} entries, and the ledger has {self.size}"
                yield Finding(code=FindingCode.CHECKPOINT_OLDER, message=f"{told}: an older copy?")
        yield from self._compare_seen()

    def add(self, number: int, entries: Sequence[StoredEntry | None], read: ReadTile) -> Iterator[Finding]:
        """Add the entries of bundle `number` that the tree has; None stands for one that is not there."""
        first = number * TILE_WIDTH
        stored = read(Tile(0, number)) if len(entries) == TILE_WIDTH else None
        leaves = _UNKNOWN if stored is None else stored.leaves()
        hashes: list[bytes] = []
        broken: set[int] = set()
        for offset, entry in enumerate(entries):
            hashed, problem = _judge(entry, leaves[offset])
            hashes.append(hashed)
            if problem is not None:
                broken.add(first + offset)
                code = FindingCode.ENTRY_MISSING if entry is None else FindingCode.ENTRY_CHANGED
                yield Finding(code=code, message=f"entry {first + offset} {problem}", index=first + offset)
        self.broken = frozenset(broken)
        self._grow(hashes)
        yield from self._compare_seen_between(first, hashes)
        if len(entries) == TILE_WIDTH:
            yield from self._compare_tiles(Tile(0, number), hashes, stored, read)

    def finish(self, signed: Checkpoint | None, frontier: bytes | None) -> Iterator[Finding]:
        """Compare what the entries lead to with the head: its checkpoint, and its frontier if it has one."""
        if frontier is not None and frontier != self.frontier.encode():
            told = f"the frontier of the head is not that of its {self.size} entries"
            yield Finding(code=FindingCode.HEAD_DIFFERS, message=told)
        if signed is not None and (signed.size, signed.root) != (self.size, self.frontier.root()):
            told = f"the signed checkpoint of {signed.size} entries is not that of the {self.size} that are here"
            yield Finding(code=FindingCode.HEAD_DIFFERS, message=told)

    def edge(self) -> Iterator[tuple[Tile, bytes]]:
        """Give the partial tiles that there should be, as they should be: those of the right edge."""
        for level, hashes in self._roots.items():
            if hashes:
                yield Tile(level, self.size >> TILE_HEIGHT * (level + 1), len(hashes)), b"".join(hashes)

    def _grow(self, hashes: Sequence[bytes]) -> None:
        self._roots[0] = [] if len(hashes) == TILE_WIDTH else list(hashes)
        self._before = self.frontier
        self.frontier = grow(self.frontier, hashes).frontier

    def _compare_seen_between(self, first: int, hashes: Sequence[bytes]) -> Iterator[Finding]:
        """Compare with the checkpoints that were seen within the bundle that was just added."""
        sizes = {one.checkpoint.size for one in self._seen if first < one.checkpoint.size <= self.frontier.size}
        tree = self._before
        for start, end in pairwise([first, *sorted(sizes)]):
            tree = grow(tree, hashes[start - first : end - first]).frontier
            yield from self._compare_seen(tree)

    def _compare_seen(self, tree: Frontier | None = None) -> Iterator[Finding]:
        tree = tree or Frontier.empty()
        for one in self._seen:
            if one.checkpoint.size == tree.size and one.checkpoint.root != tree.root():
                told = f"the first {tree.size} entries are not those of {one.source}"
                yield Finding(code=FindingCode.HISTORY_REWRITTEN, message=told)

    def _compare_tiles(
        self, tile: Tile, hashes: Sequence[bytes], stored: StoredTile | None, read: ReadTile
    ) -> Iterator[Finding]:
        """Compare a full tile, and those above it that it completes."""
        computed = b"".join(hashes)
        root = tile_root(computed)
        if stored is None:
            told = f"tile {tile_path(tile)} is not there"
            yield Finding(code=FindingCode.TILE_MISSING, message=told)
        elif stored.hashes != computed or stored.root not in {None, root}:
            told = f"tile {tile_path(tile)} is not that of the entries below it"
            yield Finding(code=FindingCode.TILE_DIFFERS, message=told)
        above = self._roots.setdefault(tile.level + 1, [])
        above.append(root)
        if len(above) == TILE_WIDTH:
            self._roots[tile.level + 1] = []
            parent = Tile(tile.level + 1, tile.index // TILE_WIDTH)
            yield from self._compare_tiles(parent, above, read(parent), read)


def opened(note: str, verifiers: Sequence[NoteVerifier]) -> Checkpoint:
    """Read a checkpoint that one of the keys has signed.

    Raises:
        InvalidProof: none has.
    """
    fault = InvalidProof("no key of the log is known")
    for verifier in verifiers:
        try:
            return open_checkpoint(note, verifier)
        except InvalidProof as one:
            fault = one
    if verifiers and (others := unknown_signers(note, verifiers)) is not None:
        known = ", ".join(verifier.key_id.hex() for verifier in verifiers)
        told = f"signed by {others}, and known is {known}; if log.key was replaced: --key twice, old and new"
        raise InvalidProof(f"{told} (docs/incidents.md)")
    raise fault


def _judge(entry: StoredEntry | None, in_tile: bytes | None) -> tuple[bytes, str | None]:
    """Give the leaf hash to go on with, and what is wrong with the entry."""
    if entry is None:
        return in_tile or _NO_HASH, "is not there"
    computed = leaf_hash(entry.body)
    if entry.leaf_hash is not None and entry.leaf_hash != computed:
        kept = computed if in_tile == computed else entry.leaf_hash
        return kept if len(kept) == HASH_OCTETS else _NO_HASH, "is not what its leaf hash was made of"
    if in_tile is not None and in_tile != computed:
        return in_tile, "is not the one that its tile has"
    return computed, None
