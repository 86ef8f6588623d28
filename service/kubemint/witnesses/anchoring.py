"""Writing each new checkpoint to the anchors, by a thread of its own: nobody waits for an anchor.

Of many commits the last one counts, at most one a second, and what there is when the process stops. An
anchor that fails is told of once, and tried again with the next checkpoint or after a pause.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Final

from kubemint.errors import InvalidProof, LedgerDamaged, LedgerUnavailable
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.log import LedgerLog
from kubemint.metrics import ANCHOR_FAULTS
from kubemint.witnesses.anchors import Anchor, AnchorFault, AnchorProblem, may_replace

REST_SECONDS: Final = 1.0  # between two writes
RETRY_SECONDS: Final = 30.0  # to an anchor that has not the newest checkpoint, if no new entry comes before
STOP_SECONDS: Final = 5.0  # for the last write

_log = logging.getLogger(__name__)


class Anchoring:
    """Keeps the anchors up to date. One for a process, started after the fork.

    `public` gives the checkpoints that are written, with their cosignatures; `log` proves the rest.
    """

    def __init__(self, anchors: Sequence[Anchor], public: LedgerLog, log: LedgerLog, keys: LogKeys) -> None:
        self._anchors = tuple(anchors)
        self._public = public
        self._log = log
        self._keys = keys
        self._written: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._is_behind = False
        self._thread = threading.Thread(target=self._run, name="anchors", daemon=True)
        self._changed = threading.Condition()
        # Both below: read and written under self._changed.
        self._wanted = True
        self._closed = False

    def start(self) -> None:
        """Begin, in a thread that writes a last time at `close`."""
        self._thread.start()

    def wake(self) -> None:
        """Tell that there are new entries, or cosignatures."""
        with self._changed:
            self._wanted = True
            self._changed.notify_all()

    def close(self) -> None:
        """Write a last time and end; waits for that some seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(STOP_SECONDS)

    def write(self) -> None:
        """Write the newest checkpoint to each anchor that has another.

        A ledger that contradicts itself, or what its log has signed, is an alarm for each anchor.
        """
        try:
            note = self._newest()
        except LedgerDamaged as damage:
            for anchor in self._anchors:
                self._tell(anchor, _fault_of(damage))
        except LedgerUnavailable:
            self._is_behind = True  # nothing is witnessed yet, or the ledger is away: it says so elsewhere
        else:
            self._is_behind = False
            for anchor in self._anchors:
                if self._written.get(anchor.name) != note:
                    self._write(anchor, note)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            with self._changed:
                retry = RETRY_SECONDS if self._told or self._is_behind else None
                self._changed.wait_for(lambda: self._wanted or self._closed, retry)
                self._wanted, is_last = False, self._closed
            try:
                self.write()
            except Exception:  # noqa: BLE001 - the thread is the outermost shell: it must outlive anything
                _log.exception("the anchors could not be written")
            self._rest()

    def _rest(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed, REST_SECONDS)

    def _newest(self) -> str:
        """Give the newest checkpoint; what the log has not signed would pass for it in an empty anchor."""
        note = self._public.checkpoint()
        try:
            self._keys.open(note)
        except InvalidProof as fault:
            raise LedgerDamaged(f"the ledger's checkpoint is none of this log: {fault.message}") from None
        return note

    def _write(self, anchor: Anchor, note: str) -> None:
        try:
            anchor.update(note, lambda held: may_replace(held, note, self._log, self._keys))
        except AnchorFault as fault:
            self._tell(anchor, fault)
        except LedgerDamaged as damage:
            self._tell(anchor, _fault_of(damage))
        except LedgerUnavailable:
            self._is_behind = True  # it cannot be proven now that the checkpoint follows
        else:
            self._written[anchor.name] = note
            if self._told.pop(anchor.name, None) is not None:
                _log.info("an anchor is written again", extra={"anchor": anchor.name})

    def _tell(self, anchor: Anchor, fault: AnchorFault) -> None:
        """Count a fault, and tell once of each state."""
        ANCHOR_FAULTS.labels(fault.problem.value).inc()
        if self._told.get(anchor.name) == fault.problem.value:
            return
        self._told[anchor.name] = fault.problem.value
        told = {"anchor": anchor.name, "problem": fault.message}
        if fault.problem is AnchorProblem.UNREACHABLE:
            _log.warning("an anchor could not be written, the service goes on", extra=told)
        else:
            _log.error("ALARM: the log does not prove that it follows from what an anchor holds", extra=told)


def _fault_of(damage: LedgerDamaged) -> AnchorFault:
    return AnchorFault(AnchorProblem.LOG_DIFFERS, damage.message)
