"""When the database fails: everyone who waits learns it, nothing is half there, and it works again by itself."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest

from kubemint.errors import LedgerUnavailable
from kubemint.ledger import tables
from kubemint.record import Entry
from ledger.adapters import BREAK, MEND, SHORT_WAIT, Adapter, assert_sound, indexes, stored
from ledger.events import issued, refused

WAITERS = 8


def test_a_failed_batch_is_told_to_all_who_wait(adapter: Adapter) -> None:
    """If the database fails in the middle of a batch, every append in it raises LedgerUnavailable."""
    ledger = adapter.open(lock_wait=SHORT_WAIT)
    kept = ledger.append(issued(100)).entry
    adapter.execute(BREAK)
    with ThreadPoolExecutor(WAITERS) as pool:
        with adapter.held():
            appends = [pool.submit(ledger.append, issued(serial)) for serial in range(1, WAITERS + 1)]
            time.sleep(0.2)
        faults = [append.exception() for append in appends]
    assert [type(fault) for fault in faults] == [LedgerUnavailable] * WAITERS
    assert_sound(adapter, [kept])


def test_a_failed_batch_leaves_nothing(adapter: Adapter) -> None:
    """What was written before the database failed is taken back, in every table."""
    ledger = adapter.open()
    adapter.execute(BREAK)
    for event in (issued(1), issued(2, key="k"), refused()):
        with pytest.raises(LedgerUnavailable):
            ledger.append(event)
    assert [stored(adapter, table) for table in (tables.entries, tables.certificates, tables.refusals)] == [[]] * 3
    assert ledger.find_by_key("token:ci", "k") is None


def test_a_serial_number_is_never_recorded_twice(adapter: Adapter) -> None:
    """A second certificate with a serial number that is on record is not written."""
    ledger = adapter.open()
    first = ledger.append(issued(1)).entry
    with pytest.raises(LedgerUnavailable):
        ledger.append(issued(1))
    assert_sound(adapter, [first])
    assert indexes(adapter) == [0]


def test_a_reader_says_that_it_cannot_read(adapter: Adapter) -> None:
    """Where the tables cannot be read, LedgerUnavailable says so, and not that nothing was found."""
    reader = adapter.reader()
    adapter.open().append(issued(1, key="k"))
    adapter.execute("ALTER TABLE certificates RENAME TO away")
    adapter.execute("ALTER TABLE idempotency_keys RENAME TO away_too")
    for find in (
        lambda: reader.find_by_key("token:ci", "k"),
        lambda: reader.find_by_serial("01"),
        lambda: reader.find_by_credential_id("X509SHA256=" + "0" * 64),
    ):
        with pytest.raises(LedgerUnavailable):
            find()


def test_a_lock_that_another_holds_ends_the_wait(adapter: Adapter) -> None:
    """While another process holds the ledger, append gives up after about the time that was set."""
    ledger = adapter.open(lock_wait=SHORT_WAIT)
    ledger.append(issued(1))
    with adapter.held():
        started = time.monotonic()
        with pytest.raises(LedgerUnavailable):
            ledger.append(issued(2))
        waited = time.monotonic() - started
    assert SHORT_WAIT.total_seconds() * 0.9 <= waited < SHORT_WAIT.total_seconds() * 4


def test_all_who_wait_for_a_lock_give_up(adapter: Adapter) -> None:
    """Of many who wait, those who came first and those behind them give up within two such times."""
    ledger = adapter.open(lock_wait=SHORT_WAIT)
    ledger.append(issued(100))
    with adapter.held(), ThreadPoolExecutor(WAITERS) as pool:
        started = time.monotonic()
        appends = [pool.submit(ledger.append, issued(serial)) for serial in range(1, WAITERS + 1)]
        faults = [append.exception() for append in appends]
        waited = time.monotonic() - started
    assert [type(fault) for fault in faults] == [LedgerUnavailable] * WAITERS
    assert waited < SHORT_WAIT.total_seconds() * 4


def test_nothing_is_lost_after_a_lock(adapter: Adapter) -> None:
    """When the lock is given back, the ledger goes on; what was refused meanwhile has left nothing."""
    ledger = adapter.open(lock_wait=SHORT_WAIT)
    entries = [ledger.append(issued(1)).entry]
    with adapter.held(), pytest.raises(LedgerUnavailable):
        ledger.append(issued(2))
    entries.append(ledger.append(issued(3)).entry)
    assert [entry.index for entry in entries] == [0, 1]
    assert_sound(adapter, entries)


def test_a_lock_that_is_given_back_in_time_costs_nothing(adapter: Adapter) -> None:
    """An append that waits for a shorter time than was set is written."""
    ledger = adapter.open(lock_wait=timedelta(seconds=20))
    with ThreadPoolExecutor(1) as pool:
        with adapter.held():
            append: Future[Entry] = pool.submit(ledger.append, issued(1))
            time.sleep(0.1)
            assert not append.done()
        assert append.result().entry.index == 0


def test_reading_goes_on_while_another_writes(adapter: Adapter) -> None:
    """A reader does not wait for a writer."""
    entry = adapter.open().append(issued(1)).entry
    reader = adapter.reader()
    with adapter.held():
        started = time.monotonic()
        assert reader.find_by_serial("01") == entry
        assert time.monotonic() - started < 2


def test_it_works_again_without_a_restart(adapter: Adapter) -> None:
    """Once the database works again, so does the ledger that is open, and the index goes on without a gap."""
    ledger = adapter.open()
    first = ledger.append(issued(1)).entry
    adapter.execute(BREAK)
    with pytest.raises(LedgerUnavailable):
        ledger.append(issued(2))
    adapter.execute(MEND)
    assert ledger.append(issued(3)).entry.index == 1
    assert_sound(adapter, [first])


def test_a_failed_batch_gives_the_lock_back(adapter: Adapter) -> None:
    """Other processes can write as soon as a batch has failed, whoever still looks at the fault."""
    failing, other = adapter.open(), adapter.open(lock_wait=SHORT_WAIT)
    failing.append(issued(1))
    with pytest.raises(LedgerUnavailable) as fault:
        failing.append(issued(1))  # its serial number is on record
    assert other.append(issued(2)).entry.index == 1
    assert fault.value.code == "ledger-unavailable"


def test_a_head_that_somebody_else_moved_stops_the_batch(adapter: Adapter) -> None:
    """Where the head is not what it was when it was locked, nothing is written."""
    ledger = adapter.open()
    first = ledger.append(issued(1)).entry
    with adapter.intruding():
        for _ in range(2):
            with pytest.raises(LedgerUnavailable):
                ledger.append(issued(2))
    assert_sound(adapter, [first])
    assert ledger.append(issued(2)).entry.index == 1


def test_a_ledger_without_a_head_writes_nothing(adapter: Adapter) -> None:
    """Without its head, a ledger does not begin to count anew."""
    ledger = adapter.open()
    ledger.append(issued(1))
    adapter.execute("DELETE FROM head")
    with pytest.raises(LedgerUnavailable):
        ledger.append(issued(2))
    assert indexes(adapter) == [0]
