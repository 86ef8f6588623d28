"""Which credentials an API server must turn away: known from memory, and never longer ago than a second.

A question costs a look into tables, however much is revoked; what is found there is confirmed in the ledger,
and that a certificate is on record is looked up once, where that matters. The tables are filled before the
service is ready, and follow the ledger from then on: a thread reads what was revoked since, whenever the ledger
says that something was, and at the latest after half a second. While it makes new tables, which takes seconds
where much is revoked, it keeps adding to those that count.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from kubemint import metrics
from kubemint.errors import LedgerUnavailable
from kubemint.fingerprints import Fingerprints
from kubemint.kubernetes.access_review import AccessReview, Unknown
from kubemint.kubernetes.unknown_credentials import Alarms, Remembered

CHECK_SECONDS: Final = 0.5
REBUILD_SECONDS: Final = 6 * 3600.0  # so that what has expired makes room
CLOCKS_DIFFER: Final = timedelta(minutes=10)  # what has expired here may not have for an API server
_RETRY_SECONDS: Final = 30.0  # after a walk over everything that failed
_REBUILD_SHARE: Final = (
    10  # lifted holds make new tables for a tenth of the time at most; the ledger knows of them
)
_log = logging.getLogger(__name__)


class Withdrawal(Protocol):
    """That a certificate was taken back."""

    @property
    def revocation(self) -> str:
        """By which revocation."""

    @property
    def revoked_at(self) -> datetime:
        """When."""

    @property
    def reason(self) -> str:
        """Why, in the words of RFC 5280."""


class Digests(Protocol):
    """What finds revoked certificates."""

    @property
    def digests(self) -> Sequence[bytes]:
        """SHA-256 of certificates, and of their twins."""

    @property
    def serial_numbers(self) -> Sequence[bytes]:
        """Their serial numbers."""

    @property
    def users(self) -> Sequence[str]:
        """Whom they name."""


class Revocations(Protocol):
    """The record of revocations. All methods raise LedgerUnavailable."""

    def newest(self) -> int:
        """Give the index of the newest entry that revokes or lifts."""

    def was_lifted_since(self, index: int) -> bool:
        """Tell whether a hold was lifted by an entry after `index`."""

    def digests(self, after: int, now: datetime) -> Iterator[Digests]:
        """Walk over what finds the certificates that revocations after entry `after` hit."""

    def of_credential(self, credential_id: str) -> Withdrawal | None:
        """Tell whether a certificate is revoked, or is the twin of one that is."""

    def of_serial(self, serial_number: str) -> Withdrawal | None:
        """Tell whether the certificate of a serial number is revoked."""

    def is_on_record(self, credential_id: str) -> bool:
        """Tell whether a certificate was issued here."""


@dataclass(frozen=True, slots=True)
class Denied:
    """Turn it away; `reason` is what the API server tells its client."""

    reason: str


@dataclass(frozen=True, slots=True)
class NoOpinion:
    """Nothing is known against it: others decide."""


class Announcements(Protocol):
    """What other processes say; for one thread."""

    def wait(self, seconds: float) -> None:
        """Wait so many seconds, or less if something was revoked."""

    def close(self) -> None:
        """Give back what listening took."""


class _Tables:
    """What finds revoked certificates. One thread adds, others look."""

    def __init__(self) -> None:
        self.digests = Fingerprints()
        self.serial_numbers = Fingerprints()
        self.users = Fingerprints()

    @property
    def octets(self) -> int:
        return self.digests.octets + self.serial_numbers.octets + self.users.octets

    def add(self, page: Digests) -> None:
        self.digests.update(page.digests)
        self.serial_numbers.update(page.serial_numbers)
        self.users.update(map(_digest, page.users))


class RevokedCredentials:
    """Judges credentials. One for a process, made after the fork; threads share it."""

    def __init__(
        self,
        revocations: Revocations,
        unknown: Unknown,
        clock: Callable[[], datetime],
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        """Load what is revoked now.

        Raises:
            LedgerUnavailable: it cannot be read, and the service must not say that it is ready.
        """
        self._revocations = revocations
        self._unknown = unknown
        self._clock = clock
        self._stopwatch = stopwatch
        self._remembered = Remembered()
        self._alarms = Alarms()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_cut_off = False  # from the ledger: who asks must not wait for what does not answer
        self._tables, self._known, self._built = _Tables(), revocations.newest(), -1
        self._rebuild_at = self._may_rebuild_at = stopwatch()
        self._rebuild()

    def __len__(self) -> int:
        return len(self._tables.serial_numbers)

    @property
    def octets(self) -> int:
        """How much memory the tables take."""
        return self._tables.octets

    def watch(self, announcements: Announcements) -> None:
        """Follow the ledger from now on, in a thread, until `stop` or the end of the process."""
        self._thread = threading.Thread(target=self._watch, args=(announcements,), name="revocations", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread before its next look, and wait for that, but not for a ledger that stands still."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(4 * CHECK_SECONDS)

    def judge(self, review: AccessReview) -> Denied | NoOpinion:
        """Say what is known against the credentials in a question."""
        return next(self._denials(review), None) or self._judge_unknown(review)

    def refresh(self) -> None:
        """Read what was revoked, or lifted, since the last look.

        Raises:
            LedgerUnavailable: it cannot be read; what was known counts on.
        """
        try:
            self._catch_up()
            if self._is_rebuild_due():
                self._rebuild()
        except LedgerUnavailable:
            self._is_cut_off = True
            raise
        self._is_cut_off = False

    def _denials(self, review: AccessReview) -> Iterator[Denied]:
        tables = self._tables
        for credential in review.credential_ids:
            if bytes.fromhex(credential[-64:]) in tables.digests:
                yield from self._confirm(self._revocations.of_credential, credential)
        for serial_number in review.serials:
            if _octets(serial_number) in tables.serial_numbers:
                yield from self._confirm(self._revocations.of_serial, serial_number)

    def _is_rebuild_due(self) -> bool:
        now = self._stopwatch()
        is_allowed = now >= self._may_rebuild_at
        return now >= self._rebuild_at or (is_allowed and self._revocations.was_lifted_since(self._built))

    def _rebuild(self) -> None:
        """Make the tables anew, without what has expired, or was lifted before it began."""
        began, built = self._stopwatch(), self._revocations.newest()
        self._rebuild_at = self._may_rebuild_at = began + _RETRY_SECONDS  # if this one fails
        tables = _Tables()
        for page in self._pages(-1):
            tables.add(page)
            self._catch_up()
        newest = self._revocations.newest()
        for page in self._pages(built):  # what came meanwhile
            tables.add(page)
        self._tables, self._known, self._built = tables, newest, built
        metrics.REVOCATIONS_LOADED.set(len(self))
        ended = self._stopwatch()
        self._rebuild_at = ended + REBUILD_SECONDS
        self._may_rebuild_at = ended + _REBUILD_SHARE * (ended - began)

    def _catch_up(self) -> None:
        newest = self._revocations.newest()
        if newest > self._known:
            for page in self._pages(self._known):
                self._tables.add(page)
            self._known = newest
            metrics.REVOCATIONS_LOADED.set(len(self))

    def _pages(self, after: int) -> Iterator[Digests]:
        return self._revocations.digests(after, self._clock() - CLOCKS_DIFFER)

    def _confirm(self, find: Callable[[str], Withdrawal | None], name: str) -> Iterator[Denied]:
        """Ask the ledger about what memory has; while it cannot be asked, memory counts."""
        if self._is_cut_off:
            yield Denied("this certificate is revoked")
            return
        try:
            found = find(name)
        except LedgerUnavailable:
            self._is_cut_off = True
            yield Denied("this certificate is revoked")
            return
        if found is not None:  # else a hold that was lifted a moment ago
            moment = found.revoked_at.strftime("%Y-%m-%dT%H:%M:%SZ")
            reason = f"{found.reason}; revocation {found.revocation}"
            yield Denied(f"this certificate was revoked at {moment} ({reason})")

    def _judge_unknown(self, review: AccessReview) -> Denied | NoOpinion:
        """Judge a certificate by whether it is on record, and if not, by whom it names.

        Who holds a certificate can write the same signed words in other forms, of which API servers take each
        for another certificate (docs/decisions/0025). So one that is not on record counts as revoked, whatever
        the configuration says, where a certificate of its user is.
        """
        is_suspect = _digest(review.user) in self._tables.users
        if self._unknown is Unknown.IGNORE and not is_suspect:
            return NoOpinion()
        on_record = [self._is_on_record(each) for each in review.credential_ids]
        if all(on_record):
            return NoOpinion()
        if False in on_record and self._unknown is not Unknown.IGNORE:
            metrics.UNKNOWN_CREDENTIALS.inc()
            self._alarms.ring(review.user, review.credential_ids[on_record.index(False)])
        if is_suspect:  # also where it cannot be looked up: what may be revoked is turned away
            return Denied("this certificate is not on record at its issuer, which has revoked another of its user")
        if False in on_record and self._unknown is Unknown.DENY:
            return Denied("this certificate is not on record at its issuer")
        return NoOpinion()

    def _is_on_record(self, credential_id: str) -> bool | None:
        """Tell whether a certificate was issued here; None where that cannot be looked up."""
        found = self._remembered.is_on_record(credential_id)
        if found is not None or self._is_cut_off:
            return found
        try:
            found = self._revocations.is_on_record(credential_id)
        except LedgerUnavailable:
            self._is_cut_off = True
            return None
        self._remembered.remember(credential_id, is_on_record=found)
        return found

    def _watch(self, announcements: Announcements) -> None:
        with closing(announcements):
            while not self._stopped.is_set():
                try:
                    announcements.wait(CHECK_SECONDS)
                    self.refresh()
                except LedgerUnavailable:
                    self._stopped.wait(CHECK_SECONDS)
                except Exception:  # noqa: BLE001 - the thread must outlive whatever the ledger may answer
                    _log.exception("revocations could not be read")
                    self._stopped.wait(CHECK_SECONDS)


def _octets(serial_number: str) -> bytes:
    number = int(serial_number, 16)
    return number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")


def _digest(user: str) -> bytes:
    return hashlib.sha256(user.encode("utf-8", "surrogatepass")).digest()
