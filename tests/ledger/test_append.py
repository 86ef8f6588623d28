"""What `kubemint.issuance.Ledger` promises, on every database."""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, update
from sqlalchemy.exc import DBAPIError

from kubemint.ledger import tables
from kubemint.record import Entry, Event, EventKind
from ledger.adapters import Adapter, assert_sound, head_size, indexes, stored
from ledger.events import issued, refused, unfit

THREADS = 16
KINDS = {
    "issued": lambda: issued(7, user="jané", groups=("developers", "team-ä")),
    "issued under a key": lambda: issued(7, key="retry-1"),
    "issued without groups": lambda: issued(7, groups=()),
    "refused": refused,
    "unfit": unfit,
    "unfit, its subject read": lambda: unfit(subject="CN=jané,O=system:masters"),
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())


def test_indexes_count_from_zero_without_a_gap(adapter: Adapter) -> None:
    """Entries get the indexes 0, 1, 2, … in the order in which they were added, whatever their kind."""
    ledger = adapter.open()
    entries = [ledger.append(event).entry for event in (issued(1), refused(), unfit(), issued(2), issued(3))]
    assert [entry.index for entry in entries] == [0, 1, 2, 3, 4]
    assert_sound(adapter, entries)


def test_a_new_ledger_is_empty(adapter: Adapter) -> None:
    """Before the first entry there is none, and the head says so."""
    assert indexes(adapter) == []
    assert head_size(adapter) == 0


@every_kind
def test_an_entry_gives_back_the_event(adapter: Adapter, make: Callable[[], Event]) -> None:
    """What append returns says what the event said."""
    event = make()
    assert adapter.open().append(event).entry == Entry(index=0, kind=event.kind, fields=event.fields)


@every_kind
def test_the_body_is_canonical(adapter: Adapter, make: Callable[[], Event]) -> None:
    """Whoever reads a body can rebuild it, byte for byte, from its fields alone."""
    event = make()
    adapter.open().append(event)
    (row,) = stored(adapter, tables.entries)
    fields = json.loads(row["body"])
    assert fields == event.fields
    rebuilt = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert rebuilt.encode() == row["body"]
    assert (row["kind"], row["time"]) == (fields["kind"], fields["time"])


@every_kind
def test_the_leaf_hash_is_of_rfc_6962(adapter: Adapter, make: Callable[[], Event]) -> None:
    """The leaf hash of an entry is SHA-256 over 0x00 and its body."""
    adapter.open().append(make())
    (row,) = stored(adapter, tables.entries)
    assert row["leaf_hash"] == hashlib.sha256(b"\x00" + row["body"]).digest()


@pytest.mark.parametrize("change", [update(tables.entries).values(body=b"{}"), delete(tables.entries)])
def test_entries_are_never_changed(adapter: Adapter, change: object) -> None:
    """The database itself refuses to change or to remove an entry."""
    entry = adapter.open().append(issued(1)).entry
    with adapter.engine.connect() as connection, pytest.raises(DBAPIError, match="only ever added"):
        connection.execute(change)  # type: ignore[call-overload]
    assert_sound(adapter, [entry])


def test_what_one_process_adds_another_reads(adapter: Adapter) -> None:
    """An entry that append returned can be read over another connection at once."""
    entry = adapter.open().append(issued(1)).entry
    assert adapter.reader().size() == 1
    assert adapter.reader().find_by_serial("01") == entry


def test_two_that_are_open_share_one_sequence(adapter: Adapter) -> None:
    """Two that are open at the same time give no index twice and leave none out."""
    ledgers = [adapter.open(), adapter.open()]
    entries = [ledgers[serial % 2].append(issued(serial)).entry for serial in range(1, 11)]
    assert [entry.index for entry in entries] == list(range(10))


def test_threads_share_commits(adapter: Adapter) -> None:
    """Those who append while a commit is under way are written together by the next one."""
    adapter.count_commits()
    ledger = adapter.open()
    with ThreadPoolExecutor(THREADS) as pool:
        with adapter.held():
            appends = [pool.submit(ledger.append, issued(serial)) for serial in range(1, THREADS + 1)]
            time.sleep(0.3)  # all of them are queued, behind the one that waits for the lock
        entries = [append.result().entry for append in appends]
    assert_sound(adapter, entries)
    assert sorted(entry.index for entry in entries) == list(range(THREADS))
    assert adapter.commits() <= 3  # the first one's own, and one or two for all the others


