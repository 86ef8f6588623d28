"""Places out of reach of the ledger's administrator that hold the newest checkpoint: files and addresses.

What an anchor holds is never replaced by less, nor by what does not follow from it. In a file that is kept
by a lock, whoever writes; at an address by its entity tag (RFC 9110 13.1.1), where the server has one.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Final, Protocol, assert_never

from kubemint.errors import KubemintError
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.log import LedgerLog
from kubemint.transparency.checkpoint import Checkpoint, signature_lines
from kubemint.transparency.following import Differs, Follows, Older, follows_from
from kubemint.witnesses.exchange import REPLY_MAX_OCTETS, ExchangeFailed, Reply, exchange

ANCHOR_SECONDS: Final = 3.0  # of one request, all in all
_TRIES: Final = 3

_NOTHING_TO_READ: Final = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}
)
_GONE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.NO_CONTENT})


class AnchorProblem(StrEnum):
    """What is wrong with an anchor, or with the log as it shows: values of a metric's label."""

    UNREACHABLE = "unreachable"
    LOG_OLDER = "log-older"
    LOG_DIFFERS = "log-differs"


class AnchorFault(KubemintError):
    """An anchor could not be read or written, or holds what the log contradicts."""

    code = "anchor-fault"

    def __init__(self, problem: AnchorProblem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


class Anchor(Protocol):
    """A place that holds a checkpoint. Both raise AnchorFault."""

    @property
    def name(self) -> str:
        """Give how the configuration names it."""

    def read(self) -> str | None:
        """Give what it holds; None if that is nothing, or it tells nobody. No signature in it is verified."""

    def update(self, note: str, may_replace: Callable[[str], bool]) -> None:
        """Write a note, unless `may_replace` is against it for what is there."""


def check_against(unverified_note: str, log: LedgerLog, keys: LogKeys) -> Checkpoint:
    """Read what an anchor holds and compare it with the log, whose tiles prove what it has added.

    Raises:
        AnchorFault: it is no checkpoint of this log, or the log is older than it or another.
        LedgerDamaged: the ledger does not prove itself.
        LedgerUnavailable: it cannot be read.
    """
    _, head = log.head()
    found = follows_from(unverified_note, head, keys.open, lambda size: log.consistency(size, head.size)[0])
    match found:
        case Follows(seen=anchored):
            return anchored
        case Older(seen=anchored):
            problem = f"the ledger is older than its anchor: {head.size} entries, not {anchored.size}"
            raise AnchorFault(AnchorProblem.LOG_OLDER, problem)
        case Differs(problem=problem):
            raise AnchorFault(AnchorProblem.LOG_DIFFERS, f"holds {problem}")
        case _ as never:
            assert_never(never)


def may_replace(held: str, note: str, log: LedgerLog, keys: LogKeys) -> bool:
    """Tell whether a checkpoint of the log says more than what an anchor holds. Raises as `check_against` does."""
    anchored, ours = check_against(held, log, keys), keys.open(note)
    if anchored.size != ours.size:
        return anchored.size < ours.size
    return len(signature_lines(held)) < len(signature_lines(note))


@dataclass(frozen=True, slots=True)
class FileAnchor:
    """A file, which everybody may read. Beside it a lock stays behind, `FILE.lock`."""

    file: Path

    @property
    def name(self) -> str:
        """Keep `Anchor.name`."""
        return str(self.file)

    def read(self) -> str | None:
        """Keep `Anchor.read`."""
        try:
            with self.file.open("rb") as stream:
                return stream.read(REPLY_MAX_OCTETS).decode()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            raise AnchorFault(AnchorProblem.LOG_DIFFERS, "holds no checkpoint of this log: no text") from None
        except OSError as fault:
            raise AnchorFault(AnchorProblem.UNREACHABLE, f"cannot be read: {fault.strerror}") from None

    def update(self, note: str, may_replace: Callable[[str], bool]) -> None:
        """Keep `Anchor.update`: the file is the old one or the new one, whatever happens; durable on return."""
        try:
            with self._locked():
                held = self.read()
                if held is None or may_replace(held):
                    self._replace(note)
        except OSError as fault:
            raise AnchorFault(AnchorProblem.UNREACHABLE, f"cannot be written: {fault.strerror}") from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        number = os.open(self._beside(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(number, fcntl.LOCK_EX)  # until the descriptor is closed
            yield
        finally:
            os.close(number)

    def _replace(self, note: str) -> None:
        new = self._beside(".new")
        with suppress(FileNotFoundError):
            new.unlink()  # of a process that died here
        number = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(number, "wb") as stream:
            stream.write(note.encode())
            os.fchmod(number, 0o644)
            stream.flush()
            os.fsync(number)
        # If the process dies before this line, the old checkpoint stays, and the next one is written over it.
        new.replace(self.file)
        folder = os.open(self.file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _beside(self, suffix: str) -> Path:
        return self.file.with_name(self.file.name + suffix)


@dataclass(frozen=True, slots=True)
class UrlAnchor:
    """An address: the checkpoint is PUT there, and GET, where that is allowed, gives the last one."""

    url: str
    ca_file: Path | None

    @property
    def name(self) -> str:
        """Keep `Anchor.name`."""
        return self.url

    def read(self) -> str | None:
        """Keep `Anchor.read`."""
        return _held(self._exchange("GET"))

    def update(self, note: str, may_replace: Callable[[str], bool]) -> None:
        """Keep `Anchor.update`; where another process is faster (412), what it wrote is looked at first."""
        for _ in range(_TRIES):
            found = self._exchange("GET")
            held = _held(found)
            if held is not None and not may_replace(held):
                return
            reply = self._exchange("PUT", note.encode(), _put_headers(None if held is None else found))
            if 200 <= reply.status < 300:
                return
            if reply.status != HTTPStatus.PRECONDITION_FAILED:
                raise AnchorFault(AnchorProblem.UNREACHABLE, f"PUT is answered with status {reply.status}")
        raise AnchorFault(AnchorProblem.UNREACHABLE, "others have been faster each time")

    def _exchange(self, method: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        try:
            return exchange(
                method, self.url, ca_file=self.ca_file, seconds=ANCHOR_SECONDS, body=body, headers=headers
            )
        except ExchangeFailed as fault:
            raise AnchorFault(AnchorProblem.UNREACHABLE, fault.message) from None


def _put_headers(found: Reply | None) -> dict[str, str]:
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    tag = None if found is None else found.headers.get("ETag")
    return headers if tag is None else headers | {"If-Match": tag}


def _held(reply: Reply) -> str | None:
    if reply.status in _GONE | _NOTHING_TO_READ:
        return None
    if reply.status != HTTPStatus.OK:
        raise AnchorFault(AnchorProblem.UNREACHABLE, f"GET is answered with status {reply.status}")
    try:
        return reply.body.decode()
    except UnicodeDecodeError:
        raise AnchorFault(AnchorProblem.LOG_DIFFERS, "holds no checkpoint of this log: no text") from None
