"""Adding to the ledger: one transaction for all who wait (group commit).

Each thread leaves its event in the queue and takes the commit lock. Whoever holds it waits a moment for
those who are about to leave theirs, writes everything that waits and commits once; the others find
theirs done when the lock comes to them. Compared with a writer thread, nobody hands the interpreter
over and back for one commit.

The statements are compiled once, from the tables, and given to the driver as they are: building them
anew for each batch cost more than the rest of an issuance together.
"""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import ClauseElement, Engine, Table, bindparam, select, update

from kubemint.audit import IDEMPOTENCY_KEY, Entry, Event, EventKind, Recorded, rfc3339
from kubemint.errors import LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.rows import Row, query_rows
from kubemint.transparency.tree import leaf_hash

BATCH_MAX: Final = 128  # bounds how long one transaction holds the head, whatever waits

GATHER_SECONDS: Final = 0.01  # how long a commit waits for those who are about to write
ROWS_A_STATEMENT: Final = 16  # bounds how many statements are kept ready

_KeyOwner = tuple[str, str]
Added = tuple[Entry, Event]


class Cursor(Protocol):
    """What is used of a database driver's cursor (PEP 249), with parameters by position."""

    def execute(self, statement: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Run one statement."""

    def fetchone(self) -> Any:
        """Give the next row of the last result, or None."""


class WritableDatabase(Protocol):
    """A database as the writer needs it."""

    engine: Engine

    def transaction(self) -> AbstractContextManager[Cursor]:
        """Run what is inside as one transaction that excludes every other writer, durable at its end.

        Raises:
            LedgerUnavailable: it is not, or that cannot be told.
        """


@dataclass(slots=True)
class _Waiting:
    """An event on its way, and what became of it."""

    event: Event
    recorded: Recorded | None = None
    fault: LedgerUnavailable | None = None
    done: bool = False


class LedgerWriter:
    """Appends events. One for a process; threads share it.

    `announce` is called with the new entries of each commit, in their order, once they are durable.
    """

    def __init__(self, database: WritableDatabase, announce: Callable[[Sequence[Added]], None]) -> None:
        self._database = database
        self._announce = announce
        self._statements = Statements(database.engine)
        self._queue: deque[_Waiting] = deque()
        self._commit_lock = threading.Lock()
        self._all_queued = threading.Condition()
        self._announced = 0
        self._thread = threading.local()

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Keep `kubemint.issuance.Ledger.preparing`."""
        with self._all_queued:
            self._announced += 1
        self._thread.is_announced = True
        try:
            yield
        finally:
            self._no_longer_announced()

    def append(self, event: Event) -> Recorded:
        """Keep `kubemint.issuance.Ledger.append`."""
        waiting = _Waiting(event)
        self._queue.append(waiting)
        self._no_longer_announced()
        while not waiting.done:
            with self._commit_lock:
                if not waiting.done:
                    self._wait_for_the_others()
                    self._commit_waiting()
        if waiting.recorded is None:
            raise LedgerUnavailable("the record could not be written") from waiting.fault
        return waiting.recorded

    def check_writable(self, now: datetime) -> None:
        """Write to the ledger's disk and wait until it is durable, without adding an entry.

        Raises:
            LedgerUnavailable: it is not.
        """
        with self._commit_lock, self._database.transaction() as cursor:
            cursor.execute(self._statements.beat, (rfc3339(now),))

    def _no_longer_announced(self) -> None:
        """Take a thread off those who are waited for, once."""
        if getattr(self._thread, "is_announced", False):
            self._thread.is_announced = False
            with self._all_queued:
                self._announced -= 1
                if self._announced == 0:
                    self._all_queued.notify()

    def _wait_for_the_others(self) -> None:
        """Let those who have announced themselves come too, for a moment: one commit for all costs as one."""
        with self._all_queued:
            self._all_queued.wait_for(lambda: self._announced == 0, GATHER_SECONDS)

    def _commit_waiting(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_MAX))]
        try:
            with self._database.transaction() as cursor:
                recorded = self._append_all(cursor, [waiting.event for waiting in batch])
            # Committed: if the process dies here, the entries stay and nobody has received anything.
            for waiting, one in zip(batch, recorded, strict=True):
                waiting.recorded = one
            self._announce([(w.recorded.entry, w.event) for w in batch if w.recorded and not w.recorded.repeated])
        except LedgerUnavailable as fault:
            # The commit may have taken effect all the same; the clients retry and nothing unlogged exists.
            # Whoever came while this one tried has waited too, and would only try the same again.
            batch += [self._queue.popleft() for _ in range(len(self._queue))]
            for waiting in batch:
                waiting.fault = fault
        finally:
            for waiting in batch:
                waiting.done = True

    def _append_all(self, cursor: Cursor, events: Sequence[Event]) -> list[Recorded]:
        """Append events inside a transaction, and tell of each in their order what stands for it."""
        cursor.execute(self._statements.lock_head)
        next_index = cursor.fetchone()[0]
        known = self._entries_by_key(cursor, events)
        recorded: list[Recorded] = []
        added: list[Added] = []
        for event in events:
            owner = _key_owner(event)
            if owner is not None and owner in known:
                recorded.append(Recorded(entry=known[owner], repeated=True))
                continue
            entry = Entry(index=next_index + len(added), kind=event.kind, fields=event.fields)
            added.append((entry, event))
            recorded.append(Recorded(entry=entry, repeated=False))
            if owner is not None:
                known[owner] = entry
        if added:
            self._insert(cursor, added)
            cursor.execute(self._statements.move_head, (next_index + len(added),))
        return recorded

    def _insert(self, cursor: Cursor, added: Sequence[Added]) -> None:
        rows: dict[Table, list[Row]] = {tables.entries: [_entry_row(*pair) for pair in added]}
        for entry, _ in added:
            found = query_rows(entry.index, entry.kind, entry.fields)
            rows.setdefault(found.table, []).append(found.row)
            rows.setdefault(tables.entry_groups, []).extend(found.groups)
        for table, table_rows in rows.items():
            for start in range(0, len(table_rows), ROWS_A_STATEMENT):
                some = table_rows[start : start + ROWS_A_STATEMENT]
                values = [row[name] for row in some for name in table.columns.keys()]  # noqa: SIM118 - no dict
                cursor.execute(self._statements.insert(table, len(some)), values)

    def _entries_by_key(self, cursor: Cursor, events: Sequence[Event]) -> dict[_KeyOwner, Entry]:
        """Find the entries that already stand under the idempotency keys of a batch."""
        known: dict[_KeyOwner, Entry] = {}
        for owner in {owner for event in events if (owner := _key_owner(event)) is not None}:
            cursor.execute(self._statements.find_by_key, owner)
            if (row := cursor.fetchone()) is not None:
                known[owner] = Entry(index=row[0], kind=EventKind.ISSUED, fields=json.loads(row[1]))
        return known


