"""Work that many ask for and that is done once: one thing at a time, and nobody waits for it for long.

There is no thread while there is nothing to do: who finds work due starts one, which ends with it.
"""

import logging
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from kubemint.errors import KubemintError, LedgerUnavailable, SigningFailed

WAIT_SECONDS: Final = 2.0  # API servers wait for an answer of this process for three
FAILED_SECONDS: Final = 1.0  # for which a failure is not tried again
_WAITERS: Final = 2  # threads that wait so long; more of them would be missed
_SHORT_WAIT_SECONDS: Final = 0.2  # of the others, who have nothing yet: for short work it is enough
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _End:
    """That work has ended, each time another: by what failure if in vain, which counts until `until`."""

    failure: Exception | None
    until: float


class OneAtATime:
    """Does one thing at a time, each in a thread that ends with it, and remembers what failed. Threads share it.

    `title` says in the log what it is all about. `stopwatch` gives seconds, and tells how old a failure is.
    """

    def __init__(self, title: str, stopwatch: Callable[[], float]) -> None:
        self._title = title
        self._stopwatch = stopwatch
        self._changed = threading.Condition()  # guards the next two, for as long as it takes to look at them
        self._is_busy = False
        self._ends: dict[Hashable, _End] = {}  # the last of each name
        self._waiting = threading.BoundedSemaphore(_WAITERS)

    def renew(self, name: Hashable, do: Callable[[], None], *, has_one: bool) -> None:
        """Have this done again, and wait a bounded time for it.

        Who has one that will do waits only if nothing else is being done, and learns of no failure.

        Raises:
            LedgerUnavailable, SigningFailed: as `do` raised it, now or a moment ago.
            RuntimeError: `do` raised something that nobody thought of; the log has it.
        """
        if has_one:
            self._renew_if_idle(name, do)
            return
        can_wait = self._waiting.acquire(blocking=False)
        try:
            end = self._wait(name, do, WAIT_SECONDS if can_wait else _SHORT_WAIT_SECONDS)
        finally:
            if can_wait:
                self._waiting.release()
        if end is not None and end.failure is not None:
            raise self._failure_for_one(end.failure) from end.failure

    def _renew_if_idle(self, name: Hashable, do: Callable[[], None]) -> None:
        with self._changed:
            before = self._ends.get(name)
            if not self._is_busy and not self._has_just_failed(before):
                self._begin(name, do)
                self._changed.wait_for(lambda: self._ends.get(name) is not before, WAIT_SECONDS)

    def _wait(self, name: Hashable, do: Callable[[], None], seconds: float) -> _End | None:
        """Wait until this has been done anew, or has just failed; begin it as soon as nothing is being done."""

        def end() -> _End | None:
            last = self._ends.get(name)
            if last is not before or self._has_just_failed(last):
                return last
            if not self._is_busy:
                self._begin(name, do)
            return None

        with self._changed:
            before = self._ends.get(name)
            return self._changed.wait_for(end, seconds)

    def _has_just_failed(self, end: _End | None) -> bool:
        return end is not None and end.failure is not None and self._stopwatch() < end.until

    def _begin(self, name: Hashable, do: Callable[[], None]) -> None:
        """Start a thread that does it; to be called with the lock, which the thread needs to end."""
        threading.Thread(target=self._run, args=(name, do), name=self._title, daemon=True).start()
        self._is_busy = True

    def _run(self, name: Hashable, do: Callable[[], None]) -> None:
        failure: Exception | None = None
        try:
            do()
        except Exception as fault:  # noqa: BLE001 - the outermost shell of this thread
            failure = fault
            code = fault.code if isinstance(fault, KubemintError) else KubemintError.code
            _log.error("%s not renewed", self._title, extra={"code": code}, exc_info=fault)
        with self._changed:
            self._ends[name] = _End(failure=failure, until=self._stopwatch() + FAILED_SECONDS)
            self._is_busy = False
            self._changed.notify_all()

    def _failure_for_one(self, failure: Exception) -> Exception:
        """Make an exception for one who waits: threads that raise the same one write into its traceback."""
        if isinstance(failure, LedgerUnavailable):
            return LedgerUnavailable(failure.message)
        if isinstance(failure, SigningFailed):
            return SigningFailed(failure.message)
        return RuntimeError(f"{self._title} not renewed: {failure!r}")
