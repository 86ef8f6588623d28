"""The record from its start: streamed, counted, and the newest of a kind."""

import itertools
from datetime import timedelta, timezone

import pytest
from sqlalchemy import event as sqlalchemy_event

from kubemint.errors import LedgerUnavailable
from kubemint.ledger import entries
from kubemint.ledger.reader import LedgerReader
from kubemint.record import Event, EventKind
from ledger.adapters import Adapter, SqliteAdapter
from ledger.events import NOW, denied, issued, policy_changed, refused, requested

MINUTE = timedelta(minutes=1)
COUNT = 2 * entries.PAGE_ENTRIES + 7
ALL = frozenset(EventKind)
DECISIONS = frozenset({EventKind.ISSUED, EventKind.REFUSED})


def _event(minute: int) -> Event:
    time = NOW + minute * MINUTE
    if minute % 100 == 50:
        return policy_changed(f"v{minute}", time=time)
    return refused(time=time) if minute % 3 else issued(minute + 1, time=time, groups=())


@pytest.fixture
def reader(adapter: Adapter) -> LedgerReader:
    """Give a ledger with an entry a minute."""
    adapter.open().append(*map(_event, range(COUNT)))
    return adapter.reader()


@pytest.mark.parametrize("kinds", [ALL, DECISIONS, {EventKind.POLICY_CHANGED}, {EventKind.DENIED}, set()], ids=len)
@pytest.mark.parametrize("first", [None, -60, 0, 1, 700, COUNT - 1, COUNT])
def test_a_stream_gives_every_entry_of_its_kinds_once(
    reader: LedgerReader, kinds: set[EventKind], first: int | None
) -> None:
    """The entries of some kinds since a moment come in the order of the ledger, and are as many as are counted."""
    since = None if first is None else NOW + first * MINUTE
    expected = [n for n in range(max(0, first or 0), COUNT) if _event(n).kind in kinds]
    assert [entry.index for entry in reader.entries(kinds, since)] == expected
    assert reader.count(kinds, since) == len(expected)


def test_an_entry_of_a_stream_is_the_event(reader: LedgerReader) -> None:
    """What is streamed says what was appended."""
    for entry in itertools.islice(reader.entries(ALL), 120):
        assert (entry.kind, entry.fields) == (_event(entry.index).kind, _event(entry.index).fields)


def test_a_stream_is_taken_up_again(reader: LedgerReader) -> None:
    """Whoever stopped after an index goes on behind it, whatever `since` says."""
    for after in (-1, 0, entries.PAGE_ENTRIES - 1, COUNT - 2, COUNT - 1, COUNT + 5):
        expected = list(range(after + 1, COUNT))
        assert [entry.index for entry in reader.entries(ALL, None, after)] == expected
        assert [entry.index for entry in reader.entries(ALL, NOW, after)] == expected


def test_a_stream_ends_though_the_ledger_grows(adapter: Adapter) -> None:
    """What is added while somebody walks is not part of the walk."""
    ledger, reader = adapter.open(), adapter.reader()
    ledger.append(*(issued(serial) for serial in range(1, 4)))
    walked = []
    for entry in reader.entries(ALL):
        ledger.append(issued(100 + entry.index))
        walked.append(entry.index)
    assert walked == [0, 1, 2]


def test_since_counts_to_the_second(adapter: Adapter) -> None:
    """Fractions of a second, which some times have and some have not, put no entry on the wrong side."""
    half = timedelta(milliseconds=500)
    times = [NOW - half, NOW, NOW + half, NOW + 2 * half]
    adapter.open().append(*(refused(time=time) for time in times))
    reader = adapter.reader()
    for since, expected in (
        (NOW, [1, 2, 3]),
        (NOW + half, [1, 2, 3]),
        (NOW + 2 * half, [3]),
        (NOW - half, [0, 1, 2, 3]),
    ):
        assert [entry.index for entry in reader.entries(ALL, since)] == expected
        assert reader.count(ALL, since) == len(expected)


def test_since_is_a_moment_in_any_zone(reader: LedgerReader) -> None:
    """A moment with another offset from UTC begins at the same entry."""
    moment = (NOW + 700 * MINUTE).astimezone(timezone(timedelta(hours=-7)))
    assert next(reader.entries(ALL, moment)).index == 700


