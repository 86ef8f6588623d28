"""How it is with one witness: whether it cosigns, what it has against the log, and when it is asked again."""

import logging
import time
from dataclasses import dataclass, field
from typing import Final

from kubemint.metrics import WITNESS_FAULTS
from kubemint.witnesses.witness import Fault, NotCosigned, Witness

_PROBLEMS: Final = {Fault.LOG_OLDER: "log-older-than-witness", Fault.LOG_DIFFERS: "log-differs-from-witness"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessTimes:
    """How long and how often, in seconds: the defaults are the service's, others are for trying it out."""

    wait: float = 5.0  # of a client, for a certificate to be witnessed
    request: float = 4.0  # of asking one witness, all in all
    poll: float = 0.2  # between two looks at what other processes got, while somebody waits
    pause: float = 0.5  # after a failure; doubled with each
    pause_max: float = 30.0
    rest: float = 1.0  # between two rounds that nobody waits for


@dataclass(slots=True, eq=False)
class Standing:
    """The state of one witness in this process, under the lock of whoever keeps it.

    `is_proven` says that it cosigned for this process: until then it is asked whatever is on record, because
    a ledger that is an old copy has old cosignatures too.
    """

    witness: Witness
    is_required: bool
    times: WitnessTimes
    is_busy: bool = False
    is_proven: bool = False
    failures: int = 0
    due: float = 0.0
    fault: NotCosigned | None = field(default=None)

    @property
    def problem(self) -> str | None:
        """What it has against the log; None if nothing is known."""
        return None if self.fault is None else _PROBLEMS.get(self.fault.fault)

    def begin(self, *, has_line: bool) -> bool:
        """Tell whether it is to be asked now, and is busy from here on; `has_line` if it cosigned for others."""
        if has_line and self.is_proven and self.problem is None:
            self._rest(None)
            return False
        if self.is_busy or time.monotonic() < self.due:
            return False
        self.is_busy = True
        return True

    def end(self, fault: NotCosigned | None) -> None:
        """Note how it went, and tell what is news."""
        is_news = str(fault) != str(self.fault)
        self.is_busy = False
        self._rest(fault)
        if fault is not None and fault.fault is not Fault.NOT_ASKED:
            WITNESS_FAULTS.labels(self.witness.key.name, fault.fault.value).inc()
        if is_news:
            self._tell()

    def _rest(self, fault: NotCosigned | None) -> None:
        self.fault = fault
        self.failures = 0 if fault is None else self.failures + 1
        pause = min(self.times.pause * 2.0 ** min(self.failures - 1, 16), self.times.pause_max)
        self.due = 0.0 if fault is None else time.monotonic() + pause

    def _tell(self) -> None:
        told = {"witness": self.witness.key.name, "problem": str(self.fault)}
        if self.fault is None:
            _log.info("a witness cosigns again", extra={"witness": self.witness.key.name})
        elif self.problem is not None:
            _log.error("ALARM: a witness knows another log than this one", extra=told)
        elif self.fault.fault is Fault.NOT_ASKED:
            _log.warning("a witness could not be asked: the ledger gives no proof for it", extra=told)
        else:
            _log.warning("a witness does not cosign", extra=told)
