"""What is remembered of certificates that API servers show: which are on record, and what was told of others."""

import logging
import threading
import time
from collections import OrderedDict
from typing import Any, Final

REMEMBERED_MAX: Final = 50_000  # credentials that are on record
_UNKNOWN_MAX: Final = 5_000  # … and that are not: whoever writes one in ever new forms pushes out no others
_UNKNOWN_SECONDS: Final = 30.0  # for which one that is not on record stays unknown
_ALARM_SECONDS: Final = 60.0  # between two lines about one user
_ALARMS_MAX: Final = 1_000  # users about whom it is known when the last line was
_log = logging.getLogger(__name__)


class Remembered:
    """Which credentials are on record, of those that were looked up. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on_record: OrderedDict[str, None] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()

    def is_on_record(self, credential_id: str) -> bool | None:
        """Tell what was found; None where it has to be looked up, now or again."""
        with self._lock:
            if credential_id in self._on_record:
                return True
            until = self._unknown.get(credential_id)
        return None if until is None or until < time.monotonic() else False

    def remember(self, credential_id: str, *, is_on_record: bool) -> None:
        """Take what was found."""
        with self._lock:
            if is_on_record:
                self._on_record[credential_id] = None
                self._unknown.pop(credential_id, None)
                _bound(self._on_record, REMEMBERED_MAX)
            else:
                self._unknown[credential_id] = time.monotonic() + _UNKNOWN_SECONDS
                _bound(self._unknown, _UNKNOWN_MAX)


class Alarms:
    """Tells of credentials that are not on record: of each user once in `pause` seconds. Threads share it."""

    def __init__(self, pause: float = _ALARM_SECONDS) -> None:
        self._pause = pause
        self._lock = threading.Lock()
        self._told: OrderedDict[str, tuple[float, int]] = OrderedDict()  # when next, and how often since

    def ring(self, user: str, credential_id: str) -> None:
        """Write a line, unless there was one a moment ago: then the next one tells how many were left out."""
        now = time.monotonic()
        with self._lock:
            until, left_out = self._told.get(user, (0.0, 0))
            is_due = now >= until
            self._told[user] = (now + self._pause, 0) if is_due else (until, left_out + 1)
            _bound(self._told, _ALARMS_MAX)
        if is_due:
            _log.critical(
                "an API server was shown a certificate that is not on record",
                extra={"user": user, "credentialId": credential_id, "leftOut": left_out},
            )


def _bound(known: OrderedDict[str, Any], most: int) -> None:
    while len(known) > most:
        known.popitem(last=False)
