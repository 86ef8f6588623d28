"""Whether a process can do its work, found out by doing it."""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature

from kubemint.errors import KubemintError
from kubemint.ledger.writer import LedgerWriter
from kubemint.signing.probe import check_signing
from kubemint.x509.issuer import Issuer

READINESS_SECONDS: Final = 3.0  # how long the answer of a readiness check is good for


class Readiness:
    """Whether this process can do its work, found out by doing it; asked often, done every few seconds.

    `watched` says what those who watch the log have against it, None if nothing.
    """

    def __init__(
        self,
        issuer: Issuer,
        writer: LedgerWriter,
        watched: Callable[[], str | None],
        clock: Callable[[], datetime],
    ) -> None:
        self._issuer = issuer
        self._writer = writer
        self._watched = watched
        self._clock = clock
        self._lock = threading.Lock()
        self._known_until = 0.0
        self._problem: str | None = "not-checked-yet"

    def __call__(self) -> str | None:
        """Say why the service is not ready; None if it is."""
        if time.monotonic() >= self._known_until and self._lock.acquire(blocking=False):
            try:
                self._problem = self._find_problem()
                self._known_until = time.monotonic() + READINESS_SECONDS
            finally:
                self._lock.release()
        return self._problem  # while another finds out, what was known before

    def _find_problem(self) -> str | None:
        now = self._clock()
        if now > self._issuer.limits.not_after:
            return "issuer-expired"
        try:
            check_signing(self._issuer)
            self._writer.check_writable(now)
        except (KubemintError, InvalidSignature) as fault:
            return fault.code if isinstance(fault, KubemintError) else "signing-failed"
        return self._watched()
