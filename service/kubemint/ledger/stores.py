"""Where a ledger is kept: the one place that knows which databases there are.

`open_store` reads an address; what it gives opens the database for writing and for reading.
"""

import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from kubemint.errors import LedgerUnavailable
from kubemint.ledger import postgres, sqlite
from kubemint.ledger.revoking import CHANNEL
from kubemint.ledger.writer import WritableDatabase

_SECURE: Final = "verify-full"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Waiter(Protocol):
    """Waits for revocations; for one thread, made after a fork."""

    def wait(self, seconds: float) -> None:
        """Wait so many seconds, or less if something was revoked."""

    def close(self) -> None:
        """Give back what waiting took."""


class Store(Protocol):
    """A place that holds a ledger, or will. Nothing is open yet."""

    def prepare(self) -> None:
        """Make the place if it can be made, and check that a commit there is durable.

        Raises:
            LedgerUnavailable, ConfigurationError: it is no place for a ledger.
        """

    def exists(self) -> bool:
        """Tell whether there is a place to read from."""

    def writable(self) -> WritableDatabase:
        """Give the database as a writer needs it; to be called after a fork."""

    def for_reading(self, readers: int) -> Engine:
        """Open the database for so many threads at once; to be called after a fork."""

    def waiter(self) -> Waiter:
        """Give what waits for revocations."""


class _Pause:
    """A file tells nobody anything, so who waits looks for itself."""

    def wait(self, seconds: float) -> None:
        """Keep `Waiter.wait`."""
        time.sleep(seconds)

    def close(self) -> None:
        """Keep `Waiter.close`."""


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """A SQLite file."""

    file: Path
    lock_wait: timedelta = sqlite.LOCK_WAIT

    def prepare(self) -> None:
        """Keep `Store.prepare`: an empty file that its owner alone can read."""
        try:
            sqlite.create_file(self.file)
        except OSError as fault:
            raise LedgerUnavailable(f"{self.file}: {fault.strerror}") from None

    def exists(self) -> bool:
        """Keep `Store.exists`."""
        return self.file.exists()

    def writable(self) -> WritableDatabase:
        """Keep `Store.writable`."""
        return sqlite.SqliteFile(self.file, self.lock_wait)

    def for_reading(self, readers: int) -> Engine:
        """Keep `Store.for_reading`."""
        return sqlite.open_for_reading(self.file, readers)

    def waiter(self) -> Waiter:
        """Keep `Store.waiter`."""
        return _Pause()


@dataclass(frozen=True, slots=True)
class PostgresStore:
    """A PostgreSQL database, which somebody has created."""

    server: postgres.PostgresServer

    def prepare(self) -> None:
        """Keep `Store.prepare`."""
        database = self.server.engine(pool_size=1)
        try:
            postgres.check_durable(database)
        except SQLAlchemyError as fault:
            cause = " ".join(str(getattr(fault, "orig", fault)).split())  # libpq's advice is a line of its own
            raise LedgerUnavailable(f"the ledger cannot be opened: {cause}") from fault
        finally:
            database.dispose()

    def exists(self) -> bool:
        """Keep `Store.exists`."""
        return True

    def writable(self) -> WritableDatabase:
        """Keep `Store.writable`."""
        return postgres.PostgresDatabase(self.server)

    def for_reading(self, readers: int) -> Engine:
        """Keep `Store.for_reading`."""
        return postgres.open_for_reading(self.server, readers)

    def waiter(self) -> Waiter:
        """Keep `Store.waiter`."""
        return postgres.Listener(self.server, CHANNEL)


def open_store(
    url: URL,
    *,
    password_file: Path | None = None,
    lock_wait: timedelta = sqlite.LOCK_WAIT,
    statement_timeout: timedelta = postgres.STATEMENT_TIMEOUT,
) -> Store:
    """Give the store at an address of the configuration; a file's path is absolute."""
    if url.drivername == "sqlite":
        return SqliteStore(Path(url.database or ""), lock_wait)
    server = postgres.PostgresServer(
        secured(url), password_file=password_file, lock_wait=lock_wait, statement_timeout=statement_timeout
    )
    return PostgresStore(server)


def secured(url: URL) -> URL:
    """Give an address by which the server must prove who it is, unless the address says how safe it is."""
    # libpq connects to `host` and `hostaddr` of the query in place of the host before it.
    named = (url.host or (), *(url.query.get(name, ()) for name in ("host", "hostaddr")))
    hosts = [host for value in named for host in _listed(value)]
    is_here = all(host in _LOOPBACK or host.startswith("/") for host in hosts)
    if is_here or "sslmode" in url.query:
        return url
    return url.update_query_dict({"sslmode": _SECURE})


def _listed(value: str | tuple[str, ...]) -> list[str]:
    return value.split(",") if isinstance(value, str) else list(value)