def test_clocks_that_differ_hide_nothing(adapter: Adapter) -> None:
    """An entry that tells of a time a little before that of its neighbours is found by its own."""
    times = [NOW + minute * MINUTE for minute in (0, 20, 12, 21, 13, 40)]
    adapter.open().append(*(refused(time=time) for time in times))
    for since in (NOW + minute * MINUTE for minute in (0, 5, 12, 13, 14, 20, 30, 41)):
        found = [entry.index for entry in adapter.reader().entries(ALL, since)]
        assert found == [index for index, time in enumerate(times) if time >= since]


def test_a_stream_holds_a_page_at_a_time(sqlite_adapter: SqliteAdapter) -> None:
    """A stream reads as it is walked, and no read stays open between two pages."""
    sqlite_adapter.open().append(*map(_event, range(COUNT)))
    reader = sqlite_adapter.reader()
    engine = sqlite_adapter.readers[-1]
    statements: list[str] = []
    sqlalchemy_event.listen(engine, "before_cursor_execute", lambda *about: statements.append(about[2]))
    stream = reader.entries(ALL)
    assert next(stream).index == 0
    assert _walks(statements) == 1
    assert engine.pool.checkedout() == 0
    assert sum(1 for _ in stream) == COUNT - 1
    assert _walks(statements) == 3


def test_a_stream_walks_the_primary_key(sqlite_adapter: SqliteAdapter) -> None:
    """Nothing is sorted, and what lies before `since` is not read."""
    reader = sqlite_adapter.reader()
    statements: list[str] = []
    sqlalchemy_event.listen(
        sqlite_adapter.readers[-1], "before_cursor_execute", lambda *about: statements.append(about[2])
    )
    list(reader.entries(ALL, NOW))
    reader.count(ALL, NOW)
    walks = [statement for statement in statements if "entries" in statement]
    assert len(walks) == 2
    with sqlite_adapter.engine.connect() as connection:
        for statement in walks:
            values = tuple(range(statement.count("?")))
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).mappings().all()
            assert [row["detail"].split(" (")[0] for row in plan] == ["SEARCH entries USING INTEGER PRIMARY KEY"]


def test_the_last_policy(adapter: Adapter) -> None:
    """The newest policy is found, and None before the first."""
    ledger, reader = adapter.open(), adapter.reader()
    assert reader.last_policy() is None
    ledger.append(policy_changed("v2"), refused(), policy_changed("v1"), issued(1))
    found = reader.last_policy()
    assert found is not None
    assert (found.index, found.fields["version"], found.fields["text"]) == (2, "v1", "# v1\n")


def test_the_latest_certificate_of_a_user(adapter: Adapter) -> None:
    """The newest certificate with a user name is found, whoever asked for it; a refusal or a request is none."""
    ledger, reader = adapter.open(), adapter.reader()
    ledger.append(issued(1, user="jane"), issued(2, user="jane", by="cd"), issued(3, user="mary"))
    ledger.append(refused(user="jane"), requested("r1", user="jane"), requested("r2", user="eve"), denied("r2"))
    assert [_index(reader, user) for user in ("jane", "mary", "eve", "JANE", "")] == [1, 2, None, None, None]


def test_a_reader_of_history_says_that_it_cannot_read(adapter: Adapter) -> None:
    """Where the entries cannot be read, LedgerUnavailable says so, at the start as in the middle."""
    adapter.open().append(*map(_event, range(COUNT)))
    reader = adapter.reader()
    stream = reader.entries(ALL)
    next(stream)
    adapter.execute("ALTER TABLE entries RENAME TO away")
    for read in (
        lambda: list(stream),
        lambda: next(reader.entries(ALL)),
        lambda: reader.count(ALL),
        reader.last_policy,
    ):
        with pytest.raises(LedgerUnavailable):
            read()


def _walks(statements: list[str]) -> int:
    return sum("FROM entries" in statement for statement in statements)


def _index(reader: LedgerReader, user: str) -> int | None:
    found = reader.latest_certificate_of(user)
    return None if found is None else found.index
