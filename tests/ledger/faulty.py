"""A database that fails at a step of a transaction: before the step took effect, or after it.

The steps are the statements of a transaction, counted from 1, and after them its commit. What strikes is an
exception of the driver's, or the end of the process: `python -m ledger.faulty ADDRESS` reads lines
`STEP WHEN` and lets a process of its own append `batch()` and be killed there. It answers each line with the
indexes of the entries that the process was told of, and how the process ended.
"""

import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import psycopg

from kubemint.errors import LedgerUnavailable
from kubemint.ledger.statements import Cursor
from kubemint.ledger.writer import LedgerWriter, WritableDatabase
from kubemint.record import Event
from ledger.adapters import open_parts
from ledger.events import issued, refused, requested

When = Literal["before", "after"]
WHENS: tuple[When, ...] = ("before", "after")
KEY = "retry-1"
BATCH_ENTRIES = 12


class Faulty:
    """Keeps `WritableDatabase`; `strike` is called at the step that `fail` names, once."""

    def __init__(self, database: WritableDatabase, strike: Callable[[], object]) -> None:
        self.engine = database.engine
        self.close = database.close
        self.steps = 0  # of the last transaction, so far
        self.is_at_commit = False  # it came to its commit
        self._database = database
        self._strike = strike
        self._fault: tuple[int, When] | None = None

    def fail(self, step: int, when: When) -> None:
        """Let a step of the next transaction fail."""
        self._fault = (step, when)

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """Keep `WritableDatabase.transaction`, but for one step."""
        self.steps, self.is_at_commit = 0, False
        with self._database.transaction() as cursor:
            yield cast(Cursor, _FaultyCursor(cursor, self))
            self.steps, self.is_at_commit = self.steps + 1, True
            self.reach("before")
        try:
            self.reach("after")
        except (sqlite3.Error, psycopg.Error) as fault:
            raise LedgerUnavailable("nobody knows whether it was committed") from fault

    def reach(self, when: When) -> None:
        """Strike, if it is here."""
        if (self.steps, when) == self._fault:
            self._fault = None
            self._strike()


class _FaultyCursor:
    """A driver's cursor whose statements are the steps of a `Faulty`."""

    def __init__(self, cursor: Cursor, faulty: Faulty) -> None:
        self._cursor = cursor
        self._faulty = faulty

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        self._faulty.steps += 1
        self._faulty.reach("before")
        self._cursor.execute(statement, parameters)
        self._faulty.reach("after")


def batch(first_serial: int = 1) -> list[Event]:
    """Give events of several kinds, with a key: together they are written to most of the tables."""
    certificates = [issued(first_serial + number) for number in range(BATCH_ENTRIES - 3)]
    return [requested(f"r{first_serial}"), refused(), *certificates, issued(first_serial + BATCH_ENTRIES, key=KEY)]


def main(address: str) -> None:
    """Let a process die for each line of standard input."""
    print("ready", flush=True)
    for line in sys.stdin:
        step, when = line.split()
        pid = os.fork()
        if pid == 0:
            _append_and_die(address, int(step), cast(When, when))
        _, status = os.waitpid(pid, 0)
        print(f"ended {os.waitstatus_to_exitcode(status)}", flush=True)


def _append_and_die(address: str, step: int, when: When) -> None:
    store, keys = open_parts(address)
    database = Faulty(store.writable(), lambda: os.kill(os.getpid(), signal.SIGKILL))
    database.fail(step, when)
    try:
        recorded = LedgerWriter(database, keys, lambda _: None).append(*batch())
        for entry in recorded.entries:
            os.write(1, b"%d\n" % entry.index)
        os._exit(0)
    finally:
        os._exit(1)  # whatever was raised: this is a copy of the process that reads the lines


if __name__ == "__main__":
    main(*sys.argv[1:])
