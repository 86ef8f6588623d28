"""Whether a server answers, as all connections of a process know it.

A server that stands still (a machine that hangs, a disk that does, packets that vanish) refuses nothing. If
everybody waited for it as long as one answer may take, no thread would be left for anything else. So whoever
has waited a while for an answer, while nothing was heard on any other connection either, asks whether somebody
is there at all. If not, all who wait give up and nobody begins to, until a thread of its own has got through.
"""

import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, PollingStatus

from kubemint.errors import KubemintError

SILENT_SECONDS: Final = 0.7  # without a word on any connection; then somebody asks
ASK_SECONDS: Final = 0.5  # for a sign of life
REST_SECONDS: Final = 0.5  # between two tries to reach a server that is silent

_Result = TypeVar("_Result")
_EVENTS: Final[dict[int, int]] = {PollingStatus.READING: select.POLLIN, PollingStatus.WRITING: select.POLLOUT}


class ServerSilent(psycopg.OperationalError):
    """Nothing was heard of the server, so it is not waited for."""

    def __init__(self) -> None:
        super().__init__("the server does not answer")


class Pulse:
    """What was heard of one server. One for a process; threads share it.

    `look` connects to it, with all patience, and lets go again: it is called in a thread of its own while the
    server is silent.
    """

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._heard_at = 0.0
        self._is_silent = False
        self._trying = threading.Lock()  # of those who connect or ask
        self._looking = threading.Lock()  # of `_is_looking`
        self._is_looking = False

    def heard(self) -> None:
        """Note an answer, whatever it says."""
        self._heard_at = time.monotonic()
        self._is_silent = False

    def check(self) -> None:
        """Refuse to begin to wait for a silent server.

        Raises:
            ServerSilent: it is.
        """
        if self._is_silent:
            raise ServerSilent

    def check_wait(self, began: float, ask: Callable[[], bool]) -> None:
        """Look now and then during a wait, which began then by the monotonic clock, whether it has a point.

        Raises:
            ServerSilent: it has none.
        """
        is_overdue = time.monotonic() - max(began, self._heard_at) >= SILENT_SECONDS
        if is_overdue and not self._is_silent and self._trying.acquire(blocking=False):
            try:
                if ask():
                    self.heard()
                else:
                    self._fall_silent()
            finally:
                self._trying.release()
        self.check()

    def connect(self, attempt: Callable[[], _Result]) -> _Result:
        """Make a connection; where nothing was heard lately one thread tries, and others wait for a moment.

        Raises:
            ServerSilent: the server is, or the one who tries takes too long.
            Anything that the attempt raises.
        """
        self.check()
        if self._was_heard():
            return self._attempt(attempt)
        if not self._trying.acquire(timeout=SILENT_SECONDS):
            raise ServerSilent
        try:
            self.check()
            if not self._was_heard():
                return self._attempt(attempt)
        finally:
            self._trying.release()
        return self._attempt(attempt)

    def _attempt(self, attempt: Callable[[], _Result]) -> _Result:
        began = time.monotonic()
        try:
            result = attempt()
        except (psycopg.Error, KubemintError):
            if time.monotonic() - began >= SILENT_SECONDS:
                self._fall_silent()
            else:
                self.heard()  # a refusal is an answer
            raise
        self.heard()
        return result

    def _was_heard(self) -> bool:
        return time.monotonic() - self._heard_at < SILENT_SECONDS

    def _fall_silent(self) -> None:
        with self._looking:
            self._is_silent = True
            if not self._is_looking:
                self._is_looking = True
                threading.Thread(target=self._look_until_heard, name="ledger-pulse", daemon=True).start()

    def _look_until_heard(self) -> None:
        while self._goes_on_looking():
            time.sleep(REST_SECONDS)
            with suppress(psycopg.Error, KubemintError):  # told to those who ask, as soon as there is an answer
                self._attempt(self._look)

    def _goes_on_looking(self) -> bool:
        with self._looking:
            self._is_looking = self._is_silent
            return self._is_looking


def is_anybody_there(connected: psycopg.ConnectionInfo) -> bool:
    """Begin another connection to the same server, for a moment; whatever it answers is a sign of life."""
    place = {"host": connected.host, "hostaddr": connected.hostaddr, "port": str(connected.port)}
    asked = make_conninfo(connected.dsn, **{name: value for name, value in place.items() if value})
    deadline = time.monotonic() + ASK_SECONDS
    connection = PGconn.connect_start(asked.encode())
    try:
        while (status := connection.connect_poll()) in _EVENTS:
            if not _comes(connection.socket, _EVENTS[status], deadline):
                return False
    finally:
        connection.finish()
    return True


def _comes(descriptor: int, event: int, deadline: float) -> bool:
    """Wait until something can be read or written, until the deadline at most."""
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
