"""A batch in which one append cannot be written: it fails alone, and the others are written."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import pytest

from kubemint.errors import LedgerUnavailable
from kubemint.record import Event, Recorded, RequestOpen, Unmet
from ledger.adapters import SHORT_WAIT, Adapter, Ledger, SqliteAdapter, assert_sound, indexes
from ledger.events import issued, refused


def test_one_that_cannot_be_written_takes_no_other_with_it(adapter: Adapter) -> None:
    """Of appends that are committed together, the one that the database does not take fails, and no other."""
    ledger = adapter.open()
    kept = ledger.append(issued(1)).entry
    events = [issued(serial) for serial in (2, 3, 1, 4, 5)]
    recorded, faults = _append_together(adapter, ledger, events)
    assert [type(fault) for fault in faults] == [LedgerUnavailable]
    entries = [one.entry for one in recorded]
    assert {entry.fields["serialNumber"] for entry in entries} == {"02", "03", "04", "05"}
    assert sorted(indexes(adapter)) == [0, 1, 2, 3, 4]
    assert_sound(adapter, [kept, *entries])


def test_what_is_told_of_a_split_batch_is_told_once(sqlite_adapter: SqliteAdapter) -> None:
    """A batch that is written one by one is announced entry by entry, in their order, and no entry twice."""
    ledger = sqlite_adapter.open()
    ledger.append(issued(1))
    _append_together(sqlite_adapter, ledger, [issued(2), issued(1), refused(), issued(3)])
    assert [entry.index for entry in sqlite_adapter.announced] == [0, 1, 2, 3]


def test_one_that_fails_in_our_code_takes_no_other_with_it(adapter: Adapter) -> None:
    """An event that cannot be made, or be encoded, fails alone."""
    ledger = adapter.open()
    unsound = issued(1)
    events = [issued(2), replace(unsound, fields={**unsound.fields, "user": "\ud800"}), issued(3)]
    recorded, faults = _append_together(adapter, ledger, events)
    assert [type(fault) for fault in faults] == [LedgerUnavailable]
    assert_sound(adapter, [one.entry for one in recorded])

    def fail(_: Unmet) -> Event:
        raise ZeroDivisionError

    with pytest.raises(LedgerUnavailable) as fault:
        ledger.append(issued(4), conditions=[RequestOpen(request="r1", approvals=0)], otherwise=fail)
    assert isinstance(fault.value.__cause__, ZeroDivisionError)
    assert indexes(adapter) == [0, 1]


def test_a_database_that_is_away_is_not_tried_once_more_for_each(adapter: Adapter) -> None:
    """Where the database itself fails, nobody is tried alone: all who wait give up together."""
    ledger = adapter.open(lock_wait=SHORT_WAIT)
    ledger.append(issued(100))
    started = time.monotonic()
    with adapter.held():
        _, faults = _append_together(adapter, ledger, [issued(serial) for serial in range(1, 9)], is_held=True)
    assert [type(fault) for fault in faults] == [LedgerUnavailable] * 8
    assert time.monotonic() - started < SHORT_WAIT.total_seconds() * 4


def _append_together(
    adapter: Adapter, ledger: Ledger, events: Sequence[Event], *, is_held: bool = False
) -> tuple[list[Recorded], list[BaseException]]:
    """Append events by as many threads while another holds the lock: most are in one batch."""
    with ThreadPoolExecutor(len(events)) as pool:
        with nullcontext() if is_held else adapter.held():
            appends = [pool.submit(ledger.append, event) for event in events]
            time.sleep(0.3)
        faults = [fault for append in appends if (fault := append.exception()) is not None]
        return [append.result() for append in appends if append.exception() is None], faults
