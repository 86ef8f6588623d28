"""How often may be asked for what costs: a bucket for all strangers together, or one for each requester.

Each process has its own.
"""

import threading
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from kubemint.errors import QuotaExceeded, Reason

_BY_ALL: Final = "this may be asked a few times a second, by all together"


class Pace:
    """Lets `at_once` calls through, and from then on so many a second. Threads share it."""

    def __init__(self, *, per_second: float, at_once: int, told: str = _BY_ALL) -> None:
        """`told` is the sentence for whoever is turned away."""
        self._told = told
        self._pause = timedelta(seconds=1 / per_second)
        self._at_once = at_once
        self._lock = threading.Lock()
        self._full_at: datetime | None = None  # when the bucket is full again, if nobody comes

    def take(self, now: datetime) -> None:
        """Let a call through.

        Raises:
            QuotaExceeded: there were too many; it says when there may be one more.
        """
        with self._lock:
            empty = self._pause * self._at_once
            # Bounded, for a clock that was set back must not shut everybody out.
            self._full_at = max(now, min(self._full_at or now, now + empty))
            full_at = self._full_at + self._pause
            if full_at - now > empty:
                reason = Reason(code="calls-too-many", message=self._told, path="")
                raise QuotaExceeded("Too many ask this at once.", (reason,), retry_at=full_at - empty)
            self._full_at = full_at


class Paces:
    """A pace for each of many, by name. Of more than `most`, whoever was quiet longest starts anew."""

    def __init__(self, *, per_second: float, at_once: int, most: int, told: str) -> None:
        self._make = partial(Pace, per_second=per_second, at_once=at_once, told=told)
        self._most = most
        self._lock = threading.Lock()
        self._paces: dict[str, Pace] = {}  # whoever asked last is last

    def take(self, whose: str, now: datetime) -> None:
        """Let a call of somebody through. Raises as `Pace.take` does."""
        with self._lock:
            pace = self._paces.pop(whose) if whose in self._paces else self._make()
            self._paces[whose] = pace
            if len(self._paces) > self._most:
                del self._paces[next(iter(self._paces))]
        pace.take(now)
