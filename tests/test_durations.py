"""Lengths of time, as Kubernetes' files have them."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemint.durations import format_duration, parse_duration

FRIENDLY = settings(max_examples=100, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("1s", timedelta(seconds=1)),
        ("15m", timedelta(minutes=15)),
        ("8h", timedelta(hours=8)),
        ("7d", timedelta(days=7)),
        ("1h30m", timedelta(minutes=90)),
        ("1d2h3m4s", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("3600s", timedelta(hours=1)),
        ("90m", timedelta(minutes=90)),
        ("0h5m", timedelta(minutes=5)),
    ],
)
def test_durations_are_read(text: str, duration: timedelta) -> None:
    """Days, hours, minutes and seconds, largest first, any of them left out."""
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "m", "1w", "1y", "5M", "5ms", "5min", "P1D", "0s", "0h0m", "9999999d", "99999999999s"),
        *("-5m", "+5m", "1.5h", "1e3s", "30m1h", "1h1h", "1h,5m", " 5m", "5m ", "5 m", "5m\n", "5m\0", "٥m"),
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Nothing is guessed: no unit, a sign, a fraction, another order and a length of nothing are mistakes."""
    with pytest.raises(ValueError, match="not a duration such as"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(minutes=15), "15m"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(hours=24), "1d"),
        (timedelta(days=1, seconds=1), "1d1s"),
        (timedelta(), "0s"),
    ],
)
def test_durations_are_written_short(duration: timedelta, text: str) -> None:
    """A unit that is nought is left out."""
    assert format_duration(duration) == text


@FRIENDLY
@given(seconds=st.integers(1, 10**10))
def test_what_is_written_is_read_back(seconds: int) -> None:
    """Writing and reading a duration gives the same, to the second."""
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration


@FRIENDLY
@given(text=st.text(max_size=20) | st.text("0123456789dhms", max_size=30))
def test_garbage_raises_one_error_and_gives_no_empty_duration(text: str) -> None:
    """Any text is a duration greater than nothing, or a ValueError."""
    try:
        duration = parse_duration(text)
    except ValueError:
        return
    assert duration > timedelta()
