"""What several appends write in one transaction: judged one after the other, written together."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from kubemint.errors import LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.conditions import Pending, first_unmet
from kubemint.ledger.rows import REPEATABLE, Row, query_rows
from kubemint.ledger.statements import Cursor, Statements
from kubemint.record import IDEMPOTENCY_KEY, Condition, Entry, Event, EventKind, Recorded, Unmet, rfc3339
from kubemint.transparency.tree import leaf_hash

ROWS_A_STATEMENT: Final = 16  # bounds how many statements are kept ready

Added = tuple[Entry, Event]
_KeyOwner = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Unit:
    """What one append brings: events that are written together or not at all."""

    events: tuple[Event, ...]
    conditions: Sequence[Condition]
    otherwise: Callable[[Unmet], Event] | None


class Batch:
    """The appends of one transaction. `added` are the new entries with their events, in order."""

    def __init__(self, cursor: Cursor, statements: Statements) -> None:
        """Lock the head."""
        self.added: list[Added] = []
        self._cursor = cursor
        self._statements = statements
        self._known: dict[_KeyOwner, Entry] = {}
        self._pending = Pending()
        cursor.execute(statements.lock_head)
        self._old_size: int = cursor.fetchone()[0]

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
        """Write what was taken, and move the head.

        Raises:
            LedgerUnavailable: the head is not where it was when it was locked.
        """
        if not self.added:
            return
        self._pending.rows[tables.entries] = [_entry_row(*pair) for pair in self.added]
        write_rows(self._pending, self._cursor, self._statements)
        size = self._old_size
        self._cursor.execute(self._statements.move_head, (size + len(self.added), size))
        if self._cursor.rowcount != 1:
            raise LedgerUnavailable(f"the head of the ledger is no longer at {size}")

    def _earlier(self, event: Event) -> Entry | None:
        """Find the entry that stands under an event's idempotency key, in the ledger or in this batch."""
        owner = _key_owner(event)
        if owner is None:
            return None
        if owner not in self._known:
            self._cursor.execute(self._statements.find_by_key, owner)
            if (row := self._cursor.fetchone()) is None:
                return None
            self._known[owner] = Entry(index=row[0], kind=EventKind(row[1]), fields=json.loads(row[2]))
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
        changed = (change.state.value, change.approvals, change.outcome_index, change.request)
        cursor.execute(statements.change_request, changed)


def _entry_row(entry: Entry, event: Event) -> Row:
    return {
        "index": entry.index,
        "time": rfc3339(event.time),
        "kind": event.kind.value,
        "body": event.body,
        "leaf_hash": leaf_hash(event.body),
    }


def _key_owner(event: Event) -> _KeyOwner | None:
    """Tell whose certificate or request an event is, if it can be asked for again."""
    if event.kind not in REPEATABLE or (key := event.fields.get(IDEMPOTENCY_KEY)) is None:
        return None
    return event.fields["requester"], key
