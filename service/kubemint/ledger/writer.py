"""Adding to the ledger: one transaction for all who wait (group commit).

Each thread leaves what it appends in the queue. Whoever finds nobody leading leads: it waits a moment for those
who are about to leave theirs, writes everything that waits and commits once. Then it wakes those whose work
is done, and the first of those who came meanwhile, who leads next. So nobody whose certificate is on record
waits for another's commit, and is back with the next request while that lasts. Compared with a writer thread,
nobody hands the interpreter over and back for one commit.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol

from sqlalchemy import Engine

from kubemint.errors import LedgerUnavailable
from kubemint.ledger.archive import NO_ARCHIVE, Archive
from kubemint.ledger.batch import Added, Batch, Unit
from kubemint.ledger.growing import LogKeys, Sealer
from kubemint.ledger.statements import Cursor, Statements
from kubemint.record import Condition, Event, Recorded, Unmet, rfc3339

BATCH_MAX: Final = 128  # bounds how long one transaction holds the head, whatever waits

GATHER_SECONDS: Final = 0.01  # how long a commit waits for those who are about to write


class WritableDatabase(Protocol):
    """A database as the writer needs it."""

    engine: Engine

    def close(self) -> None:
        """Close what is open; what comes next opens it again."""

    def transaction(self) -> AbstractContextManager[Cursor]:
        """Run what is inside as one transaction that excludes every other writer, durable at its end.

        Raises:
            LedgerUnavailable: it is not, or that cannot be told. What the database has against the rows
                alone (PEP 249: IntegrityError, DataError, …), and what is raised inside, comes as it is;
                then nothing was written.
        """


def _locked() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True)
class _Waiting:
    """What one append brings, and what became of it."""

    unit: Unit
    recorded: Recorded | None = None
    fault: Exception | None = None
    done: bool = False
    turn: threading.Lock = field(default_factory=_locked)  # released when it is done, or is to lead


class LedgerWriter:
    """Appends events. One for a process; threads share it.

    `announce` is called with the new entries of each commit, in their order, once they are durable.
    """

    def __init__(
        self,
        database: WritableDatabase,
        keys: LogKeys,
        announce: Callable[[Sequence[Added]], None],
        archive: Archive = NO_ARCHIVE,
    ) -> None:
        self._database = database
        self._archive = archive
        self._sealer = Sealer(keys)
        self._announce = announce
        self._statements = Statements(database.engine)
        self._queue: deque[_Waiting] = deque()
        self._queue_lock = threading.Lock()  # of the queue, and of who leads
        self._has_leader = False
        self._commit_lock = threading.Lock()
        self._all_queued = threading.Condition()
        self._announced = 0
        self._thread = threading.local()

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Keep `kubemint.issuance.Ledger.preparing`."""
        with self._all_queued:
            self._announced += 1
        self._thread.is_announced = True
        try:
            yield
        finally:
            self._no_longer_announced()

    def append(
        self,
        *events: Event,
        conditions: Sequence[Condition] = (),
        otherwise: Callable[[Unmet], Event] | None = None,
    ) -> Recorded:
        """Keep `kubemint.issuance.Ledger.append`."""
        waiting = _Waiting(Unit(events, conditions, otherwise))
        with self._queue_lock:
            self._queue.append(waiting)
            is_leader, self._has_leader = not self._has_leader, True
        self._no_longer_announced()
        if not is_leader:
            waiting.turn.acquire()
        if not waiting.done:
            self._lead()
        if waiting.recorded is None:
            raise LedgerUnavailable("the record could not be written") from waiting.fault
        return waiting.recorded

    def check_writable(self, now: datetime) -> None:
        """Write to the ledger's disk and wait until it is durable, without adding an entry.

        Raises:
            LedgerUnavailable: it is not.
        """
        with self._commit_lock, self._database.transaction() as cursor:
            cursor.execute(self._statements.beat, (rfc3339(now),))

    def _no_longer_announced(self) -> None:
        """Take a thread off those who are waited for, once."""
        if getattr(self._thread, "is_announced", False):
            self._thread.is_announced = False
            with self._all_queued:
                self._announced -= 1
                if self._announced == 0:
                    self._all_queued.notify()

    def _wait_for_the_others(self) -> None:
        """Let those who have announced themselves come too, for a moment: one commit for all costs as one."""
        with self._all_queued:
            self._all_queued.wait_for(lambda: self._announced == 0, GATHER_SECONDS)

    def _lead(self) -> None:
        """Commit what waits, one's own first, and let the next one lead."""
        batch: list[_Waiting] = []
        try:
            with self._commit_lock:
                self._wait_for_the_others()
                batch += self._take(BATCH_MAX)
                self._commit(batch)
        except LedgerUnavailable as fault:
            # The commit may have taken effect all the same; the clients retry and nothing unlogged exists.
            # Whoever came while this one tried has waited too, and would only try the same again.
            batch += self._take(None)
            for waiting in batch:
                waiting.fault = fault
        except BaseException:
            batch += self._take(None)  # whatever ends this thread, nobody waits for it to lead
            raise
        finally:
            self._hand_over(batch)

    def _take(self, most: int | None) -> list[_Waiting]:
        """Take those who wait, in their order: `most` of them, and none behind a revocation, or else all.

        Which keys a revocation keeps out is known when it is written, and must hold for whoever comes next.
        """
        taken: list[_Waiting] = []
        with self._queue_lock:
            while self._queue and (most is None or len(taken) < most):
                taken.append(self._queue.popleft())
                if most is not None and taken[-1].unit.revokes:
                    break
        return taken

    def _hand_over(self, batch: Sequence[_Waiting]) -> None:
        with self._queue_lock:
            following = self._queue[0] if self._queue else None
            self._has_leader = following is not None
        for waiting in batch:
            waiting.done = True
            waiting.turn.release()
        if following is not None:
            following.turn.release()

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        """Write a batch in one transaction; where that fails for what one of them brings, one by one.

        Raises:
            LedgerUnavailable: those that have nothing recorded yet have failed.
        """
        try:
            with self._database.transaction() as cursor:
                written = Batch(cursor, self._statements, self._sealer, self._archive)
                recorded = [written.take(waiting.unit) for waiting in batch]
                written.write()
        except LedgerUnavailable:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever is wrong with one, the others have no part in it
            if len(batch) == 1:
                batch[0].fault = fault
                return
            for waiting in batch:
                self._commit([waiting])
            return
        # Committed: if the process dies here, the entries stay and nobody has received anything.
        self._sealer.remember(written.head)
        for waiting, one in zip(batch, recorded, strict=True):
            waiting.recorded = replace(one, receipt=written.receipt_of(one))
        self._announce(written.added)
