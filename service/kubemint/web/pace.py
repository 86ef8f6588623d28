"""How often strangers may ask for what costs: a bucket for all of them together, in each process."""

import threading
from datetime import datetime, timedelta

from kubemint.errors import QuotaExceeded, Reason


class Pace:
    """Lets `at_once` calls through, and from then on so many a second. Threads share it."""

    def __init__(self, *, per_second: float, at_once: int) -> None:
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
                reason = Reason(
                    code="calls-too-many",
                    message="this may be asked a few times a second, by all together",
                    path="",
                )
                raise QuotaExceeded("Too many ask this at once.", (reason,), retry_at=full_at - empty)
            self._full_at = full_at
