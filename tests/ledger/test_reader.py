"""Finding entries: by what names a certificate, and page by page."""

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest

from kubemint.ledger.reader import PAGE_MAX_OCTETS, STEP_ROWS, Filter, LedgerReader, State
from kubemint.record import Entry, Event, EventKind
from kubemint.transparency.tiles import ENTRY_MAX_OCTETS
from ledger.adapters import Adapter, SqliteAdapter
from ledger.events import NOW, issued, refused, unfit

HOUR = timedelta(hours=1)
LARGE = 90  # entries nearly as large as one may be: more than a page holds
LATER = NOW + timedelta(minutes=90)

EVENTS = (
    issued(1, by="ci", user="jane", groups=("developers", "team-a"), time=NOW),
    issued(2, by="ci", user="jane", groups=("developers",), time=NOW + HOUR),
    refused(by="ci", user="jane", groups=("developers",), asked_profile="admins", time=NOW + HOUR),
    issued(3, by="cd", user="jane", groups=("team-a",), profile="deployers", time=NOW + HOUR),
    issued(4, by="cd", user="mary", groups=(), profile="deployers", time=NOW + HOUR, lifetime=HOUR / 60),
    refused(by="cd", user="mary", groups=("team-a",), time=NOW),
    unfit(by="cd", subject="CN=mary", time=NOW + HOUR),
    issued(5, by="ci", user="mary", groups=("team-a", "developers"), time=NOW + HOUR),
    refused(by="ci", user="system:masters", asked_profile="developers", time=NOW + HOUR),
)
FILTERS: dict[str, tuple[Any, Callable[[Event], bool]]] = {
    "user": ("jane", lambda event: event.fields.get("user") == "jane"),
    "group": ("team-a", lambda event: "team-a" in event.fields.get("groups", ())),
    "requester": ("token:ci", lambda event: event.fields["requester"] == "token:ci"),
    "profile": ("developers", lambda event: _profile(event) == "developers"),
    "since": (NOW + HOUR, lambda event: event.time >= NOW + HOUR),
    "until": (NOW + HOUR, lambda event: event.time < NOW + HOUR),
}
COMBINATIONS = [names for size in range(len(FILTERS) + 1) for names in combinations(FILTERS, size)]


@pytest.fixture
def reader(adapter: Adapter) -> LedgerReader:
    """Give a ledger that holds `EVENTS`."""
    ledger = adapter.open()
    for event in EVENTS:
        ledger.append(event)
    return adapter.reader()


def test_a_certificate_is_found_by_each_of_its_names(reader: LedgerReader) -> None:
    """Serial number and credential id both find the entry of a certificate."""
    for index, event in enumerate(EVENTS):
        if event.kind is EventKind.ISSUED:
            expected = Entry(index=index, kind=event.kind, fields=event.fields)
            assert reader.find_by_serial(event.fields["serialNumber"]) == expected
            assert reader.find_by_credential_id(event.fields["credentialId"]) == expected


def test_a_name_that_nobody_has_finds_nothing(reader: LedgerReader) -> None:
    """An unknown serial number, credential id or key finds None."""
    assert reader.find_by_serial("ff") is None
    assert reader.find_by_serial("0") is None
    assert reader.find_by_credential_id("X509SHA256=" + "0" * 64) is None
    assert reader.find_by_key("token:ci", "k") is None


@pytest.mark.parametrize("written", ["01", "1", "0001"])
def test_leading_zeros_of_a_serial_number_say_nothing(reader: LedgerReader, written: str) -> None:
    """A serial number is a number: openssl's and Go's ways of writing it find the same certificate."""
    found = reader.find_by_serial(written)
    assert found is not None
    assert found.index == 0


@pytest.mark.parametrize("serial", [255, 256, 2**159 - 1, 1 << 158])
def test_serial_numbers_of_every_length_are_found(adapter: Adapter, serial: int) -> None:
    """The longest serial number is found as well as the shortest, and no neighbour in its place."""
    ledger, reader = adapter.open(), adapter.reader()
    entries = [ledger.append(issued(number)).entry for number in (serial, serial - 1)]
    assert reader.find_by_serial(f"{serial:x}") == entries[0]


