"""Standard output, where each decision has its line.

The ledger is the record: neither a broken nor a full pipe may stop the service, so a line is written at
once, or dropped and counted; nobody waits for a reader.
"""

import os
import select
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from kubemint import metrics
from kubemint.audit import LINE_MAX_OCTETS, Entry, Event, log_line

_STANDARD_OUTPUT: Final = 1


class DecisionLog:
    """Writes the lines of decisions to standard output, in their order."""

    def __init__(self) -> None:
        self._number = _STANDARD_OUTPUT
        self._may_block = False
        self._lock = threading.Lock()
        with suppress(OSError):
            if stat.S_ISFIFO(os.fstat(_STANDARD_OUTPUT).st_mode):
                # An open file of our own: not to wait is our choice, and must not become that of who shares ours.
                self._may_block = True
                self._number = os.open(f"/proc/self/fd/{_STANDARD_OUTPUT}", os.O_WRONLY | os.O_NONBLOCK)
                self._may_block = False

    def write(self, decisions: Sequence[tuple[Entry, Event]]) -> None:
        """Write the lines of entries that are durable, as many at once as a pipe takes whole."""
        for lines in _portions([log_line(entry, event.request_id) for entry, event in decisions]):
            try:
                with self._lock:
                    if self._may_block and not select.select([], [self._number], [], 0)[1]:
                        raise BlockingIOError
                    os.write(self._number, b"".join(lines))
            except OSError:
                metrics.AUDIT_LINE_FAULTS.inc(len(lines))


def _portions(lines: Sequence[bytes]) -> Iterator[list[bytes]]:
    portion: list[bytes] = []
    octets = 0
    for line in lines:
        if portion and octets + len(line) > LINE_MAX_OCTETS:
            yield portion
            portion, octets = [], 0
        portion.append(line)
        octets += len(line)
    if portion:
        yield portion
