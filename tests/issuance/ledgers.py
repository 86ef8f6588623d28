"""Ledgers that fail as the port's contract allows, around a real one."""

from typing import Any

from kubemint.errors import LedgerUnavailable
from kubemint.issuance import Ledger
from kubemint.record import Entry, Event, Recorded


class Unavailable:
    """A ledger that cannot be written; what is on record can be read."""

    def __init__(self, ledger: Ledger) -> None:
        self.asked: list[Event] = []
        self.preparing = ledger.preparing
        self.find_by_key = ledger.find_by_key

    def append(self, *events: Event, **options: Any) -> Recorded:
        """Write nothing."""
        self.asked += events
        raise LedgerUnavailable("no space left")


class WritesAndRaises:
    """A ledger whose commit takes effect, and whose answer is lost."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.preparing = ledger.preparing
        self.find_by_key = ledger.find_by_key

    def append(self, *events: Event, **options: Any) -> Recorded:
        """Write, and do not confirm it."""
        self._ledger.append(*events, **options)
        raise LedgerUnavailable("the connection broke after COMMIT")


class Unreadable:
    """A ledger that can be written and not be read."""

    def __init__(self, ledger: Ledger) -> None:
        self.preparing = ledger.preparing
        self.append = ledger.append

    def find_by_key(self, requester: str, idempotency_key: str) -> Entry | None:
        """Find nothing out."""
        raise LedgerUnavailable("the file is gone")