class Statements:
    """The writer's SQL, compiled once for a database's dialect; parameters are given by position."""

    def __init__(self, engine: Engine) -> None:
        head, keys, bodies = tables.head.c, tables.certificates.c, tables.entries.c
        by_key = (
            select(keys.entry_index, bodies.body)
            .join(tables.entries, bodies.index == keys.entry_index)
            .where(keys.requester == bindparam("requester"))
            .where(keys.idempotency_key == bindparam("idempotency_key"))
        )
        self._engine = engine
        self._inserts: dict[tuple[Table, int], str] = {}
        self.lock_head = self._compile(select(head.size).with_for_update())
        self.move_head = self._compile(update(tables.head).values(size=bindparam("size")))
        self.beat = self._compile(update(tables.heartbeat).values(time=bindparam("time")))
        self.find_by_key = self._compile(by_key)

    def insert(self, table: Table, rows: int) -> str:
        """Give the statement that adds so many rows, whose values follow each other in the columns' order.

        The driver gives the interpreter up once a statement. With a statement for each row, the one thread
        that all others wait for would queue for the interpreter once a row.
        """
        if (table, rows) not in self._inserts:
            names = [column.name for column in table.columns]
            values: list[dict[str, Any]] = [
                {name: bindparam(f"{name}_{row}") for name in names} for row in range(rows)
            ]
            self._inserts[table, rows] = self._compile(table.insert().values(values))
        return self._inserts[table, rows]

    def _compile(self, statement: ClauseElement) -> str:
        return str(statement.compile(self._engine))


def _entry_row(entry: Entry, event: Event) -> Row:
    return {
        "index": entry.index,
        "time": rfc3339(event.time),
        "kind": event.kind.value,
        "body": event.body,
        "leaf_hash": leaf_hash(event.body),
    }


def _key_owner(event: Event) -> _KeyOwner | None:
    key = event.fields.get(IDEMPOTENCY_KEY)
    return None if key is None else (event.fields["requester"], key)
