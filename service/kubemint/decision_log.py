"""Standard output, where each decision has its line.

The ledger is the record: neither a broken nor a full pipe may stop the service, so a line is written at
once, or dropped and counted; nobody waits for a reader.
"""

import json
import os
import select
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import orjson

from kubemint import metrics
from kubemint.record import Entry, Event, EventKind

LINE_MAX_OCTETS: Final = 4096  # PIPE_BUF of Linux: written whole or not at all, whoever else writes
_SHORT_LINE: Final = (
    "kind",
    "time",
    "method",
    "policy",
    "user",
    "profile",
    "serialNumber",
    "credentialId",
    "notAfter",
)
_EVENTS: Final = {
    EventKind.APPROVED: "verdict",
    EventKind.DENIED: "verdict",
    EventKind.POLICY_CHANGED: "policy-changed",
    EventKind.REVOKED: "revocation",
    EventKind.REINSTATED: "revocation",
}
_NOT_IN_THE_LINE: Final = frozenset({"certificate", "csr", "text", "textDeflated"})
_ASCII: Final = json.JSONEncoder(separators=(",", ":")).encode

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


def log_line(entry: Entry, request_id: str | None) -> bytes:
    """Give the JSON line of a decision for standard output: the entry and its index, not the certificate.

    A line longer than a pipe takes at once leaves its lists out and says so; the ledger has all of it.
    """
    head = {"event": _EVENTS.get(entry.kind, "decision"), "logIndex": entry.index, "requestId": request_id}
    fields = {name: value for name, value in entry.fields.items() if name not in _NOT_IN_THE_LINE}
    line = _line(head | fields)
    if len(line) <= LINE_MAX_OCTETS:
        return line
    return _line(head | {name: fields[name] for name in _SHORT_LINE if name in fields} | {"shortened": True})


def _line(fields: Mapping[str, Any]) -> bytes:
    line = orjson.dumps(fields)
    if not line.isascii():  # a name must not end the line, nor steer a terminal
        line = _ASCII(fields).encode("ascii")
    return line + b"\n"
