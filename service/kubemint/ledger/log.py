"""The ledger as a transparency log: its checkpoint, its tiles, and proofs made of them (C2SP tlog-tiles).

Full tiles are stored; a partial one is made of the entries, or of the tiles below it, for any width that the
log has reached. What is proven here is checked before it is given away.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from kubemint.errors import InvalidProof, LedgerDamaged, LedgerUnavailable, NotFound
from kubemint.ledger import tables
from kubemint.ledger.archive import NO_ARCHIVE, Archive
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.witnessed import read_witnessed
from kubemint.transparency.checkpoint import Checkpoint
from kubemint.transparency.cosigned import with_cosignatures_of
from kubemint.transparency.receipt import Receipt
from kubemint.transparency.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, encode_entries, nodes_from_tiles
from kubemint.transparency.tree import (
    HASH_OCTETS,
    Frontier,
    Nodes,
    consistency_proof,
    grow,
    inclusion_proof,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

Proof = tuple[bytes, ...]


class LedgerLog:
    """Reads the log. One for a process; threads share it."""

    def __init__(self, engine: Engine, keys: LogKeys, archive: Archive = NO_ARCHIVE) -> None:
        self._engine = engine
        self._keys = keys
        self._archive = archive

    def checkpoint(self) -> str:
        """Give the newest checkpoint, a signed note, with the cosignatures that there are of it.

        Raises:
            LedgerUnavailable: the ledger cannot be read.
        """
        with self._reading() as connection:
            return self._newest(connection)

    def head(self) -> tuple[str, Checkpoint]:
        """Give the newest checkpoint as the log has signed it, and what it says. Raises as `receipt` does."""
        with self._reading() as connection:
            note = _checkpoint(connection)
        return note, self._open(note)

    def witnessed(self) -> str:
        """Give what is kept with cosignatures, empty if nothing is; nothing in it is verified. Raises so too."""
        with self._reading() as connection:
            return read_witnessed(connection)

    def tile(self, tile: Tile) -> bytes | None:
        """Give the hashes of a tile, or None where the log has not grown that far. Raises as `checkpoint` does."""
        with self._reading() as connection:
            return _tile(connection, tile)

    def bundle(self, index: int, width: int) -> bytes | None:
        """Give an entry bundle (`width` entries from `index` * 256 on), or None where the log has not that many.

        Raises:
            LedgerDamaged: the entries are not those that were signed.
            LedgerUnavailable: the ledger cannot be read.
        """
        with self._reading() as connection:
            signed = self._open(_checkpoint(connection))
            if index * TILE_WIDTH + width > signed.size:
                return None
            bodies = _bodies(connection, index * TILE_WIDTH, width, self._archive)
            hashes = _proven_hashes(connection, index, signed)
        if b"".join(map(leaf_hash, bodies)) != hashes[: width * HASH_OCTETS]:
            first = index * TILE_WIDTH
            told = f"entries {first} to {first + width - 1} are not those that were signed"
            raise LedgerDamaged(f"{told}: see `kubemint log verify`")
        return encode_entries(bodies)

    def receipt(self, index: int) -> Receipt:
        """Prove an entry, to whoever knows the log's key alone, in the tree of now.

        Raises:
            NotFound: there is no such entry yet.
            LedgerDamaged: the proof does not hold.
            LedgerUnavailable: the ledger cannot be read.
        """
        with self._reading() as connection:
            note = self._newest(connection)
            signed = self._open(note)
            if not 0 <= index < signed.size:
                raise NotFound(f"The log has {signed.size} entries, and no entry {index}.")
            if not (bodies := _bodies(connection, index, 1, self._archive)):
                raise LedgerDamaged(f"the log has lost entry {index}")
            (body,) = bodies
            proof = inclusion_proof(index, signed.size, _nodes(connection, signed.size))
        with _held():
            verify_inclusion(index, signed.size, leaf_hash(body), proof, signed.root)
        return Receipt(index=index, proof=proof, checkpoint=note, extra=body)

    def inclusion(self, index: int, size: int | None) -> tuple[bytes, Proof, Checkpoint]:
        """Prove an entry in the tree of a size, or of now: its leaf hash, the proof, and that tree.

        Raises:
            NotFound: there is no such entry in a tree of that size, or no such tree yet.
            LedgerDamaged: the proof does not hold.
            LedgerUnavailable: the ledger cannot be read.
        """
        with self._reading() as connection:
            tree, node = self._tree(connection, size)
            if not 0 <= index < tree.size:
                raise NotFound(f"A tree of {tree.size} entries has no entry {index}.")
            leaf, proof = node(0, index), inclusion_proof(index, tree.size, node)
        with _held():
            verify_inclusion(index, tree.size, leaf, proof, tree.root)
        return leaf, proof, tree

    def consistency(self, old_size: int, new_size: int | None) -> tuple[Proof, Checkpoint, Checkpoint]:
        """Prove that one tree begins with another: the proof, and both trees. Raises as `inclusion` does."""
        with self._reading() as connection:
            new, node = self._tree(connection, new_size)
            if not 0 <= old_size <= new.size:
                raise NotFound(f"There is no tree of {old_size} entries within one of {new.size}.")
            old = Checkpoint(origin=new.origin, size=old_size, root=root(old_size, node))
            proof = consistency_proof(old_size, new.size, node)
        with _held():
            verify_consistency(old.size, old.root, new.size, new.root, proof)
        return proof, old, new

    def _newest(self, connection: Connection) -> str:
        """Give the checkpoint that everything here is about."""
        note, cosigned = _checkpoint(connection), read_witnessed(connection)
        with suppress(InvalidProof):  # what is no note has no cosignature
            return with_cosignatures_of(note, cosigned)
        return note

    def _tree(self, connection: Connection, size: int | None) -> tuple[Checkpoint, Nodes]:
        """Give the tree of a size, as its signed head would tell of it: the newest one begins with it."""
        newest = self._open(self._newest(connection))
        node = _nodes(connection, newest.size)
        if size is None or size == newest.size:
            return newest, node
        if not 0 <= size <= newest.size:
            raise NotFound(f"The log has {newest.size} entries, not {size}.")
        tree = Checkpoint(origin=newest.origin, size=size, root=root(size, node))
        proof = consistency_proof(size, newest.size, node)
        verify_consistency(size, tree.root, newest.size, newest.root, proof)  # else nothing signed speaks for it
        return tree, node

    def _open(self, note: str) -> Checkpoint:
        with _held():
            return self._keys.open(note)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with _held(), self._engine.begin() as connection:  # why it is committed: reader.py
                yield connection
        except SQLAlchemyError as fault:
            raise LedgerUnavailable("the ledger cannot be read") from fault


@contextmanager
def _held() -> Iterator[None]:
    """Nothing is given away that would not convince whoever gets it."""
    try:
        yield
    except InvalidProof as fault:
        raise LedgerDamaged(f"the log does not prove itself: {fault.message}") from None


def _checkpoint(connection: Connection) -> str:
    return str(connection.execute(select(tables.head.c.checkpoint)).scalar_one())


def _nodes(connection: Connection, size: int) -> Nodes:
    def read(tile: Tile) -> bytes:
        found = _tile(connection, tile)
        if found is None:
            raise LedgerDamaged(f"the log has lost tile {tile.level}/{tile.index}")
        return found

    right_edge, in_tiles = _right_edge(connection, size), nodes_from_tiles(read, size)

    def node(level: int, index: int) -> bytes:
        return right_edge.get((level, index)) or in_tiles(level, index)

    return node


def _proven_hashes(connection: Connection, index: int, signed: Checkpoint) -> bytes:
    """Give the leaf hashes of a tile of level 0, whole or as far as the tree goes, if they are what was signed.

    Raises:
        InvalidProof, LedgerDamaged: they are not.
    """
    first = index * TILE_WIDTH
    width = min(TILE_WIDTH, signed.size - first)
    if (hashes := _tile(connection, Tile(0, index, width))) is None:
        raise LedgerDamaged(f"the log has lost tile 0/{index}")
    node = _nodes(connection, signed.size)
    if width == TILE_WIDTH:
        # The proof of one leaf is made of all others of its tile.
        proof = inclusion_proof(first, signed.size, node)
        verify_inclusion(first, signed.size, hashes[:HASH_OCTETS], proof, signed.root)
        return hashes
    leaves = [hashes[start : start + HASH_OCTETS] for start in range(0, len(hashes), HASH_OCTETS)]
    whole = [level for level in reversed(range(signed.size.bit_length())) if signed.size >> level & 1]
    larger = [node(level, (signed.size >> level) - 1) for level in whole if level >= TILE_HEIGHT]
    edge = grow(Frontier.empty(), leaves).frontier.hashes
    if Frontier(signed.size, (*larger, *edge)).root() != signed.root:
        raise LedgerDamaged(f"tile 0/{index} is not what was signed")
    return hashes


def _right_edge(connection: Connection, size: int) -> dict[tuple[int, int], bytes]:
    """Give the subtrees that the head has, by level and index, if it is of this size; else none.

    Every proof needs them. Out of partial tiles, each would take hundreds of rows.
    """
    columns = tables.head.c
    octets = connection.execute(select(columns.frontier).where(columns.size == size)).scalar()
    if octets is None:
        return {}
    levels = [level for level in reversed(range(size.bit_length())) if size >> level & 1]
    hashes = Frontier.decode(size, bytes(octets)).hashes
    return {(level, (size >> level) - 1): hashed for level, hashed in zip(levels, hashes, strict=True)}


def _tile(connection: Connection, tile: Tile) -> bytes | None:
    columns = tables.tiles.c
    if tile.width == TILE_WIDTH:
        full = select(columns.hashes).where(columns.level == tile.level, columns.index == tile.index)
        found = connection.execute(full).scalar()
        return None if found is None else bytes(found)
    first = tile.index * TILE_WIDTH
    if tile.level == 0:
        hashes = _column(connection, tables.entries, tables.entries.c.leaf_hash, first, tile.width)
    else:
        below = columns.level == tile.level - 1
        hashes = _column(connection, tables.tiles, columns.root, first, tile.width, below)
    return b"".join(hashes) if len(hashes) == tile.width else None


def _bodies(connection: Connection, first: int, count: int, archive: Archive) -> Sequence[bytes]:
    bodies = _column(connection, tables.entries, tables.entries.c.body, first, count)
    if all(bodies):
        return bodies
    hashes = _column(connection, tables.entries, tables.entries.c.leaf_hash, first, count)
    return [
        body or archive.body(first + place, hashed)
        for place, (body, hashed) in enumerate(zip(bodies, hashes, strict=True))
    ]


def _column(
    connection: Connection, table: Any, column: Any, first: int, count: int, *conditions: Any
) -> Sequence[bytes]:
    """Give one column of consecutive rows, in their order."""
    query = (
        select(column)
        .where(table.c.index.between(first, first + count - 1), *conditions)  # the last may be 2**63 - 1
        .order_by(table.c.index)
    )
    return [bytes(value) for value in connection.execute(query).scalars()]