def test_each_thread_gets_its_own_entry(adapter: Adapter) -> None:
    """Of many who append at once, everyone gets the entry of the event it brought."""
    ledger, barrier = adapter.open(), threading.Barrier(THREADS)

    def append_many(thread: int) -> list[tuple[Event, Entry]]:
        barrier.wait()
        events = [issued(thread * 1000 + count + 1, by=f"ci-{thread}") for count in range(10)]
        return [(event, ledger.append(event).entry) for event in events]

    with ThreadPoolExecutor(THREADS) as pool:
        pairs = [pair for found in pool.map(append_many, range(THREADS)) for pair in found]
    assert all(entry.fields is event.fields for event, entry in pairs)
    assert len({entry.index for _, entry in pairs}) == THREADS * 10
    assert_sound(adapter, [entry for _, entry in pairs])


def test_a_key_that_was_used_gives_the_earlier_entry(adapter: Adapter) -> None:
    """A second event under the same requester and key is not written: the first one's entry comes back."""
    ledger = adapter.open()
    first = ledger.append(issued(1, key="retry-1")).entry
    ledger.append(issued(2))
    again = ledger.append(issued(3, key="retry-1")).entry
    assert again == first
    assert indexes(adapter) == [0, 1]


def test_a_key_is_known_to_others_that_are_open(adapter: Adapter) -> None:
    """A key counts for all processes, and after a restart."""
    first = adapter.open().append(issued(1, key="retry-1")).entry
    assert adapter.open().append(issued(2, key="retry-1")).entry == first
    assert indexes(adapter) == [0]


def test_another_requester_has_other_keys(adapter: Adapter) -> None:
    """The same key of another requester is another key."""
    ledger = adapter.open()
    entries = [ledger.append(issued(1, by="ci", key="k")).entry, ledger.append(issued(2, by="cd", key="k")).entry]
    assert [entry.index for entry in entries] == [0, 1]
    assert ledger.find_by_key("token:ci", "k") == entries[0]
    assert ledger.find_by_key("token:cd", "k") == entries[1]


def test_events_without_a_key_are_all_written(adapter: Adapter) -> None:
    """Where no key is given, no event stands in for another."""
    ledger = adapter.open()
    assert [ledger.append(issued(serial)).entry.index for serial in (1, 2)] == [0, 1]


def test_a_refusal_uses_up_no_key(adapter: Adapter) -> None:
    """A refused request leaves its key free: the mended request may use it."""
    ledger = adapter.open()
    ledger.append(refused(key="k"))
    assert ledger.find_by_key("token:ci", "k") is None
    granted = ledger.append(issued(1, key="k")).entry
    assert granted.kind is EventKind.ISSUED
    assert ledger.find_by_key("token:ci", "k") == granted


def test_twins_in_one_batch_get_one_entry(adapter: Adapter) -> None:
    """Of events under one key that are written by the same commit, one is written and all get its entry."""
    ledger = adapter.open()
    with ThreadPoolExecutor(THREADS) as pool:
        with adapter.held():
            appends = [pool.submit(ledger.append, issued(serial, key="k")) for serial in range(1, THREADS + 1)]
            time.sleep(0.3)
        entries = [append.result().entry for append in appends]
    assert {entry.index for entry in entries} == {0}
    assert all(entry == entries[0] for entry in entries)
    assert_sound(adapter, entries[:1])
    assert ledger.find_by_key("token:ci", "k") == entries[0]


def test_twins_in_two_processes_get_one_entry(adapter: Adapter) -> None:
    """Events under one key, sent to two that are open at once, make one entry."""
    ledgers = [adapter.open(), adapter.open()]
    barrier = threading.Barrier(8)

    def append(serial: int) -> Entry:
        barrier.wait()
        return ledgers[serial % 2].append(issued(serial, key="k")).entry

    with ThreadPoolExecutor(8) as pool:
        entries = list(pool.map(append, range(1, 9)))
    assert all(entry == entries[0] for entry in entries)
    assert indexes(adapter) == [0]


def test_a_key_that_nobody_used_finds_nothing(adapter: Adapter) -> None:
    """An unknown key, or somebody else's, finds None."""
    ledger = adapter.open()
    ledger.append(issued(1, by="ci", key="k"))
    assert ledger.find_by_key("token:ci", "other") is None
    assert ledger.find_by_key("token:cd", "k") is None
    assert ledger.find_by_key("token:ci", "") is None
