"""One witness of the log: what it is asked and what its answers mean (C2SP tlog-witness, "add-checkpoint").

A witness keeps the size and root that it cosigned last, and cosigns nothing that does not follow from them.
So its refusal may tell that our ledger is an old copy, or another one than it was: that is what it is for.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Final

from kubemint.errors import InvalidProof, KubemintError
from kubemint.transparency.checkpoint import NoteVerifier, add_signature_lines
from kubemint.transparency.cosigned import newest_cosignature
from kubemint.transparency.notation import decode_number, encode_base64
from kubemint.witnesses.exchange import ExchangeFailed, Reply, exchange

CLOCKS_DIFFER: Final = timedelta(minutes=5)  # a cosignature is of now; how far a witness' clock may be off

Proof = Sequence[bytes]

_TRIES: Final = 4  # each one lost means that another process of ours was faster
_SIZE_TYPE: Final = "text/x.tlog.size"


class Fault(StrEnum):
    """Why there is no cosignature: values of a metric's label, but for `NOT_ASKED`, which is no witness' fault."""

    NOT_ASKED = "not-asked"  # the ledger gave no proof to show it
    UNREACHABLE = "unreachable"
    MISBEHAVED = "misbehaved"
    LOG_OLDER = "log-older"
    LOG_DIFFERS = "log-differs"


class NotCosigned(KubemintError):
    """A witness did not cosign; `size` is what it knows, where the log is older than that."""

    code = "not-cosigned"

    def __init__(self, fault: Fault, problem: str, size: int = 0) -> None:
        super().__init__(problem)
        self.fault = fault
        self.size = size


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A checkpoint to be cosigned: the signed note, its size, and how to prove that it follows from another.

    `prove` takes the smaller size, and raises LedgerUnavailable.
    """

    note: str
    size: int
    prove: Callable[[int], Proof]


class Witness:
    """Asks one witness, one request at a time, for `seconds` in all. `key` and `url` are checked before."""

    def __init__(
        self, key: NoteVerifier, url: str, ca_file: Path | None, clock: Callable[[], datetime], seconds: float
    ) -> None:
        self.key = key
        self._address = f"{url.rstrip('/')}/add-checkpoint"
        self._ca_file = ca_file
        self._clock = clock
        self._seconds = seconds
        self._known = 0  # the size that it cosigned last, as far as we know

    def cosign(self, candidate: Candidate) -> str:
        """Get a cosignature of this moment; gives its line.

        Raises:
            NotCosigned: with what that means.
            LedgerUnavailable: the ledger could not be asked for a proof.
        """
        deadline = time.monotonic() + self._seconds
        for _ in range(_TRIES):
            if self._known > candidate.size:
                known, self._known = self._known, 0  # asked again the next time
                raise NotCosigned(Fault.LOG_OLDER, f"it knows {known} entries, not {candidate.size}", known)
            old_size = self._known
            reply = self._send(add_checkpoint(old_size, candidate.prove(old_size), candidate.note), deadline)
            if reply.status == HTTPStatus.OK:
                line = self._cosignature(reply.body, candidate.note)
                self._known = candidate.size
                return line
            if reply.status != HTTPStatus.CONFLICT:
                raise _refusal(reply.status)
            self._known = _size(reply)
            if self._known == old_size:
                raise _contradiction(old_size, candidate)
        raise NotCosigned(Fault.UNREACHABLE, "others have been faster each time")

    def _send(self, body: bytes, deadline: float) -> Reply:
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        try:
            return exchange(
                "POST",
                self._address,
                ca_file=self._ca_file,
                seconds=deadline - time.monotonic(),
                body=body,
                headers=headers,
            )
        except ExchangeFailed as fault:
            raise NotCosigned(Fault.UNREACHABLE, fault.message) from None

    def _cosignature(self, unverified_body: bytes, note: str) -> str:
        try:
            line, signed_at = read_cosignature(unverified_body, note, self.key)
        except InvalidProof as fault:
            raise NotCosigned(Fault.MISBEHAVED, fault.message) from None
        if abs(self._clock() - signed_at) > CLOCKS_DIFFER:
            raise NotCosigned(Fault.MISBEHAVED, f"its cosignature is of {signed_at.isoformat()}, which is not now")
        return line


def add_checkpoint(old_size: int, proof: Proof, note: str) -> bytes:
    """Give the body of a request."""
    lines = [f"old {old_size}", *map(encode_base64, proof)]
    return ("\n".join(lines) + "\n\n" + note).encode()


def read_cosignature(unverified_body: bytes, note: str, witness: NoteVerifier) -> tuple[str, datetime]:
    """Read the answer of a witness: its line and time. What others have signed in it is ignored.

    Raises:
        InvalidProof: it holds no cosignature of this witness for this note.
    """
    try:
        text = unverified_body.decode()
    except UnicodeDecodeError:
        raise InvalidProof("the answer is not text") from None
    if not text.endswith("\n"):
        raise InvalidProof("the answer does not end with a line")
    return newest_cosignature(add_signature_lines(note, text[:-1].split("\n")), witness)


def read_size(unverified_body: bytes) -> int:
    """Read the size that a witness knows.

    Raises:
        InvalidProof: it is none.
    """
    text = unverified_body.decode("latin-1")
    if not text.endswith("\n"):
        raise InvalidProof("a size ends with a newline")
    return decode_number(text[:-1])


def _size(reply: Reply) -> int:
    if reply.headers.get_content_type() != _SIZE_TYPE:
        raise NotCosigned(Fault.MISBEHAVED, f"status 409 with {reply.headers.get_content_type()}")
    try:
        return read_size(reply.body)
    except InvalidProof as fault:
        raise NotCosigned(Fault.MISBEHAVED, fault.message) from None


def _refusal(status: int) -> NotCosigned:
    match status:
        case HTTPStatus.UNPROCESSABLE_ENTITY:
            return NotCosigned(Fault.LOG_DIFFERS, "the log does not follow from what it has cosigned")
        case HTTPStatus.NOT_FOUND:
            return NotCosigned(Fault.MISBEHAVED, "it does not know the origin of the log (404)")
        case HTTPStatus.FORBIDDEN:
            return NotCosigned(Fault.MISBEHAVED, "it does not know the key of the log (403)")
        case _:
            return NotCosigned(Fault.MISBEHAVED, f"status {status}")


def _contradiction(old_size: int, candidate: Candidate) -> NotCosigned:
    """Tell what a conflict means whose size is the one that was sent."""
    if old_size == candidate.size:
        return NotCosigned(Fault.LOG_DIFFERS, f"it has cosigned other {old_size} entries")
    return NotCosigned(Fault.MISBEHAVED, "a conflict that names the size that was sent")