@pytest.mark.parametrize("state", [None, *State], ids=str)
def test_filters_and_every_combination_of_them(reader: LedgerReader, state: State | None) -> None:
    """A page holds exactly the entries that fit all given values, newest first."""
    for names in COMBINATIONS:
        wanted = Filter(state=state, **{name: FILTERS[name][0] for name in names})
        page = reader.page(wanted, LATER, limit=100)
        fitting = [
            index
            for index, event in reversed(list(enumerate(EVENTS)))
            if _has_state(event, state, LATER) and all(FILTERS[name][1](event) for name in names)
        ]
        assert ([entry.index for entry in page.entries], page.next_before) == (fitting, None), wanted


def test_an_entry_of_a_page_says_what_was_recorded(reader: LedgerReader) -> None:
    """Pages hold whole entries."""
    for entry in (*_walk(reader, Filter(), 3), *_walk(reader, Filter(state=State.REFUSED), 3)):
        assert entry.fields == EVENTS[entry.index].fields
        assert entry.kind is EVENTS[entry.index].kind


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("wanted", [Filter(), Filter(requester="token:ci"), Filter(group="team-a")], ids=str)
def test_the_cursor_walks_everything_once(adapter: Adapter, limit: int, wanted: Filter) -> None:
    """Page after page gives every entry that fits, once, newest first, whatever the page's size."""
    ledger = adapter.open()
    for serial in range(1, 24):
        ledger.append(issued(serial, by=("ci", "cd")[serial % 2], groups=("team-a",) if serial % 3 else ()))
    reader = adapter.reader()
    walked = [entry.index for entry in _walk(reader, wanted, limit)]
    assert walked == [entry.index for entry in reader.page(wanted, NOW, limit=500).entries]
    assert walked == sorted(set(walked), reverse=True)
    assert walked


def test_entries_that_come_meanwhile_do_not_disturb_a_walk(adapter: Adapter) -> None:
    """Whoever walks sees each entry that was there at the start once, though new ones are added."""
    ledger, reader = adapter.open(), adapter.reader()
    for serial in range(1, 7):
        ledger.append(issued(serial))
    walked = []
    for entry in _walk(reader, Filter(), 2):
        ledger.append(issued(1000 + entry.index))
        walked.append(entry.index)
    assert walked == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("limit", [STEP_ROWS - 1, STEP_ROWS, STEP_ROWS + 1, 2 * STEP_ROWS, 3 * STEP_ROWS])
def test_a_page_of_several_steps(adapter: Adapter, limit: int) -> None:
    """A page that is read in steps has each entry once, newest first, and ends where it should."""
    ledger, count = adapter.open(), 2 * STEP_ROWS + 1
    ledger.append(*(issued(serial) for serial in range(1, count + 1)))
    page = adapter.reader().page(Filter(), NOW, limit=limit)
    expected = list(range(count - 1, -1, -1))
    assert [entry.index for entry in page.entries] == expected[:limit]
    assert page.next_before == (expected[limit - 1] if limit < count else None)


def test_a_page_of_large_entries_takes_little_memory(sqlite_adapter: SqliteAdapter) -> None:
    """Of hundreds of large entries that fit, few are in memory at once, however many are asked for."""
    ledger = sqlite_adapter.open()
    for _ in range(8):
        ledger.append(*(_large(refused()) for _ in range(50)))
    reader, wanted = sqlite_adapter.reader(), Filter(state=State.REFUSED)
    reader.page(wanted, NOW, limit=1)
    tracemalloc.start()
    page = reader.page(wanted, NOW, limit=500)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert page.next_before is not None
    assert peak < 3 * PAGE_MAX_OCTETS + STEP_ROWS * ENTRY_MAX_OCTETS


def test_a_full_last_page_ends_the_walk(adapter: Adapter) -> None:
    """A page that is exactly full and the last has no cursor to an empty one."""
    ledger, reader = adapter.open(), adapter.reader()
    for serial in (1, 2):
        ledger.append(issued(serial))
    assert reader.page(Filter(), NOW, limit=2).next_before is None
    assert reader.page(Filter(), NOW, limit=1).next_before == 1


