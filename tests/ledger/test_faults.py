"""Each step of an append fails, or fails after it took effect, or the process is killed there: on every database.

Whatever happens, the record is whole, every entry that somebody was told of is in it, and it goes on.
"""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from kubemint.errors import LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.writer import LedgerWriter
from kubemint.record import Recorded
from kubemint.transparency.receipt import verify_receipt
from ledger.adapters import Adapter, assert_sound, head_size, indexes, stored
from ledger.events import issued
from ledger.faulty import BATCH_ENTRIES, KEY, WHENS, Faulty, When, batch
from ledger.filling import fill

STARTS = (250, 65_530)  # the batch fills a tile of the first level, or of both
STEPS_LEAST = 11  # of the batch: it writes to six tables, stores a tile, moves the head, and commits
_TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize("start", STARTS)
def test_each_step_fails(adapter: Adapter, start: int) -> None:
    """A step that fails takes the whole append back; the next append of the same process is written."""
    fill(adapter, start)
    database = Faulty(adapter.database(), _fault_of(adapter))
    writer, head = _writer(adapter, database), stored(adapter, tables.head)
    failed = 0
    for step, when in _steps(database):
        database.fail(step, when)
        with pytest.raises(LedgerUnavailable):
            writer.append(*batch())
        assert stored(adapter, tables.head) == head
        assert adapter.announced == []
        failed += 1
    assert failed >= 2 * STEPS_LEAST - 1
    recorded = writer.append(*batch())
    assert [entry.index for entry in recorded.entries] == list(range(start, start + BATCH_ENTRIES))
    assert adapter.announced == list(recorded.entries)
    _assert_proven(adapter, recorded)
    assert_sound(adapter, recorded.entries)


def test_a_commit_that_took_effect_unheard(adapter: Adapter) -> None:
    """Where a commit took effect and nobody heard of it, a retry under the key finds it, whoever is asked."""
    start = STARTS[0]
    fill(adapter, start)
    database = Faulty(adapter.database(), _fault_of(adapter))
    writer = _writer(adapter, database)
    database.fail(_count_steps(adapter, database), "after")
    with pytest.raises(LedgerUnavailable):
        writer.append(*batch())
    assert head_size(adapter) == start + BATCH_ENTRIES
    for one in (writer, _writer(adapter, Faulty(adapter.database(), _fault_of(adapter)))):
        again = one.append(issued(999, key=KEY))
        assert (again.repeated, again.entry.index) == (True, start + BATCH_ENTRIES - 1)
        _assert_proven(adapter, one.append(issued(1000 + head_size(adapter))))
    assert_sound(adapter, [again.entry])


def test_a_process_that_is_killed_at_each_step(adapter: Adapter) -> None:
    """A process that is killed at any step leaves the ledger as it was, or with all that it appended."""
    start = STARTS[1]
    fill(adapter, start)
    head = stored(adapter, tables.head)
    with _dying(adapter) as die:
        for step in range(1, 100):
            for when in WHENS:
                told, ended = die(step, when)
                if stored(adapter, tables.head) != head or ended == 0:
                    break
                assert (told, ended) == ([], -9)
            else:
                continue
            break
    assert step >= STEPS_LEAST
    # The last one was killed when it had committed and told nobody.
    assert (when, told, ended) == ("after", [], -9)
    assert head_size(adapter) == start + BATCH_ENTRIES
    again = adapter.open().append(issued(999, key=KEY))
    assert (again.repeated, again.entry.index) == (True, start + BATCH_ENTRIES - 1)
    assert adapter.open().append(issued(1000)).entry.index == start + BATCH_ENTRIES
    assert_sound(adapter, [again.entry])


def test_a_process_that_is_not_killed(adapter: Adapter) -> None:
    """What a process was told of before it ended is on record."""
    with _dying(adapter) as die:
        told, ended = die(99, "before")
    assert (told, ended) == (list(range(BATCH_ENTRIES)), 0)
    assert indexes(adapter) == told
    assert_sound(adapter)


@pytest.mark.parametrize("when", WHENS)
def test_a_fault_of_the_rows_is_tried_again_one_by_one(adapter: Adapter, when: When) -> None:
    """Where the database refuses a row of a batch, each append is tried for itself, and counts once."""
    violation = sqlite3.IntegrityError if "sqlite" in adapter.address else psycopg.IntegrityError
    database = Faulty(adapter.database(), _raising(violation("no such row")))
    writer = _writer(adapter, database)
    recorded: list[Recorded] = []
    for step in (1, 2, 3, 4, 5):
        database.fail(step, when)
        with ThreadPoolExecutor(4) as pool:
            with adapter.held():
                appends = [pool.submit(writer.append, issued(step * 10 + number)) for number in range(4)]
                time.sleep(0.1)
            faults = [append.exception() for append in appends]
        # Alone in its batch, the one that came first may have met the fault by itself.
        assert [type(fault) for fault in faults if fault is not None] in ([], [LedgerUnavailable])
        recorded += [append.result() for append in appends if append.exception() is None]
    assert len(recorded) >= 15
    for one in recorded:
        _assert_proven(adapter, one)
    assert sorted(one.entry.index for one in recorded) == indexes(adapter)
    assert adapter.announced == sorted((one.entry for one in recorded), key=lambda entry: entry.index)
    assert_sound(adapter, [one.entry for one in recorded])


def _steps(database: Faulty) -> Iterator[tuple[int, When]]:
    """Give each step at which a transaction is taken back: all, but a commit after it took effect."""
    for step in range(1, 100):
        yield step, "before"
        if database.is_at_commit:
            return
        yield step, "after"


def _writer(adapter: Adapter, database: Faulty) -> LedgerWriter:
    return LedgerWriter(
        database, adapter.keys, lambda added: adapter.announced.extend(entry for entry, _ in added)
    )


def _count_steps(adapter: Adapter, database: Faulty) -> int:
    """Count the steps of a batch, and have it taken back."""
    for step, when in _steps(database):
        database.fail(step, when)
        with pytest.raises(LedgerUnavailable):
            _writer(adapter, database).append(*batch())
    return database.steps


def _fault_of(adapter: Adapter) -> Callable[[], NoReturn]:
    driver = sqlite3 if "sqlite" in adapter.address else psycopg
    return _raising(driver.OperationalError("it broke"))


def _raising(fault: Exception) -> Callable[[], NoReturn]:
    def strike() -> NoReturn:
        raise fault

    return strike


def _assert_proven(adapter: Adapter, recorded: Recorded) -> None:
    """Check that the receipt that came with an entry holds, and the log's own of now."""
    for receipt in (recorded.receipt, adapter.log().receipt(recorded.entry.index)):
        assert receipt is not None
        assert receipt.extra is not None
        assert verify_receipt(receipt, adapter.keys.signer.verifier, receipt.extra).size > recorded.entry.index
        assert receipt.index == recorded.entry.index


@contextmanager
def _dying(adapter: Adapter) -> Iterator[Callable[[int, When], tuple[list[int], int]]]:
    """Give what lets a process append and be killed: it gives what that one was told of, and its exit code."""
    command = (sys.executable, "-m", "ledger.faulty", adapter.address)
    with subprocess.Popen(
        command, cwd=_TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout
        assert stdout.readline() == "ready\n"

        def die(step: int, when: When) -> tuple[list[int], int]:
            stdin.write(f"{step} {when}\n")
            stdin.flush()
            told: list[int] = []
            while not (line := stdout.readline()).startswith("ended "):
                told.append(int(line))
            return told, int(line.removeprefix("ended "))

        yield die
        stdin.close()
