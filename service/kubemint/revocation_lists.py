"""What others than API servers are told of revocations: lists (RFC 5280 5) and answers (RFC 6960).

A list is signed anew when something was revoked or lifted, and at half of its time; until then the one that
was signed is given out. The number of a list is its moment in microseconds, so it grows over all replicas.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from kubemint.errors import NotFound
from kubemint.x509.certificate import format_serial
from kubemint.x509.crl import crl_problems, shard_of, shards_for, sign_crl
from kubemint.x509.issuer import Issuer
from kubemint.x509.ocsp import CertificateStatus, Good, Revoked, Unknown, answer_ocsp
from kubemint.x509.revocation import RevocationReason, RevokedCertificate

OCSP_GOOD_FOR: Final = timedelta(minutes=5)  # a revocation counts for who asks within this
_FINER: Final = 4  # how much smaller than they need be parts are cut: for when the list has shrunk since
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Withdrawal(Protocol):
    """That a certificate was taken back: when, and why."""

    @property
    def revoked_at(self) -> datetime:
        """When."""

    @property
    def reason(self) -> RevocationReason:
        """Why."""


class Revocations(Protocol):
    """The record of revocations. All methods raise LedgerUnavailable."""

    def newest(self) -> int:
        """Give the index of the newest entry that revokes or lifts."""

    def count(self, now: datetime) -> int:
        """Count all that is revoked and had not expired at that time."""

    def revoked(self, now: datetime) -> Iterator[RevokedCertificate]:
        """Walk over all that is revoked and had not expired at that time."""

    def of_serial(self, serial_number: str) -> Withdrawal | None:
        """Tell whether the certificate of a serial number is revoked."""

    def has_serial(self, serial_number: str) -> bool:
        """Tell whether a certificate of this serial number was issued here."""


@dataclass(frozen=True, slots=True)
class _Signed:
    """A list as it was signed: the newest revocation in it, until when it is given out, its octets."""

    newest: int
    until: datetime
    der: bytes


class RevocationLists:
    """Signs lists and answers. One for a process; threads share it."""

    def __init__(
        self,
        issuer: Issuer,
        revocations: Revocations,
        lifetime: timedelta,
        url: str | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._issuer = issuer
        self._revocations = revocations
        self._lifetime = lifetime
        self._url = url
        self._clock = clock
        self._lock = threading.Lock()
        self._signed: dict[tuple[int, int], _Signed] = {}

    def whole(self) -> bytes:
        """Give the list of all that is revoked, and has not expired a lifetime of a list ago, in DER.

        Raises:
            NotFound: the CA's certificate does not let it sign lists.
            SigningFailed, LedgerUnavailable: there is none now.
        """
        return self._list(1, 0, None)

    def shard(self, shards: int, shard: int) -> bytes:
        """Give one of `shards` lists, a power of two, from 0.

        Raises:
            NotFound: there is none, or the list is not cut so small.
            SigningFailed, LedgerUnavailable: as `whole` raises them.
        """
        is_one = not shards & (shards - 1) and 0 <= shard < shards
        if self._url is None or not is_one or shards > self._most_shards():
            raise NotFound("There is no such part of the revocation list.")
        return self._list(shards, shard, f"{self._url.rstrip('/')}/v1/crl/{shards}/{shard}")

    def answer(self, request_der: bytes) -> bytes:
        """Answer an OCSP request, in DER; what is no request is answered too.

        Raises:
            SigningFailed, LedgerUnavailable: there is no answer now.
        """
        return answer_ocsp(
            request_der, self._issuer, self._status_of, now=self._clock(), good_for=OCSP_GOOD_FOR, responder=None
        )

    def _most_shards(self) -> int:
        """Bound how many lists there are to sign and to keep, whoever asks."""
        return _FINER * shards_for(self._revocations.count(self._clock() - self._lifetime))

    def _list(self, shards: int, shard: int, url: str | None) -> bytes:
        if problems := list(crl_problems(self._issuer)):
            raise NotFound(f"There is no revocation list: {problems[0]}.")
        with self._lock:  # one signs, and the others have it then
            now, newest = self._clock(), self._revocations.newest()
            known = self._signed.get((shards, shard))
            if known is None or known.newest != newest or known.until <= now:
                known = _Signed(newest, now + self._lifetime / 2, self._sign(shards, shard, url, now))
                self._signed[shards, shard] = known
            return known.der

    def _sign(self, shards: int, shard: int, url: str | None, now: datetime) -> bytes:
        # RFC 5280 3.3: what is revoked stands in one more list after it has expired.
        since = now - self._lifetime
        revoked = [one for one in self._revocations.revoked(since) if shard_of(one.serial_number, shards) == shard]
        number = (now - _EPOCH) // timedelta(microseconds=1)
        return sign_crl(
            self._issuer,
            revoked,
            number=number,
            this_update=now,
            next_update=now + self._lifetime,
            distribution_point=url,
        )

    def _status_of(self, serial_number: int) -> CertificateStatus:
        name = format_serial(serial_number)
        if (withdrawal := self._revocations.of_serial(name)) is not None:
            return Revoked(revoked_at=withdrawal.revoked_at, reason=withdrawal.reason)
        return Good() if self._revocations.has_serial(name) else Unknown()
