"""How often all strangers together may ask, and how often each requester."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from kubemint.errors import QuotaExceeded
from kubemint.web.pace import Pace, Paces

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def _count(pace: Pace, now: datetime, tries: int = 50) -> int:
    """Give how many of some tries at one moment are let through."""
    return _count_calls(pace.take, now, tries)


def _count_calls(take: Callable[[datetime], None], now: datetime, tries: int = 50) -> int:
    through = 0
    for _ in range(tries):
        try:
            take(now)
        except QuotaExceeded:
            continue
        through += 1
    return through


def test_at_once_and_then_a_few_a_second() -> None:
    """Ten come through at once, then two a second, and after a pause ten again, never more."""
    pace = Pace(per_second=2, at_once=10)
    assert _count(pace, NOW) == 10
    assert [_count(pace, NOW + seconds * SECOND) for seconds in (0.4, 0.5, 1, 3)] == [0, 1, 1, 4]
    assert _count(pace, NOW + 3600 * SECOND) == 10


def test_when_to_come_again() -> None:
    """Whoever is too many learns when there may be one more, and then there may."""
    pace = Pace(per_second=2, at_once=1)
    pace.take(NOW)
    with pytest.raises(QuotaExceeded) as refused:
        pace.take(NOW)
    assert [reason.code for reason in refused.value.reasons] == ["calls-too-many"]
    assert refused.value.retry_at == NOW + SECOND / 2
    pace.take(refused.value.retry_at)


def test_a_clock_that_is_set_back() -> None:
    """A clock that is an hour early all at once shuts nobody out for an hour."""
    pace = Pace(per_second=2, at_once=10)
    assert _count(pace, NOW) == 10
    earlier = NOW - 3600 * SECOND
    assert _count(pace, earlier) == 0
    assert _count(pace, earlier + SECOND, tries=5) == 2
    assert _count(pace, earlier + 3600 * SECOND) == 10


def test_one_for_each() -> None:
    """Whoever asks too often holds up nobody else, and is told by whom it may be asked how often."""
    paces = Paces(per_second=2, at_once=10, most=3, told="you may ask a few times a second")
    asks = {name: partial(paces.take, name) for name in ("ann", "bob")}
    assert [_count_calls(asks["ann"], NOW), _count_calls(asks["bob"], NOW)] == [10, 10]
    with pytest.raises(QuotaExceeded) as refused:
        paces.take("ann", NOW)
    (reason,) = refused.value.reasons
    assert (reason.code, reason.message) == ("calls-too-many", "you may ask a few times a second")
    paces.take("ann", refused.value.retry_at)


def test_no_more_are_remembered_than_may_be() -> None:
    """Of too many, whoever was quiet longest is forgotten, and nobody who asked since."""
    paces = Paces(per_second=2, at_once=1, most=3, told="")
    for name in ("ann", "bob", "cy"):
        paces.take(name, NOW)
    for name in ("ann", "dan"):
        assert _count_calls(partial(paces.take, name), NOW) == (name == "dan")
    assert [_count_calls(partial(paces.take, name), NOW) for name in ("ann", "dan", "bob")] == [0, 0, 1]
