"""A quota: so many certificates of a requester and a profile in a time."""

from contextlib import closing
from datetime import datetime, timedelta

import pytest

from kubemint.ledger import tables
from kubemint.ledger.statements import Statements
from kubemint.record import Event, EventKind, Recorded, Unmet, WithinQuota
from ledger.adapters import Adapter, SqliteAdapter, stored
from ledger.events import NOW, issued, refused
from ledger.ways import WAYS, Way, unit

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)

every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def quota(certificates: int, now: datetime = NOW, *, by: str = "ci", profile: str = "developers") -> WithinQuota:
    """Give the condition of so many certificates an hour, at a moment."""
    return WithinQuota(
        requester=f"token:{by}", profile=profile, certificates=certificates, since=now - HOUR, per=HOUR
    )


def _ask(way: Way, adapter: Adapter, certificates: int, events: list[Event]) -> list[Recorded]:
    """Append certificates, each if its requester is within the quota of its profile at its time."""
    return way(
        adapter,
        [
            unit(
                event,
                conditions=[
                    quota(
                        certificates,
                        event.time,
                        by=event.fields["requester"].removeprefix("token:"),
                        profile=event.fields["profile"],
                    )
                ],
            )
            for event in events
        ],
    )


def _times(way: Way, adapter: Adapter, certificates: int, *times: timedelta) -> list[datetime | None]:
    """Ask at these times after `NOW`; tell for each when to come again, or None if it was within the quota."""
    events = [issued(serial, time=NOW + time) for serial, time in enumerate(times, 1)]
    return [None if one.unmet is None else one.unmet.retry_at for one in _ask(way, adapter, certificates, events)]


@every_way
@pytest.mark.parametrize("certificates", [1, 2, 5])
def test_a_quota_is_used_up(adapter: Adapter, way: Way, certificates: int) -> None:
    """So many are written and no more, and those that are not tell when the oldest that counts is over."""
    found = _ask(way, adapter, certificates, [issued(serial) for serial in range(1, certificates + 3)])
    assert [one.unmet is None for one in found] == [True] * certificates + [False, False]
    assert found[-1].unmet == Unmet(condition=quota(certificates), retry_at=NOW + HOUR + SECOND)
    assert len(stored(adapter, tables.certificates)) == certificates


@every_way
def test_a_quota_comes_back(adapter: Adapter, way: Way) -> None:
    """A certificate counts until the time is over, and the moment that was told is one at which it holds."""
    half, retry = HOUR / 2, HOUR + SECOND
    assert _times(way, adapter, 2, 0 * HOUR, half, half + SECOND, retry, retry + SECOND) == [
        None,
        None,
        NOW + retry,
        None,
        NOW + half + retry,
    ]


@every_way
@pytest.mark.parametrize(("later", "is_within"), [(HOUR - SECOND, False), (HOUR, True)])
def test_the_window_is_open_at_its_start(adapter: Adapter, way: Way, later: timedelta, is_within: bool) -> None:
    """A certificate that was decided at `since` does not count; one that was decided a second later does."""
    assert (_times(way, adapter, 1, 0 * HOUR, later)[1] is None) is is_within


@every_way
def test_a_quota_is_of_one_requester_and_one_profile(adapter: Adapter, way: Way) -> None:
    """Another requester has a quota of its own, and so has the same one under another profile."""
    events = [
        issued(1, by="ci", profile="developers"),
        issued(2, by="cd", profile="developers"),
        issued(3, by="ci", profile="deployers"),
        issued(4, by="ci", profile="developers"),
    ]
    assert [one.unmet is None for one in _ask(way, adapter, 1, events)] == [True, True, True, False]


@every_way
def test_refusals_use_up_no_quota(adapter: Adapter, way: Way) -> None:
    """Only certificates count; what is told otherwise does not."""
    tries = [unit(issued(n), conditions=[quota(1)], otherwise=lambda _: refused()) for n in (1, 2, 3)]
    kinds = [one.entry.kind for one in way(adapter, [unit(refused()), *tries])]
    assert kinds == [EventKind.REFUSED, EventKind.ISSUED, EventKind.REFUSED, EventKind.REFUSED]


def test_a_clock_that_is_behind_hides_nothing(adapter: Adapter) -> None:
    """An entry with an earlier time than the one before it does not end the count."""
    ledger = adapter.open()
    for serial, time in enumerate((SECOND, SECOND * 2, SECOND * -30), 1):
        ledger.append(issued(serial, time=NOW + time))
    assert ledger.append(issued(4), conditions=[quota(2, NOW + HOUR)]).unmet is not None
    assert ledger.append(issued(4), conditions=[quota(3, NOW + HOUR)]).unmet is None


def test_the_quota_walks_an_index(sqlite_adapter: SqliteAdapter) -> None:
    """The certificates of a requester are walked in the order of the index: nothing is sorted or scanned."""
    statement = Statements(sqlite_adapter.engine).nth_recent_certificate
    with closing(sqlite_adapter.engine.raw_connection()) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", ("r", "p", 2, "r", 1, 4)).fetchall()
    plan = [row[3] for row in rows]
    assert [line for line in plan if "SCAN" in line or "TEMP" in line] == []
    assert len([line for line in plan if "USING INDEX ix_certificates_requester" in line]) == 2
