"""A file of exported entries that grows by whole lines, and is taken up where it ends."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import orjson

from kubemint.errors import ConfigurationError

_TAIL_OCTETS: Final = 1024 * 1024  # more than any line: an entry has 65,535 octets at most


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedLine:
    """What the last whole line of a file tells; `leaf_hash` is base64."""

    index: int
    leaf_hash: str


class ExportFile:
    """A file of JSON lines that its owner alone can read; `last` is its last whole line, None if it has none.

    What was written of a line when the process before it ended is cut off.
    """

    def __init__(self, file: Path) -> None:
        """Open the file, or make it.

        Raises:
            ConfigurationError: it cannot be written, or is no export.
        """
        try:
            self._stream = os.fdopen(os.open(file, os.O_CREAT | os.O_RDWR, 0o600), "r+b")
        except OSError as fault:
            raise ConfigurationError(str(file), [f"cannot be written: {fault.strerror}"]) from None
        try:
            self.last = self._last_line(file)
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._stream.close()

    def write(self, line: str) -> None:
        """Add a line."""
        self._stream.write(line.encode() + b"\n")
        self._stream.flush()

    def _last_line(self, file: Path) -> ExportedLine | None:
        """Leave the file at the end of its last whole line, which is given."""
        size = self._stream.seek(0, os.SEEK_END)
        begin = self._stream.seek(max(0, size - _TAIL_OCTETS))
        tail = self._stream.read()
        end = tail.rfind(b"\n") + 1
        if end == 0 and begin > 0:
            raise ConfigurationError(str(file), ["is no file of exported entries"])
        line = None if end == 0 else _parse(tail[:end].rstrip(b"\n").rpartition(b"\n")[2], file)
        if line is None and tail and not tail.startswith(b'{"logIndex":'[: len(tail)]):
            raise ConfigurationError(str(file), ["is no file of exported entries"])
        self._stream.truncate(begin + end)
        self._stream.seek(0, os.SEEK_END)
        return line


def _parse(line: bytes, file: Path) -> ExportedLine:
    try:
        document: Any = orjson.loads(line)
        index, leaf_hash = document["logIndex"], document["leafHash"]
    except (ValueError, TypeError, KeyError):
        index = leaf_hash = None
    if not isinstance(index, int) or not isinstance(leaf_hash, str) or index < 0:
        raise ConfigurationError(str(file), ["is no file of exported entries"])
    return ExportedLine(index=index, leaf_hash=leaf_hash)
