"""Which revocation list is due: the same for every process of every replica, without a word between them.

That follows from the record and the clock alone. Time is cut into periods, the same for everybody; an edition
belongs to the period that it is signed in and to the newest entry of the record that changed it. Its number (RFC
5280 5.2.3) is made of these two. So numbers grow with time and with the record, processes that have read the same
sign the same under the same number, and a restart loses nothing. Were the periods to follow the lifetime of lists,
numbers would go back with a change of that.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from kubemint.x509.profile import BACKDATE

PERIOD: Final = timedelta(minutes=15)
LIFETIME_MIN: Final = 2 * PERIOD  # the next list is there for a period, at least, before this one is over

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_INDEX_BITS: Final = 64  # indexes are smaller; with the seconds there are far less than 159 (RFC 5280 5.2.3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """A list's place among all: the start of its period, and the newest entry that changed it, or -1."""

    period: datetime
    newest: int

    @property
    def number(self) -> int:
        """The CRL number: greater than of each earlier edition, and than any count of microseconds since 1970."""
        return (self.period - _EPOCH) // _SECOND << _INDEX_BITS | self.newest + 1


def period_of(now: datetime) -> datetime:
    """Give the start of the period that a moment is in."""
    return now - (now - _EPOCH) % PERIOD


def period_after(last: datetime | None, now: datetime) -> datetime:
    """Give the period of now, or the last one, if a clock was set back a little at its start."""
    period = period_of(now)
    return last if last is not None and last - period == PERIOD else period


def window_of(
    edition: Edition, changed_at: datetime | None, lifetime: timedelta, now: datetime
) -> tuple[datetime, datetime]:
    """Give when a list begins and when the next one is due.

    It counts from its last change, if that was in its period, and begins earlier by as much as certificates do:
    for readers whose clocks are behind. It never begins after `now`, the signer's clock, even if the time on
    record is from a clock that is wrong; only then do signers differ. `lifetime` is `LIFETIME_MIN` or more.
    """
    since = edition.period
    if changed_at is not None:
        since = min(max(since, changed_at.replace(microsecond=0)), since + PERIOD)
    return min(since - BACKDATE, now.replace(microsecond=0)), since + lifetime
