"""`Ledger.preparing`, on every database: it brings requests together, and nobody waits for who never comes."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from kubemint.errors import LedgerUnavailable
from kubemint.record import Entry
from ledger.adapters import BREAK, MEND, SHORT_WAIT, Adapter, Ledger, assert_sound, indexes
from ledger.events import issued

THREADS = 16
ROUNDS = 10
LONG = 60.0  # for a machine that is busy; what is waited for in vain takes longer
AT_ONCE = 5.0  # for the same machine; what needs nobody else takes a thousandth of it


Result = TypeVar("Result")


class Interrupted(Exception):
    """What a request that is refused, or that fails, ends its preparation with."""


def test_appends_of_many_threads_share_commits(adapter: Adapter) -> None:
    """Those who append what they prepared while a commit is under way are written together by the next one."""
    adapter.count_commits()
    ledger = adapter.open()
    with ThreadPoolExecutor(THREADS) as pool:
        with adapter.held():
            issues = [pool.submit(_issue, ledger, serial) for serial in range(1, THREADS + 1)]
            time.sleep(0.5)  # all of them are queued, behind the one that waits for the lock
        entries = [issue.result(LONG) for issue in issues]
    assert_sound(adapter, entries)
    assert sorted(entry.index for entry in entries) == list(range(THREADS))
    assert adapter.commits() <= 3  # the first one's own, and one or two for all the others


def test_an_append_that_nobody_prepared_is_written(adapter: Adapter) -> None:
    """Preparing is an announcement and no permission: an append without it works, beside those with it."""
    ledger = adapter.open()
    with ledger.preparing():
        assert _together(lambda _: ledger.append(issued(1)).entry, 1, AT_ONCE)[0].index == 0
        assert ledger.append(issued(2)).entry.index == 1


def test_what_is_prepared_may_read(adapter: Adapter) -> None:
    """Whether a key was used is asked while a request is prepared."""
    ledger = adapter.open()
    for repeated in (False, True):
        with ledger.preparing():
            assert (ledger.find_by_key("token:ci", "k") is not None) is repeated
            assert ledger.append(issued(1 + repeated, key="k")).entry.index == 0
    assert indexes(adapter) == [0]


@pytest.mark.parametrize("fault", [Interrupted, KeyboardInterrupt, None])
def test_who_leaves_without_an_append_keeps_nobody(adapter: Adapter, fault: type[BaseException] | None) -> None:
    """A preparation that ends in an exception, or in a return, is over: nobody waits for it, nor for a turn."""
    ledger = adapter.open()

    def leave() -> None:
        with ledger.preparing():
            if fault is not None:
                raise fault

    for _ in range(3):
        if fault is None:
            leave()
        else:
            with pytest.raises(fault):
                leave()
    assert sorted(entry.index for entry in _together(lambda number: _issue(ledger, number + 1), 2, AT_ONCE)) == [
        0,
        1,
    ]


def test_those_who_come_and_those_who_leave(adapter: Adapter) -> None:
    """Of many at once, those who are refused cost the others nothing, and everyone who appends gets an entry."""
    ledger, barrier = adapter.open(), threading.Barrier(THREADS)

    def request(thread: int) -> list[Entry]:
        barrier.wait()
        entries = []
        for serial in range(thread * ROUNDS + 1, (thread + 1) * ROUNDS + 1):
            if (thread + serial) % 2:
                with pytest.raises(Interrupted), ledger.preparing():
                    raise Interrupted
            else:
                entries.append(_issue(ledger, serial))
        return entries

    entries = [entry for found in _together(request, THREADS) for entry in found]
    assert_sound(adapter, entries)
    assert sorted(entry.index for entry in entries) == list(range(THREADS * ROUNDS // 2))


def test_one_that_takes_its_time_does_not_hold_up_a_commit(adapter: Adapter) -> None:
    """Whoever commits waits a moment for one that is still preparing, and no longer."""
    ledger, is_preparing, go_on = adapter.open(), threading.Event(), threading.Event()

    def linger() -> Entry:
        with ledger.preparing():
            is_preparing.set()
            go_on.wait(LONG)
            return ledger.append(issued(2)).entry

    with ThreadPoolExecutor(1) as pool:
        lingering = pool.submit(linger)
        try:
            assert is_preparing.wait(LONG)
            started = time.monotonic()
            assert ledger.append(issued(1)).entry.index == 0
            assert time.monotonic() - started < AT_ONCE
        finally:
            go_on.set()
        assert lingering.result(LONG).index == 1


def test_the_next_one_prepares_while_another_waits_for_the_disk(adapter: Adapter) -> None:
    """Who waits for the database lets others prepare and append, and all of them are written."""
    ledger, came = adapter.open(), threading.Semaphore(0)

    def issue(serial: int) -> Entry:
        with ledger.preparing():
            came.release()
            return ledger.append(issued(serial)).entry

    with ThreadPoolExecutor(4) as pool:
        with adapter.held():
            entries = [pool.submit(issue, serial) for serial in range(1, 5)]
            assert all(came.acquire(timeout=AT_ONCE) for _ in entries)
            assert not any(entry.done() for entry in entries)
        assert sorted(entry.result(LONG).index for entry in entries) == [0, 1, 2, 3]


def test_a_failed_append_keeps_nobody(adapter: Adapter) -> None:
    """After an append that raised, the same thread and others prepare and append again."""
    ledger = adapter.open(lock_wait=SHORT_WAIT)
    all_failed = threading.Barrier(4, lambda: adapter.execute(MEND))

    def fail_and_go_on(thread: int) -> Entry:
        with pytest.raises(LedgerUnavailable):
            _issue(ledger, thread + 1)
        all_failed.wait()
        return _issue(ledger, thread + 1)

    adapter.execute(BREAK)
    entries = _together(fail_and_go_on, 4)
    assert_sound(adapter, entries)
    assert sorted(entry.index for entry in entries) == [0, 1, 2, 3]


def test_a_second_append_in_one_preparation_is_written(adapter: Adapter) -> None:
    """What is prepared leads to one append; a second one is like one that nobody prepared."""
    ledger = adapter.open()
    with ledger.preparing():
        assert [ledger.append(issued(serial)).entry.index for serial in (1, 2)] == [0, 1]
    assert _issue(ledger, 3).index == 2


def _together(work: Callable[[int], Result], threads: int, seconds: float = LONG) -> list[Result]:
    """Do the work in many threads, which hold up nothing if they are stuck: then the test fails."""
    results: dict[int, Result] = {}

    def run(thread: int) -> None:
        results[thread] = work(thread)

    running = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)]
    for thread in running:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in running:
        thread.join(max(0, deadline - time.monotonic()))
    assert sorted(results) == list(range(threads))
    return [results[number] for number in range(threads)]


def _issue(ledger: Ledger, serial: int) -> Entry:
    with ledger.preparing():
        return ledger.append(issued(serial)).entry
