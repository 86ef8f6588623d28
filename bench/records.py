"""What a service wrote down, counted from outside: a certificate that left no record does not count."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError


@dataclass(slots=True)
class LineCount:
    """Counts the lines of a growing file that contain all the marks; each call reads what is new."""

    path: Path
    marks: tuple[bytes, ...]
    _offset: int = 0

    def new(self) -> int:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            appended = file.read()
        whole = appended[: appended.rfind(b"\n") + 1]
        self._offset += len(whole)
        return sum(all(mark in line for mark in self.marks) for line in whole.splitlines())


@dataclass(slots=True)
class LedgerCount:
    """Counts the certificates issued in a SQLite ledger; each call reads what is new, indexes checked."""

    path: Path
    _entries: int = 0

    def new(self) -> int:
        ledger = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            rows = ledger.execute(
                """SELECT "index", kind FROM entries WHERE "index" >= ? ORDER BY "index" """, (self._entries,)
            ).fetchall()
        finally:
            ledger.close()
        indexes = [index for index, _ in rows]
        if indexes != list(range(self._entries, self._entries + len(rows))):
            raise BenchError(f"the ledger's indexes from {self._entries} on are not contiguous")
        self._entries += len(rows)
        return sum(kind == "issued" for _, kind in rows)


def check_recorded(recorded: int, *, answers: int, connections: int, where: str) -> None:
    """Raise BenchError unless each answer was recorded, and no more than was in flight at the end."""
    if not answers <= recorded <= answers + connections:
        raise BenchError(f"{answers} certificates were received, {recorded} recorded in {where}")
