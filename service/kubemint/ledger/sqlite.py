"""The embedded ledger: one SQLite file, any number of processes on one machine.

Write-ahead log with `synchronous=FULL`: a commit has reached the disk when it returns. A write
transaction is `BEGIN IMMEDIATE`, so that what it reads of the head cannot change under it. Waiting for
another process is done here in short steps, because SQLite's own waiting sleeps longer each time.

A file that was moved or replaced is noticed: an open connection would go on in one that nobody has any more.
"""

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError

from kubemint.errors import LedgerUnavailable

LOCK_WAIT: Final = timedelta(seconds=2)  # then the client gets 503 and may try again
_LOCK_STEP_SECONDS: Final = 0.0005
_FileId = tuple[int, int]
_OF_THE_ROWS: Final = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


class _Connection(sqlite3.Connection):
    """A connection that knows which file it was opened for."""

    file_id: _FileId | None = None


class SqliteFile:
    """Keeps `kubemint.ledger.writer.WritableDatabase`; one for a process, made after the fork.

    Holds one connection, which is not for two threads at a time: the writer's lock sees to that.
    """

    def __init__(self, file: Path, lock_wait: timedelta = LOCK_WAIT) -> None:
        self.engine = _engine(file, pool_size=1, begin="BEGIN IMMEDIATE")
        self._file = file
        self._lock_wait_seconds = lock_wait.total_seconds()
        self._connection: _Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """Keep `WritableDatabase.transaction`: begin as a writer, commit with an fsync."""
        try:
            connection = self._open()
            cursor = connection.cursor()
            self._begin(cursor)
            yield cursor
            _check_file(self._file, connection)
            cursor.execute("COMMIT")
            # Replaced during the commit: whoever asks again is judged by what the new file has.
            _check_file(self._file, connection)
        except _OF_THE_ROWS:
            self._close()
            raise
        except sqlite3.Error as fault:
            self._close()
            raise LedgerUnavailable(f"the ledger cannot be written: {fault}") from fault
        except BaseException:
            self._close()
            raise

    def close(self) -> None:
        """Close what is open; what comes next opens it again."""
        self._close()
        self.engine.dispose()

    def _open(self) -> _Connection:
        if self._connection is None:
            # The wait is for another process that recovers the file.
            self._connection = _connect(self._file, self._lock_wait_seconds)
            self._connection.execute("PRAGMA busy_timeout=0").fetchall()  # from here on `_begin` does the waiting
        return self._connection

    def _close(self) -> None:
        """Leave no state behind for the next transaction.

        A cursor in a traceback would keep a closed connection, and its lock, alive: so roll back first.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.rollback()
            connection.close()

    def _begin(self, cursor: sqlite3.Cursor) -> None:
        deadline = time.monotonic() + self._lock_wait_seconds
        while True:
            try:
                cursor.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as fault:
                if fault.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(_LOCK_STEP_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - no secret, to break step
            else:
                return


def open_for_reading(file: Path, readers: int = 8) -> Engine:
    """Open the ledger for `readers` threads at once; a read never waits for a writer."""
    return _engine(file, pool_size=readers, begin="BEGIN")


def create_file(file: Path) -> None:
    """Make an empty ledger file that its owner alone can read, if there is none."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return


def _engine(file: Path, *, pool_size: int, begin: str) -> Engine:
    wait_seconds = LOCK_WAIT.total_seconds()
    engine = create_engine(
        URL.create("sqlite", database=str(file)),
        paramstyle="qmark",
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=wait_seconds,
        creator=lambda: _connect(file, wait_seconds),
    )

    @event.listens_for(engine, "checkout")
    def _checked_out(connection: Any, *_: Any) -> None:
        if connection.file_id != _file_id(file):
            raise DisconnectionError("the ledger's file is another one now")  # the pool opens that

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _connect(file: Path, wait_seconds: float) -> _Connection:
    """Open a file that is there. One that SQLite made itself would be an empty ledger in place of a lost one."""
    file_id = _file_id(file)  # before it is opened: one that takes its place meanwhile is noticed
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode=rw",
        uri=True,
        factory=_Connection,
        timeout=wait_seconds,
        isolation_level=None,  # the driver begins nothing by itself
        check_same_thread=False,  # it is in the hands of one thread at a time
    )
    connection.file_id = file_id
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _check_file(file: Path, connection: _Connection) -> None:
    if _file_id(file) != connection.file_id:
        raise LedgerUnavailable(f"{file} is no longer the file that was opened")


def _file_id(file: Path) -> _FileId | None:
    """Tell which file has this name now; None if none has."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
