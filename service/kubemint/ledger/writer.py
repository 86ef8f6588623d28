"""Adding to the ledger: one transaction for all who wait (group commit).

Each thread leaves its event in the queue and takes the commit lock. Whoever holds it writes everything
that waits, its own event included, and commits once; the others find theirs done when the lock comes
to them. Compared with a writer thread, nobody hands the interpreter over and back for one commit.
"""

import json
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine, select, tuple_, update
from sqlalchemy.exc import SQLAlchemyError

from kubemint.audit import IDEMPOTENCY_KEY, Entry, Event, EventKind, rfc3339
from kubemint.errors import LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.rows import QueryRows, query_rows
from kubemint.transparency.tree import leaf_hash

BATCH_MAX: Final = 128  # bounds how long one transaction holds the head, whatever waits

_KeyOwner = tuple[str, str]


@dataclass(slots=True)
class _Waiting:
    """An event on its way, and what became of it."""

    event: Event
    entry: Entry | None = None
    fault: LedgerUnavailable | None = None
    done: bool = field(default=False)


class LedgerWriter:
    """Appends events. One for a process; threads share it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: deque[_Waiting] = deque()
        self._commit_lock = threading.Lock()

    def append(self, event: Event) -> Entry:
        """Keep `kubemint.issuance.Ledger.append`."""
        waiting = _Waiting(event)
        self._queue.append(waiting)
        while not waiting.done:
            with self._commit_lock:
                if not waiting.done:
                    self._commit_waiting()
        if waiting.entry is None:
            raise LedgerUnavailable("the record could not be written") from waiting.fault
        return waiting.entry

    def check_writable(self, now: datetime) -> None:
        """Write to the ledger's disk and wait until it is durable, without adding an entry.

        Raises:
            LedgerUnavailable: it is not.
        """
        try:
            with self._engine.begin() as connection:
                connection.execute(update(tables.heartbeat).values(time=rfc3339(now)))
        except SQLAlchemyError as fault:
            raise LedgerUnavailable("the ledger is not writable") from fault

    def _commit_waiting(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_MAX))]
        try:
            with self._engine.begin() as connection:
                entries = _append_all(connection, [waiting.event for waiting in batch])
            # Committed: if the process dies here, the entries stay and nobody has received anything.
            for waiting, entry in zip(batch, entries, strict=True):
                waiting.entry = entry
        except SQLAlchemyError as fault:
            # The commit may have taken effect all the same; the clients retry and nothing unlogged exists.
            for waiting in batch:
                waiting.fault = LedgerUnavailable(str(fault))
        finally:
            for waiting in batch:
                waiting.done = True


def _append_all(connection: Connection, events: Sequence[Event]) -> list[Entry]:
    """Append events inside a transaction, and give an entry for each in their order."""
    next_index = connection.execute(select(tables.head.c.size).with_for_update()).scalar_one()
    known = _entries_by_key(connection, events)
    entries: list[Entry] = []
    added: list[tuple[Entry, Event]] = []
    for event in events:
        owner = _key_owner(event)
        if owner is not None and owner in known:
            entries.append(known[owner])
            continue
        entry = Entry(index=next_index + len(added), kind=event.kind, fields=event.fields)
        added.append((entry, event))
        entries.append(entry)
        if owner is not None:
            known[owner] = entry
    if added:
        _insert(connection, added)
        connection.execute(update(tables.head).values(size=next_index + len(added)))
    return entries


def _insert(connection: Connection, added: Sequence[tuple[Entry, Event]]) -> None:
    connection.execute(
        tables.entries.insert(),
        [
            {
                "index": entry.index,
                "time": rfc3339(event.time),
                "kind": event.kind.value,
                "body": event.body,
                "leaf_hash": leaf_hash(event.body),
            }
            for entry, event in added
        ],
    )
    rows: list[QueryRows] = [query_rows(entry.index, entry.kind, entry.fields) for entry, _ in added]
    for table in (tables.certificates, tables.refusals):
        if table_rows := [found.row for found in rows if found.table is table]:
            connection.execute(table.insert(), table_rows)
    if group_rows := [group for found in rows for group in found.groups]:
        connection.execute(tables.entry_groups.insert(), group_rows)


def _entries_by_key(connection: Connection, events: Sequence[Event]) -> dict[_KeyOwner, Entry]:
    """Find the entries that already stand under the idempotency keys of a batch."""
    owners = [owner for event in events if (owner := _key_owner(event)) is not None]
    if not owners:
        return {}
    columns = tables.certificates.c
    rows = connection.execute(
        select(columns.requester, columns.idempotency_key, columns.entry_index, tables.entries.c.body)
        .join(tables.entries, tables.entries.c.index == columns.entry_index)
        .where(tuple_(columns.requester, columns.idempotency_key).in_(owners))
    )
    return {
        (row.requester, row.idempotency_key): Entry(
            index=row.entry_index, kind=EventKind.ISSUED, fields=json.loads(row.body)
        )
        for row in rows
    }


def _key_owner(event: Event) -> _KeyOwner | None:
    key = event.fields.get(IDEMPOTENCY_KEY)
    return None if key is None else (event.fields["requester"], key)
