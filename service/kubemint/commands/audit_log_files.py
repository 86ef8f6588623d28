"""The files of an audit log, one line after another: packed by gzip or not, or standard input."""

import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from kubemint.errors import ConfigurationError

# Octets: an event with its bodies has few megabytes, and to read hostile JSON takes thirty times its length.
LINE_MAX: Final = 8 * 2**20
TOO_LONG: Final = b"<a line of more than 8 MiB>\n"  # stands for one; it is no event, whatever was in that line
STDIN: Final = Path("-")
_GZIP: Final = b"\x1f\x8b"  # RFC 1952 2.3.1
_STEP: Final = 2**20  # octets between two reports of how far it is


class AuditFiles:
    """Lines of files in their order, which remembers where each line was."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._before: list[int] = []  # lines before each file that was opened
        self._lines = 0

    def lines(self) -> Iterator[bytes]:
        """Walk over all lines, once, and show on standard error how far it is, where somebody looks.

        A line of more than `LINE_MAX` is one line still, and is given as `TOO_LONG`.

        Raises:
            ConfigurationError: a file cannot be read, or is damaged; while it is walked.
        """
        sizes = [file.stat().st_size for file in self._files if file.is_file()]
        is_seen = len(sizes) == len(self._files) and sys.stderr.isatty()
        with click.progressbar(length=sum(sizes), label="Reading", file=sys.stderr, hidden=not is_seen) as bar:
            for file in self._files:
                self._before.append(self._lines)
                yield from self._of_file(file, bar.update)

    def place(self, line_number: int) -> tuple[Path, int]:
        """Give the file and the line in it of what was the n-th line of all, from 1."""
        number = max(place for place, before in enumerate(self._before) if before < line_number)
        return self._files[number], line_number - self._before[number]

    def _of_file(self, file: Path, report: Callable[[int], None]) -> Iterator[bytes]:
        reported = 0
        with _opened(file) as packed:
            stream = _unpacked(packed, file)
            while line := _read_line(stream, file):
                self._lines += 1
                yield line
                if file != STDIN and packed.tell() - reported >= _STEP:
                    report(packed.tell() - reported)
                    reported = packed.tell()


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    if file == STDIN:
        yield sys.stdin.buffer  # which stays open
        return
    try:
        stream = file.open("rb")
    except OSError as fault:
        raise _unreadable(file, fault) from None
    with stream:
        yield stream


def _unpacked(packed: BinaryIO, file: Path) -> io.BufferedIOBase:
    """Look at the first octets, and read them again: standard input cannot go back."""
    try:
        head = packed.read(len(_GZIP))
    except OSError as fault:
        raise _unreadable(file, fault) from None
    whole = io.BufferedReader(_Joined(head, packed))
    return gzip.GzipFile(fileobj=whole) if head == _GZIP else whole


def _read_line(stream: io.BufferedIOBase, file: Path) -> bytes:
    try:
        line = stream.readline(LINE_MAX + 1)
        return line if len(line) <= LINE_MAX else _pass_over(line, stream)
    except (OSError, EOFError, zlib.error) as fault:
        raise _unreadable(file, fault) from None


def _pass_over(line: bytes, stream: io.BufferedIOBase) -> bytes:
    """Read a line to its end and keep nothing of it."""
    while line and not line.endswith(b"\n"):
        line = stream.readline(_STEP)
    return TOO_LONG


def _unreadable(file: Path, fault: Exception) -> ConfigurationError:
    cause = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
    return ConfigurationError(str(file), [f"cannot be read: {cause}"])


class _Joined(io.RawIOBase):
    """Octets that were read, and then those that were not."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        octets = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(octets) :]
        buffer[: len(octets)] = octets
        return len(octets)
