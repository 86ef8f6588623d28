"""Getting checkpoints witnessed, round after round, by a thread of its own.

A round shows the newest checkpoint to every witness; all who wait share it. What comes of it is kept in the
ledger, so that other processes need not ask too. A witness that fails is asked again after a pause that
grows; meanwhile nobody waits for it. One that knows more of the log than we do is an alarm.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from kubemint.errors import LedgerDamaged, LedgerUnavailable
from kubemint.ledger.log import LedgerLog
from kubemint.metrics import WITNESSED_SIZE
from kubemint.transparency.checkpoint import NoteVerifier
from kubemint.witnesses.kept import KeptCheckpoint
from kubemint.witnesses.standing import Standing, WitnessTimes
from kubemint.witnesses.witness import Candidate, Fault, NotCosigned

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Round:
    """A checkpoint, and the lines that it has got so far."""

    candidate: Candidate
    lines: dict[NoteVerifier, str]


class Witnessing:
    """Keeps the log witnessed. One for a process, started after the fork; threads share it.

    `announce` is called when cosignatures are kept.
    """

    def __init__(
        self,
        standings: Sequence[Standing],
        log: LedgerLog,
        kept: KeptCheckpoint,
        announce: Callable[[], None],
        times: WitnessTimes,
    ) -> None:
        self._standings = tuple(standings)
        self._log = log
        self._kept = kept
        self._announce = announce
        self._times = times
        self._thread = threading.Thread(target=self._run, name="witnesses", daemon=True)
        self._adding = threading.Lock()
        self._changed = threading.Condition()
        # All below, and the standings: read and written under self._changed.
        self._closed = False
        self._wanted = True  # a round
        self._next_round = 0.0
        self._next_poll = 0.0
        self._waiting = 0
        self._covered = 0  # entries that all required witnesses have seen
        self._shown = 0  # entries of the newest checkpoint that was shown to any

    def start(self) -> None:
        """Begin, in a thread that ends at `close`, or with the process."""
        self._thread.start()

    def wake(self) -> None:
        """Tell that there are new entries."""
        with self._changed:
            self._wanted = True
            self._changed.notify_all()

    def close(self) -> None:
        """End; who waits is refused, and a request to a witness that is under way ends at its deadline."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(self._times.request)

    def problem(self) -> str | None:
        """Say what witnesses have against the log; None if nothing is known."""
        with self._changed:
            return next((one.problem for one in self._standings if one.problem is not None), None)

    def check(self) -> None:
        """Find out before a certificate is recorded that it could not leave; waits for the first answers.

        Raises:
            LedgerUnavailable: a required witness does not cosign now.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._failing() is not None or self._is_proven(), self._times.wait
            )
            self._check()
            if not self._is_proven():
                raise LedgerUnavailable("a required witness has not answered yet")

    def wait_for(self, size: int) -> None:
        """Wait until all required witnesses have seen the first `size` entries.

        Raises:
            LedgerUnavailable: one does not cosign, or not in time. The entries stay.
        """
        deadline = time.monotonic() + self._times.wait
        with self._changed:
            self._waiting += 1
        try:
            while not self.has_covered(size):
                self._wait_once(size, deadline)
        except LedgerUnavailable:
            if self._learn(self._kept.read()) < size:  # else another process has got them a moment ago
                raise
        finally:
            with self._changed:
                self._waiting -= 1

    def has_covered(self, size: int) -> bool:
        """Tell whether that many are witnessed; looks at the ledger if nobody has for a moment."""
        with self._changed:
            if self._covered >= size or time.monotonic() < self._next_poll:
                return self._covered >= size
            self._next_poll = time.monotonic() + self._times.poll
        return self._learn(self._kept.read()) >= size

    def _wait_once(self, size: int, deadline: float) -> None:
        with self._changed:
            if self._covered >= size:
                return
            self._check()
            if (left := deadline - time.monotonic()) <= 0:
                raise LedgerUnavailable(f"{size} entries have not been witnessed in time")
            self._wanted = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._covered >= size or self._closed or self._failing() is not None,
                min(self._times.poll, left),
            )

    def _check(self) -> None:
        if self._closed:
            raise LedgerUnavailable("the service is stopping")
        if (failing := self._failing()) is not None:
            _refuse(failing)

    def _is_proven(self) -> bool:
        return all(one.is_proven for one in self._standings if one.is_required)

    def _failing(self) -> Standing | None:
        return next((one for one in self._standings if one.is_required and one.fault is not None), None)

    def _run(self) -> None:
        while self._sleep_until_due():
            try:
                self._hold_round()
            except LedgerDamaged as damage:
                _tell_of(damage)
            except LedgerUnavailable as fault:
                _log.warning("no checkpoint to be witnessed", extra={"problem": fault.message})
            except Exception:  # noqa: BLE001 - the thread is the outermost shell: it must outlive anything
                _log.exception("a round of witnesses went wrong")

    def _sleep_until_due(self) -> bool:
        """Sleep until a round is due; False if there is nothing more to do."""
        with self._changed:
            while not self._closed:
                left = self._due_at() - time.monotonic()
                if left <= 0:
                    self._wanted = False
                    self._next_round = time.monotonic() + self._times.rest
                    return True
                self._changed.wait(min(left, self._times.pause_max))
            return False

    def _due_at(self) -> float:
        times = [one.due for one in self._standings if one.failures and not one.is_busy]
        if self._wanted:
            times.append(0.0 if self._waiting else self._next_round)
        return min(times, default=float("inf"))

    def _hold_round(self) -> None:
        note, head = self._log.head()
        stored = self._kept.read()
        self._learn(stored)
        candidate = Candidate(
            note=note, size=head.size, prove=lambda old_size: self._log.consistency(old_size, head.size)[0]
        )
        current = _Round(candidate, self._kept.lines_of(stored, note))
        asked = self._begin(current)
        for standing in asked:
            threading.Thread(target=self._ask, args=(standing, current), name="witness", daemon=True).start()
        awaited = [standing for standing in asked if standing.is_required] or asked
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not any(one.is_busy for one in awaited))

    def _begin(self, current: _Round) -> list[Standing]:
        with self._changed:
            if not current.candidate.size:  # of nothing there is nothing to be seen, nor to be lost
                for one in self._standings:
                    one.is_proven = True
                self._changed.notify_all()
                return []
            self._shown = max(self._shown, current.candidate.size)
            return [one for one in self._standings if one.begin(has_line=one.witness.key in current.lines)]

    def _ask(self, standing: Standing, current: _Round) -> None:
        fault: NotCosigned | None = None
        has_cosigned = False
        try:
            self._add(standing, current, standing.witness.cosign(current.candidate))
            has_cosigned = True
        except NotCosigned as refused:
            fault = None if self._is_race(refused) else refused
        except LedgerUnavailable as ours:  # the same pause is right, and the witness has no part in it
            fault = NotCosigned(Fault.NOT_ASKED, ours.message)
            if isinstance(ours, LedgerDamaged):
                _tell_of(ours)
        except Exception as unknown:  # noqa: BLE001 - the outermost shell of a thread
            _log.exception("a witness could not be asked")
            fault = NotCosigned(Fault.MISBEHAVED, type(unknown).__name__)
        with self._changed:
            standing.is_proven |= has_cosigned
            standing.end(fault)
            if current.candidate.size < self._shown:  # it was busy while others were shown what is newer
                self._wanted = True
            self._changed.notify_all()

    def _is_race(self, refused: NotCosigned) -> bool:
        """Tell a race from an old copy: meanwhile another process may have shown what is newer."""
        if refused.fault is not Fault.LOG_OLDER:
            return False
        with suppress(LedgerUnavailable):
            if self._log.head()[1].size >= refused.size:
                self.wake()
                return True
        return False

    def _add(self, standing: Standing, current: _Round, line: str) -> None:
        """Keep cosignatures as soon as all required witnesses have given theirs for the same checkpoint."""
        with self._adding:
            current.lines[standing.witness.key] = line
            if self._kept.is_complete(current.lines):
                self._learn(self._kept.add(current.candidate, current.lines))
                self._announce()

    def _learn(self, note: str) -> int:
        covered = self._kept.size_covered_by(note)
        with self._changed:
            if covered > self._covered:
                self._covered = covered
                WITNESSED_SIZE.set(covered)
                self._changed.notify_all()
            return self._covered


def _tell_of(damage: LedgerDamaged) -> None:
    _log.error("ALARM: the log contradicts itself, and is shown to no witness", extra={"problem": damage.message})


def _refuse(failing: Standing) -> NoReturn:
    raise LedgerUnavailable(f"the witness {failing.witness.key.name} does not cosign: {failing.fault}")
