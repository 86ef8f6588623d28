"""A bound on how much of one kind is done at once in a process, so that it cannot take all memory and threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kubemint.errors import LedgerUnavailable


class Turns:
    """So many at once; others wait a moment. Threads share it."""

    def __init__(self, places: int, wait_seconds: float) -> None:
        self._free = threading.BoundedSemaphore(places)
        self._wait_seconds = wait_seconds

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Do what is inside when there is a place.

        Raises:
            LedgerUnavailable: there is none in time; the client is told to come back.
        """
        if not self._free.acquire(timeout=self._wait_seconds):
            raise LedgerUnavailable("too many ask for entries of the log at once")
        try:
            yield
        finally:
            self._free.release()
