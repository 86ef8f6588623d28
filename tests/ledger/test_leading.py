"""One thread commits for all who wait; whatever becomes of it, another leads next."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from kubemint.errors import LedgerUnavailable
from kubemint.ledger.statements import Cursor
from kubemint.ledger.writer import LedgerWriter, WritableDatabase
from ledger.adapters import Adapter, SqliteAdapter, assert_sound
from ledger.events import issued

THREADS = 32
EACH = 5
LONG = 60.0  # for a machine that is busy


class Ended(BaseException):
    """What ends a thread and is no error."""


class Interrupted:
    """A database whose first transaction waits for the others to come, and then ends the thread that leads."""

    def __init__(self, database: WritableDatabase) -> None:
        self.engine = database.engine
        self.close = database.close
        self.began, self.go_on = threading.Event(), threading.Event()
        self._database = database

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """Keep `WritableDatabase.transaction`, from the second one on."""
        if not self.began.is_set():
            self.began.set()
            assert self.go_on.wait(LONG)
            raise Ended
        with self._database.transaction() as cursor:
            yield cursor


def test_few_commits_for_many_who_come_again(adapter: Adapter) -> None:
    """Threads that ask again as soon as they are answered share commits: whoever is done waits for nobody."""
    adapter.count_commits()
    ledger = adapter.open()
    ready = threading.Barrier(THREADS)

    def ask(thread: int) -> None:
        ready.wait(LONG)
        for number in range(EACH):
            event = issued(1 + thread * EACH + number)
            with ledger.preparing():
                ledger.append(event)

    with ThreadPoolExecutor(THREADS) as pool:
        for asked in [pool.submit(ask, thread) for thread in range(THREADS)]:
            asked.result(LONG)
    assert adapter.commits() <= THREADS * EACH / 4
    assert_sound(adapter)


def test_a_leader_that_is_ended_leaves_nobody_waiting(sqlite_adapter: SqliteAdapter) -> None:
    """Where the thread that commits is ended from outside, those who wait are told, and the next one leads."""
    database = Interrupted(sqlite_adapter.database())
    writer = LedgerWriter(database, sqlite_adapter.keys, lambda _: None)
    with ThreadPoolExecutor(4) as pool:
        leading = pool.submit(writer.append, issued(1))
        assert database.began.wait(LONG)
        following = [pool.submit(writer.append, issued(serial)) for serial in (2, 3)]
        while len(writer._queue) < 2:
            threading.Event().wait(0.01)
        database.go_on.set()
        with pytest.raises(Ended):
            leading.result(LONG)
        for one in following:
            with pytest.raises(LedgerUnavailable):
                one.result(LONG)
        assert pool.submit(writer.append, issued(4)).result(LONG).entry.index == 0
    assert_sound(sqlite_adapter)
