"""The Merkle tree that grows with the entries, inside the transaction that adds them.

The head holds what is needed to go on: the size, the roots of the complete subtrees (the frontier), and
the checkpoint, which is both of them signed. A tile that is full is stored; the one at the right edge is
made of the entries, or of the tiles below, when somebody asks for it. So a commit of a few entries on a
tree of millions reads one row and writes no more than its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from kubemint.errors import InvalidProof, LedgerDamaged, LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.statements import Cursor, Statements
from kubemint.transparency.checkpoint import (
    Checkpoint,
    NoteSigner,
    NoteVerifier,
    note_text,
    open_checkpoint,
    signature_lines,
)
from kubemint.transparency.notation import decode_base64
from kubemint.transparency.tiles import TILE_WIDTH, Tile, full_tiles_between, tile_root
from kubemint.transparency.tree import Frontier, grow

_STEP_ENTRIES: Final = TILE_WIDTH * 16  # of a tree that is built anew, between two statements


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where the ledger stands: what the next entry is added to. `checkpoint` is a signed note."""

    size: int
    frontier: bytes
    checkpoint: str


@dataclass(frozen=True, slots=True)
class LogKeys:
    """The key that signs checkpoints, and those that signed earlier ones and still count."""

    signer: NoteSigner
    former: tuple[NoteVerifier, ...] = ()
    verifiers: tuple[NoteVerifier, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verifiers", (self.signer.verifier, *self.former))

    def open(self, checkpoint: str) -> Checkpoint:
        """Read a checkpoint that one of the keys has signed.

        Raises:
            InvalidProof: none has.
        """
        for verifier in self.verifiers[:-1]:
            try:
                return open_checkpoint(checkpoint, verifier)
            except InvalidProof:
                continue
        return open_checkpoint(checkpoint, self.verifiers[-1])


class Sealer:
    """Signs where the ledger stands, and goes on from no head that was not signed.

    Whoever can write to the database can change the head, but not sign it; and a process that has seen the
    ledger at one size does not add to it at a smaller one. One for a writer, used by one thread at a time.
    """

    def __init__(self, keys: LogKeys) -> None:
        self._keys = keys
        self._known: Head | None = None

    def check(self, head: Head) -> Frontier:
        """Give the frontier of a head that is what was signed.

        Raises:
            LedgerDamaged: it is not, or the ledger is older than it was, or another one.
        """
        if (known := self._known) is not None:
            if head.size < known.size:
                raise LedgerDamaged(f"the ledger has {head.size} entries and had {known.size}: an old copy?")
            if head.size == known.size and head.frontier != known.frontier:
                raise LedgerDamaged(f"the ledger has {head.size} entries as before, and they are others")
        try:
            frontier = Frontier.decode(head.size, head.frontier)
            # The whole head is compared: beside the checkpoint that is known, somebody may put another frontier.
            if head != known:
                self._check_signature(head, frontier)
        except InvalidProof as fault:
            raise LedgerDamaged(f"the head of the ledger is not what was signed: {fault.message}") from None
        return frontier

    def seal(self, size: int, root: bytes) -> str:
        """Sign a size with its root; gives the checkpoint."""
        checkpoint = Checkpoint(origin=self._keys.signer.name, size=size, root=root)
        return self._keys.signer.sign(checkpoint.text)

    def remember(self, head: Head) -> None:
        """Know a head as good: it was checked, or is committed."""
        self._known = head

    def _check_signature(self, head: Head, frontier: Frontier) -> None:
        try:
            signed = self._keys.open(head.checkpoint)
        except InvalidProof:
            if (others := unknown_signers(head.checkpoint, self._keys.verifiers)) is None:
                raise
            raise LedgerDamaged(_signed_by_others(others, self._keys.signer.verifier)) from None
        if (signed.size, signed.root) != (head.size, frontier.root()):
            raise InvalidProof(f"its checkpoint is of {signed.size} entries, or of others")
        self.remember(head)


def unknown_signers(unverified_note: str, verifiers: Sequence[NoteVerifier]) -> str | None:
    """Tell which keys a log's note names as its signers; None if it names one that is known, or none at all.

    That is what the note says of itself. The lines of witnesses are under other names than the log's.
    """
    try:
        origin = note_text(unverified_note).partition("\n")[0]
        lines = [line.split(" ") for line in signature_lines(unverified_note)]
        ids = [decode_base64(octets)[:4].hex() for _, name, octets in lines if name == origin]
    except InvalidProof:
        return None
    known = {verifier.key_id.hex() for verifier in verifiers if verifier.name == origin}
    if not ids or known.intersection(ids):
        return None
    return f"key {', '.join(ids[:3])} of {origin[:200]!a}"


def _signed_by_others(others: str, known: NoteVerifier) -> str:
    return (
        f"log.key: the newest checkpoint is signed by {others}, and log.key is {known.key_id.hex()} of "
        f"{known.name!a}. If log.key was replaced, put the public key of the old one under log.formerKeys until "
        "an entry has been written since (docs/incidents.md); if not, this is not the ledger that this key signed"
    )


def read_head(cursor: Cursor, statements: Statements) -> Head:
    """Lock the head and read it.

    Raises:
        LedgerDamaged: there is none.
    """
    cursor.execute(statements.lock_head)
    if (row := cursor.fetchone()) is None:
        raise LedgerDamaged("the ledger has lost its head")
    size, frontier, checkpoint = row
    return Head(size=size, frontier=bytes(frontier), checkpoint=checkpoint)


def write_head(head: Head, old_size: int, cursor: Cursor, statements: Statements) -> None:
    """Move the head on from where it was when it was locked.

    Raises:
        LedgerUnavailable: it is not there any more.
    """
    cursor.execute(statements.move_head, (head.size, head.frontier, head.checkpoint, old_size))
    if cursor.rowcount != 1:
        raise LedgerUnavailable(f"the head of the ledger is no longer at {old_size}")


def write_tiles(old_size: int, leaf_hashes: Sequence[bytes], cursor: Cursor, statements: Statements) -> None:
    """Store the tiles that the new leaves have filled; the entries before them are in the database."""
    new_size = old_size + len(leaf_hashes)
    for tile in full_tiles_between(old_size, new_size):
        first, end = tile.index * TILE_WIDTH, (tile.index + 1) * TILE_WIDTH
        if tile.level == 0:
            hashes = _stored(statements.leaf_hashes, (first, min(end, old_size)), cursor)
            hashes += b"".join(leaf_hashes[max(0, first - old_size) : end - old_size])
        else:
            hashes = _stored(statements.tile_roots, (tile.level - 1, first, end), cursor)
        _write_tile(tile, hashes, cursor, statements)


def store_tree(connection: Connection) -> None:
    """Build the tree of all entries that are there into an empty one: tiles, and an unsigned head.

    Raises:
        LedgerDamaged: an entry is missing.
    """
    statements = Statements(connection.engine)
    cursor: Cursor = connection.connection.cursor()
    cursor.execute(statements.lock_head)
    end: int = cursor.fetchone()[0]
    frontier = Frontier.empty()
    while frontier.size < end:
        step_end = min(end, frontier.size + _STEP_ENTRIES)
        cursor.execute(statements.leaf_hashes, (frontier.size, step_end))
        leaf_hashes = [bytes(row[0]) for row in cursor.fetchall()]
        if len(leaf_hashes) != step_end - frontier.size:
            raise LedgerDamaged(f"of the entries {frontier.size} to {step_end - 1} some are missing")
        write_tiles(frontier.size, leaf_hashes, cursor, statements)
        frontier = grow(frontier, leaf_hashes).frontier
    write_head(Head(size=end, frontier=frontier.encode(), checkpoint=""), end, cursor, statements)


def sign_first(keys: LogKeys, cursor: Cursor, statements: Statements) -> None:
    """Sign the head of a tree that was built just now. A head that is signed is left alone.

    Raises:
        LedgerDamaged: the frontier does not fit the size.
    """
    head = read_head(cursor, statements)
    if head.checkpoint:
        return
    try:
        frontier = Frontier.decode(head.size, head.frontier)
    except InvalidProof as fault:
        raise LedgerDamaged(f"the head of the ledger is not that of a tree: {fault.message}") from None
    note = Sealer(keys).seal(head.size, frontier.root())
    write_head(Head(size=head.size, frontier=head.frontier, checkpoint=note), head.size, cursor, statements)


def _stored(statement: str, bounds: tuple[int, ...], cursor: Cursor) -> bytes:
    cursor.execute(statement, bounds)
    return b"".join(bytes(row[0]) for row in cursor.fetchall())


def _write_tile(tile: Tile, hashes: bytes, cursor: Cursor, statements: Statements) -> None:
    row = (tile.level, tile.index, tile_root(hashes), hashes)
    cursor.execute(statements.insert(tables.tiles, 1), row)
