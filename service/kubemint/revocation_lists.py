"""What others than API servers are told of revocations: lists (RFC 5280 5) and answers (RFC 6960).

Anybody may ask for a list, and a long one takes seconds to sign. So a process signs one list at a time, in a
thread that the first who finds it out of date starts; who asks gets the one that was signed last while it is
valid, and waits only as that first one, or where there is none; and not for long (`kubemint.one_at_a_time`).
Which list is due follows from the record and the clock: `kubemint.x509.crl_edition`.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from kubemint.errors import ListNotReady, NotFound
from kubemint.one_at_a_time import OneAtATime
from kubemint.x509.certificate import format_serial
from kubemint.x509.crl import crl_problems, shard_of, shards_for, sign_crl
from kubemint.x509.crl_edition import Edition, period_after, window_of
from kubemint.x509.issuer import Issuer
from kubemint.x509.ocsp import CertificateStatus, Good, OcspAnswer, Revoked, Unknown, answer_ocsp
from kubemint.x509.revocation import RevocationReason, RevokedCertificate

OCSP_GOOD_FOR: Final = timedelta(minutes=5)  # a revocation counts for who asks within this
PACE_SECONDS: Final = 5.0  # between two lists of a stream of revocations
_PACE_SHARE: Final = 4  # and as many times as long as all of them take: a quarter of the time at most
_COUNTED_SECONDS: Final = 60.0  # for which it is known how many parts there are
_FINER: Final = 4  # how much smaller than they need be parts are cut: for when the list has shrunk since


class Withdrawal(Protocol):
    """That a certificate was taken back: when, and why."""

    @property
    def revoked_at(self) -> datetime:
        """When."""

    @property
    def reason(self) -> RevocationReason:
        """Why."""


class Change(Protocol):
    """An entry that changed what is revoked."""

    @property
    def index(self) -> int:
        """Where it stands."""

    @property
    def time(self) -> datetime:
        """When it was made."""


class Revocations(Protocol):
    """The record of revocations. All methods raise LedgerUnavailable."""

    def newest_change(self, old: datetime) -> Change | None:
        """Give the newest entry that changed what is revoked, or None; see the ledger on `old`."""

    def count(self, now: datetime) -> int:
        """Count all that is revoked and had not expired at that time."""

    def revoked(self, now: datetime, newest: int) -> Iterator[RevokedCertificate]:
        """Walk over all that entry `newest` left revoked, and that had not expired at that time."""

    def of_serial(self, serial_number: str) -> Withdrawal | None:
        """Tell whether the certificate of a serial number is revoked."""

    def has_serial(self, serial_number: str) -> bool:
        """Tell whether a certificate of this serial number was issued here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedList:
    """A list: its edition and number, from when until when it counts, and its octets in DER."""

    edition: Edition
    this_update: datetime
    next_update: datetime
    der: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One of `shards` lists, at `url`; the whole list has none."""

    shards: int
    shard: int
    url: str | None


class RevocationLists:
    """Signs lists and answers. One for a process; threads share it.

    Lists count for `lifetime`, which is `LIFETIME_MIN` of `kubemint.x509.crl_edition` or more.
    """

    def __init__(  # noqa: PLR0913 - who signs what, for how long and by which clocks: wiring names each
        self,
        issuer: Issuer,
        revocations: Revocations,
        lifetime: timedelta,
        url: str | None,
        clock: Callable[[], datetime],
        *,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._revocations = revocations
        self._lifetime = lifetime
        self._url = url
        self._clock = clock
        self._stopwatch = stopwatch
        self._work = OneAtATime("revocation list", stopwatch)
        # What is done one at a time alone writes these, and replaces values that never change.
        self._signed: dict[_Part, SignedList] = {}
        self._took: dict[_Part, tuple[float, float]] = {}  # when the last one was begun and ended
        self._period: datetime | None = None
        self._counted: tuple[float, int] | None = None

    def whole(self) -> SignedList:
        """Give the list of all that is revoked, and has not expired a lifetime of a list ago.

        On a list that is out of date the caller waits a bounded time for the next, and gets the old one then.

        Raises:
            NotFound: the CA's certificate does not let it sign lists.
            ListNotReady: it is being signed, and no other is valid.
            SigningFailed, LedgerUnavailable: there is none now.
            RuntimeError: nor is there for a reason that nobody thought of.
        """
        return self._list(_Part(shards=1, shard=0, url=None))

    def shard(self, shards: int, shard: int) -> SignedList:
        """Give one of `shards` lists, a power of two, from 0; as `whole` does.

        Raises:
            NotFound: there is none, or the list is not cut so small.
            ListNotReady, SigningFailed, LedgerUnavailable, RuntimeError: as `whole` raises them.
        """
        is_one = not shards & (shards - 1) and 0 <= shard < shards
        most = self._most_shards(shards) if is_one and self._url is not None else 0
        if self._url is None or not is_one or shards > most:
            raise NotFound("There is no such part of the revocation list.")
        url = f"{self._url.rstrip('/')}/v1/crl/{shards}/{shard}"
        return self._list(_Part(shards=shards, shard=shard, url=url))

    def answer(self, request_der: bytes) -> OcspAnswer:
        """Answer an OCSP request; what is no request is answered too.

        Raises:
            SigningFailed, LedgerUnavailable: there is no answer now.
        """
        return answer_ocsp(request_der, self._issuer, self._status_of, now=self._clock(), good_for=OCSP_GOOD_FOR)

    def _most_shards(self, shards: int) -> int:
        """Bound how many lists there are to sign and to keep, whoever asks."""
        if shards <= _FINER:
            return _FINER
        counted = self._counted
        if counted is None or counted[0] <= self._stopwatch():
            self._work.renew("count", self._count, has_one=counted is not None)
        if self._counted is None:
            raise ListNotReady("It is being counted how many parts the revocation list has; ask again.")
        return self._counted[1]

    def _count(self) -> None:
        most = _FINER * shards_for(self._revocations.count(self._clock() - self._lifetime))
        for part in [part for part in self._signed if part.shards > most]:
            del self._signed[part], self._took[part]
        self._counted = self._stopwatch() + _COUNTED_SECONDS, most

    def _list(self, part: _Part) -> SignedList:
        if problems := list(crl_problems(self._issuer)):
            raise NotFound(f"There is no revocation list: {problems[0]}.")
        self._work.renew(part, lambda: self._renew(part), has_one=self._valid(part) is not None)
        if (signed := self._valid(part)) is None:
            raise ListNotReady("The revocation list is being signed; ask again.")
        return signed

    def _valid(self, part: _Part) -> SignedList | None:
        known = self._signed.get(part)
        return None if known is None or known.next_update <= self._clock() else known

    def _renew(self, part: _Part) -> None:
        """Sign the list that is due, if it is not the last one, nor too soon after it."""
        now, known = self._clock(), self._valid(part)
        self._period = period_after(self._period, now)
        change = self._revocations.newest_change(self._period)
        edition = Edition(period=self._period, newest=-1 if change is None else change.index)
        if known is not None:
            is_newer = edition.period != known.edition.period or edition.newest > known.edition.newest
            if not is_newer or self._is_too_soon(part):
                return
        began = self._stopwatch()
        window = window_of(edition, None if change is None else change.time, self._lifetime, now)
        der = self._sign(part, edition, window)
        self._took[part] = began, self._stopwatch()
        self._signed[part] = SignedList(edition=edition, this_update=window[0], next_update=window[1], der=der)

    def _is_too_soon(self, part: _Part) -> bool:
        work = sum(ended - began for began, ended in self._took.values())
        return self._stopwatch() < self._took[part][1] + max(PACE_SECONDS, _PACE_SHARE * work)

    def _sign(self, part: _Part, edition: Edition, window: tuple[datetime, datetime]) -> bytes:
        # RFC 5280 3.3: what is revoked stands in one more list after it has expired.
        all_revoked = self._revocations.revoked(edition.period - self._lifetime, edition.newest)
        revoked = [one for one in all_revoked if shard_of(one.serial_number, part.shards) == part.shard]
        return sign_crl(
            self._issuer,
            revoked,
            number=edition.number,
            this_update=window[0],
            next_update=window[1],
            distribution_point=part.url,
        )

    def _status_of(self, serial_number: int) -> CertificateStatus:
        name = format_serial(serial_number)
        if (withdrawal := self._revocations.of_serial(name)) is not None:
            return Revoked(revoked_at=withdrawal.revoked_at, reason=withdrawal.reason)
        return Good() if self._revocations.has_serial(name) else Unknown()