def test_a_cursor_below_everything_gives_nothing(reader: LedgerReader) -> None:
    """Nothing is older than the first entry."""
    page = reader.page(Filter(), NOW, limit=10, before=0)
    assert (page.entries, page.next_before) == ((), None)


@pytest.mark.parametrize(("second", "state"), [(-1, State.VALID), (0, State.VALID), (1, State.EXPIRED)])
def test_a_certificate_is_valid_to_the_end_of_its_last_second(adapter: Adapter, second: int, state: State) -> None:
    """notAfter is still in the validity (RFC 5280 4.1.2.5); the second after it is not."""
    adapter.open().append(issued(1, lifetime=HOUR))
    moment = NOW + HOUR + timedelta(seconds=second)
    reader = adapter.reader()
    found = {each: reader.page(Filter(state=each), moment, limit=1).entries for each in State}
    assert [each for each in found if found[each]] == [state]


def test_names_are_compared_whole_and_as_they_are(adapter: Adapter) -> None:
    """A filter matches the whole name: no pattern, no other case, no other script."""
    adapter.open().append(issued(1, user="jane%_*", groups=("Dévs",)))
    reader = adapter.reader()
    assert reader.page(Filter(user="jane%_*", group="Dévs"), NOW, limit=1).entries
    for wanted in (Filter(user="jane%"), Filter(user="JANE%_*"), Filter(user="%"), Filter(group="dévs")):
        assert not reader.page(wanted, NOW, limit=1).entries


def test_the_size_is_the_number_of_entries(reader: LedgerReader) -> None:
    """The reader counts every entry, refusals too."""
    assert reader.size() == len(EVENTS)


def test_other_time_zones_mean_the_same_moment(reader: LedgerReader) -> None:
    """A moment with another offset from UTC selects the same entries."""
    moment = datetime.fromisoformat("2026-11-20T15:00:00+02:00")
    assert moment == NOW + HOUR
    pages = [reader.page(Filter(since=since), LATER, limit=50) for since in (moment, moment.astimezone(UTC))]
    assert pages[0] == pages[1]


def _profile(event: Event) -> str | None:
    """Give what a profile filter looks at: the profile that gave, or that was asked for in vain."""
    return event.fields["profile"] if event.kind is EventKind.ISSUED else event.fields["requestedProfile"]


def _has_state(event: Event, state: State | None, now: datetime) -> bool:
    if (event.kind is EventKind.REFUSED) != (state is State.REFUSED):
        return False
    if state in {None, State.REFUSED}:
        return True
    if state is State.REVOKED:
        return False  # none of these is
    expired = datetime.fromisoformat(event.fields["notAfter"]) < now
    return expired == (state is State.EXPIRED)


def _walk(reader: LedgerReader, wanted: Filter, limit: int) -> Iterator[Entry]:
    before: int | None = None
    while True:
        page = reader.page(wanted, NOW, limit=limit, before=before)
        entries: Sequence[Entry] = page.entries
        assert len(entries) <= limit
        yield from entries
        if page.next_before is None:
            return
        before = page.next_before


def _large(event: Event) -> Event:
    return replace(event, fields={**event.fields, "claims": {"large": "x" * 60_000}})


def test_a_page_of_large_entries(adapter: Adapter) -> None:
    """A page ends where it has grown too large, and the walk goes on behind it: nothing is left out."""
    ledger, reader = adapter.open(), adapter.reader()
    events = [issued(serial) for serial in range(1, LARGE + 1)]
    ledger.append(*map(_large, events))
    seen: list[int] = []
    before = None
    for _ in range(LARGE):
        page = reader.page(Filter(), NOW, limit=500, before=before)
        assert 1 <= len(page.entries) <= PAGE_MAX_OCTETS // 60_000
        seen += [entry.index for entry in page.entries]
        if (before := page.next_before) is None:
            break
    assert seen == list(range(LARGE - 1, -1, -1))
