"""What several appends write in one transaction: judged one after the other, written together."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from kubemint.errors import InvalidProof, LedgerDamaged
from kubemint.ledger import tables
from kubemint.ledger.archive import NO_ARCHIVE, Archive
from kubemint.ledger.conditions import Pending, first_unmet
from kubemint.ledger.growing import Head, Sealer, read_head, write_head, write_tiles
from kubemint.ledger.revoking import announce, lift, revoke
from kubemint.ledger.rows import REPEATABLE, Lifting, RequestChange, Revoking, Row, query_rows
from kubemint.ledger.statements import Cursor, Statements
from kubemint.record import IDEMPOTENCY_KEY, Condition, Entry, Event, EventKind, Recorded, Unmet, rfc3339
from kubemint.transparency.receipt import Receipt
from kubemint.transparency.tiles import ENTRY_MAX_OCTETS
from kubemint.transparency.tree import Growth, grow, leaf_hash, verify_inclusion

ROWS_A_STATEMENT: Final = 16  # bounds how many statements are kept ready

Added = tuple[Entry, Event]
_KeyOwner = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Unit:
    """What one append brings: events that are written together or not at all."""

    events: tuple[Event, ...]
    conditions: Sequence[Condition]
    otherwise: Callable[[Unmet], Event] | None

    @property
    def revokes(self) -> bool:
        """Tell whether it takes certificates back."""
        return any(event.kind is EventKind.REVOKED for event in self.events)


class Batch:
    """The appends of one transaction.

    `added` are the new entries with their events, in order; `head` is where the ledger stands with them, as
    soon as they are written.
    """

    def __init__(
        self, cursor: Cursor, statements: Statements, sealer: Sealer, archive: Archive = NO_ARCHIVE
    ) -> None:
        """Lock the head.

        Raises:
            LedgerUnavailable: it is not one to go on from.
        """
        self.added: list[Added] = []
        self._cursor = cursor
        self._statements = statements
        self._sealer = sealer
        self._archive = archive
        self._known: dict[_KeyOwner, Entry] = {}
        self._pending = Pending()
        self._receipts: dict[int, Receipt] = {}
        self.head = read_head(cursor, statements)
        self._old_size = self.head.size
        self._frontier = sealer.check(self.head)

    def take(self, unit: Unit) -> Recorded:
        """Judge a unit by what stands and what was taken before it, and tell what will stand for it."""
        for event in unit.events:
            if (earlier := self._earlier(event)) is not None:
                return Recorded(entries=(earlier,), repeated=True)
        unmet = first_unmet(unit.conditions, self._pending, self._cursor, self._statements)
        if unmet is None:
            return Recorded(entries=self._add(unit.events))
        told = () if unit.otherwise is None else (unit.otherwise(unmet),)
        return Recorded(entries=self._add(told), unmet=unmet)

    def write(self) -> None:
        """Write what was taken, let the tree grow by it, and move the head.

        Raises:
            LedgerUnavailable: the head is not where it was when it was locked, or a proof does not hold.
        """
        if not self.added:
            return
        leaf_hashes = [leaf_hash(event.body) for _, event in self.added]
        self._pending.rows[tables.entries] = list(map(_entry_row, self.added, leaf_hashes))
        write_rows(self._pending, self._cursor, self._statements)
        write_tiles(self._old_size, leaf_hashes, self._cursor, self._statements)
        growth = grow(self._frontier, leaf_hashes)
        size = growth.frontier.size
        checkpoint = self._sealer.seal(size, growth.root)
        self.head = Head(size=size, frontier=growth.frontier.encode(), checkpoint=checkpoint)
        write_head(self.head, self._old_size, self._cursor, self._statements)
        self._prove(growth, leaf_hashes)

    def receipt_of(self, recorded: Recorded) -> Receipt | None:
        """Give the receipt of what was taken and written, if it is a certificate."""
        return self._receipts.get(recorded.entries[-1].index) if recorded.entries else None

    def _prove(self, growth: Growth, leaf_hashes: Sequence[bytes]) -> None:
        """Make the receipts of certificates. Each proof is checked before anything is committed."""
        for (entry, event), hashed in zip(self.added, leaf_hashes, strict=True):
            if entry.kind is not EventKind.ISSUED:
                continue
            proof = growth.inclusion_proof(entry.index)
            try:
                verify_inclusion(entry.index, growth.frontier.size, hashed, proof, growth.root)
            except InvalidProof as fault:
                raise LedgerDamaged(f"entry {entry.index} is not in the tree: {fault.message}") from None
            self._receipts[entry.index] = Receipt(
                index=entry.index, proof=proof, checkpoint=self.head.checkpoint, extra=event.body
            )

    def _earlier(self, event: Event) -> Entry | None:
        """Find the entry that stands under an event's idempotency key, in the ledger or in this batch."""
        owner = _key_owner(event)
        if owner is None:
            return None
        if owner not in self._known:
            self._cursor.execute(self._statements.find_by_key, owner)
            if (row := self._cursor.fetchone()) is None:
                return None
            index, kind, body, hashed = row
            body = body or self._archive.body(index, bytes(hashed))
            self._known[owner] = Entry(index=index, kind=EventKind(kind), fields=json.loads(body))
        return self._known[owner]

    def _add(self, events: Sequence[Event]) -> tuple[Entry, ...]:
        entries = []
        for event in events:
            entry = Entry(index=self._old_size + len(self.added), kind=event.kind, fields=event.fields)
            self.added.append((entry, event))
            self._pending.add(query_rows(entry.index, entry.kind, entry.fields))
            if (owner := _key_owner(event)) is not None:
                self._known[owner] = entry
            entries.append(entry)
        return tuple(entries)


def write_rows(pending: Pending, cursor: Cursor, statements: Statements) -> None:
    """Write rows, table by table so that what refers to another comes after it, and then what they change."""
    for table in (tables.entries, *tables.QUERY_TABLES):
        rows = pending.rows.get(table, [])
        for start in range(0, len(rows), ROWS_A_STATEMENT):
            some = rows[start : start + ROWS_A_STATEMENT]
            values = [row[name] for row in some for name in table.columns.keys()]  # noqa: SIM118 - no dict
            cursor.execute(statements.insert(table, len(some)), values)
    for change in pending.changes:
        match change:
            case RequestChange():
                changed = (change.state.value, change.approvals, change.outcome_index, change.request)
                cursor.execute(statements.change_request, changed)
            case Revoking():
                revoke(change, cursor, statements.dialect)
                announce(cursor, statements.dialect)
            case Lifting():
                lift(change, cursor, statements.dialect)
                announce(cursor, statements.dialect)
            case _ as never:
                assert_never(never)


def _entry_row(added: Added, hashed: bytes) -> Row:
    entry, event = added
    if len(event.body) > ENTRY_MAX_OCTETS:
        raise ValueError(f"an entry of {len(event.body)} octets: at most {ENTRY_MAX_OCTETS} can be served")
    return {
        "index": entry.index,
        "time": rfc3339(event.time),
        "kind": event.kind.value,
        "body": event.body,
        "leaf_hash": hashed,
    }


def _key_owner(event: Event) -> _KeyOwner | None:
    """Tell whose event it is, if it can be asked for again."""
    if event.kind not in REPEATABLE or (key := event.fields.get(IDEMPOTENCY_KEY)) is None:
        return None
    return event.fields["requester"], key
