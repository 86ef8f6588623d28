"""The embedded ledger: one SQLite file, any number of processes on one machine.

Write-ahead log with `synchronous=FULL`: a commit has reached the disk when it returns. A write
transaction is `BEGIN IMMEDIATE`, so that what it reads of the head cannot change under it. Waiting for
another process is done here in short steps, because SQLite's own waiting sleeps longer each time.
"""

import os
import random
import sqlite3
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

LOCK_WAIT: Final = timedelta(seconds=5)  # then the client gets 503 and may try again
_LOCK_STEP_SECONDS: Final = 0.0005


def open_for_writing(file: Path, lock_wait: timedelta = LOCK_WAIT) -> Engine:
    """Open the ledger for one writer at a time; to be called after a fork, never before."""
    engine = _engine(file, pool_size=1, busy_timeout=timedelta(0))

    @event.listens_for(engine, "begin")
    def _begin_immediate(connection: Connection) -> None:
        deadline = time.monotonic() + lock_wait.total_seconds()
        driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]  # typed Any | None
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as fault:
                if fault.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(_LOCK_STEP_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - no secret, to break step
            else:
                return

    return engine


def open_for_reading(file: Path) -> Engine:
    """Open the ledger for reads that never wait for a writer."""
    return _engine(file, pool_size=8, busy_timeout=LOCK_WAIT)


def create_file(file: Path) -> None:
    """Make an empty ledger file that its owner alone can read, if there is none."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return


def _engine(file: Path, pool_size: int, busy_timeout: timedelta) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(file)),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=LOCK_WAIT.total_seconds(),
        connect_args={
            "timeout": busy_timeout.total_seconds(),
            "isolation_level": None,  # the driver begins nothing by itself
            "check_same_thread": False,  # the pool hands a connection to one thread at a time
        },
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        for pragma in (
            f"busy_timeout={int(LOCK_WAIT.total_seconds() * 1000)}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={int(busy_timeout.total_seconds() * 1000)}",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()

    return engine
