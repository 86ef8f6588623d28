"""A record of revocations in memory, as far as lists are made of it, that may be slow, away, or stand still."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from kubemint.errors import LedgerUnavailable
from kubemint.x509.revocation import RevocationReason, RevokedCertificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An entry that revokes the certificate with its own index as serial number."""

    index: int
    time: datetime


@dataclass(kw_only=True)
class MemoryLedger:
    """What several lists read at once; `walks` counts how often, `open` holds walks up while it is not set."""

    changes: list[Change] = field(default_factory=list)
    is_away: bool = False
    walks: int = 0
    looks: int = 0
    counted: int = 0
    open: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def revoke(self, time: datetime) -> int:
        """Revoke one more; give its serial number."""
        self.changes.append(Change(index=len(self.changes) + 1, time=time))
        return len(self.changes)

    def newest_change(self, old: datetime) -> Change | None:
        """Give the newest."""
        self.looks += 1
        if self.is_away:
            raise LedgerUnavailable("away")
        return self.changes[-1] if self.changes else None

    def count(self, now: datetime) -> int:
        """Count as was set."""
        return self.counted

    def revoked(self, now: datetime, newest: int) -> Iterator[RevokedCertificate]:
        """Walk over them."""
        self.walks += 1
        assert self.open.wait(30)
        for change in self.changes:
            if change.index <= newest:
                yield RevokedCertificate(
                    serial_number=change.index, revoked_at=change.time, reason=RevocationReason.SUPERSEDED
                )

    def of_serial(self, serial_number: str) -> None:
        """Know of none."""

    def has_serial(self, serial_number: str) -> bool:
        """Know of none."""
        return not serial_number
