"""The ledger of several replicas: a PostgreSQL database.

A commit has reached the disk of the server, and of its synchronous standbys, when it returns. Writers lock
the row of the head, one after the other, whatever process they are in. A connection that breaks is replaced
by a new one with the next transaction, so a server that comes back, or another that takes its place, needs
no restart here. Every wait has an end: for a connection, a lock, a statement, a dead peer. A server that stands
still is not waited for by those who come (pulse.py).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.waiting import Ready
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import URL

from kubemint.errors import ConfigurationError, LedgerUnavailable
from kubemint.ledger.pulse import Pulse, is_anybody_there
from kubemint.ledger.sqlite import LOCK_WAIT

STATEMENT_TIMEOUT: Final = timedelta(seconds=5)
CONNECT_SECONDS: Final = 5
_GRACE_SECONDS: Final = 2.0  # after which a statement's own timeout should have come back to us
_OF_THE_ROWS: Final = (psycopg.IntegrityError, psycopg.DataError)
_DEAD_PEER: Final = {
    # A server that vanished without a word is noticed after half a minute, and at once when we send to it.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "10000",
}

_Result = TypeVar("_Result")


class _Connection(psycopg.Connection[Any]):
    """A connection on which an answer is waited for `answer_seconds`, if they are set.

    A server's timeouts end what the server is busy with. They do not end a wait for a server that stands
    still, or for its disk or a standby in the middle of a commit.
    """

    answer_seconds: float | None = None
    pulse: Pulse | None = None

    def wait(self, gen: PQGen[_Result], interval: float = 0.1, timeout: float | None = None) -> _Result:
        """Wait as psycopg does, and not for ever; a connection that still owes an answer is closed."""
        try:
            if self.pulse is None:
                return super().wait(gen, interval, self.answer_seconds if timeout is None else timeout)
            self.pulse.check()
            watched = self._watched(gen, self.pulse)
            result = super().wait(watched, interval, self.answer_seconds if timeout is None else timeout)
        except psycopg.Error as fault:
            if self.pulse is not None and fault.sqlstate is not None:
                self.pulse.heard()
            if isinstance(fault, psycopg.OperationalError) and self._owes_an_answer():
                self.close()
            raise
        self.pulse.heard()
        return result

    def _owes_an_answer(self) -> bool:
        return self.info.transaction_status == TransactionStatus.ACTIVE

    def _watched(self, gen: PQGen[_Result], pulse: Pulse) -> PQGen[_Result]:
        """Go through a wait, and look at each of its intervals in which nothing came whether to go on."""
        began = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready == Ready.NONE:
                    pulse.check_wait(began, self._is_anybody_there)
                wanted = gen.send(ready)
        except StopIteration as ended:
            result: _Result = ended.value
            return result

    def _is_anybody_there(self) -> bool:
        return is_anybody_there(self.info)


class PostgresServer:
    """Where the ledger's database is, and how patient to be with it.

    `url` has no password: that is the first line of `password_file`. Its query is libpq's (`sslmode`,
    `sslrootcert`, `target_session_attrs`, …).
    """

    def __init__(
        self,
        url: URL,
        *,
        password_file: Path | None = None,
        lock_wait: timedelta = LOCK_WAIT,
        statement_timeout: timedelta = STATEMENT_TIMEOUT,
    ) -> None:
        self._url = url.set(drivername="postgresql+psycopg")
        self._password_file = password_file
        self._pulse = Pulse(self._look)
        self._answer_seconds = statement_timeout.total_seconds() + _GRACE_SECONDS
        self._settings = {
            # On the server a role or database may have other defaults: a commit must be durable for us.
            "synchronous_commit": "on",
            "lock_timeout": _milliseconds(lock_wait),
            "statement_timeout": _milliseconds(statement_timeout),
            "idle_in_transaction_session_timeout": "60000",
            "timezone": "UTC",
        }

    def engine(self, pool_size: int, *, is_patient: bool = False, **options: Any) -> Engine:
        """Make an engine whose connections have these settings; a patient one waits for any answer."""
        return create_engine(
            self._url,
            paramstyle="format",
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=LOCK_WAIT.total_seconds(),
            pool_pre_ping=True,  # a connection that died while it was idle costs nobody an answer
            creator=self.connect_patiently if is_patient else self.connect,
            **options,
        )

    def connect(self) -> _Connection:
        """Open a connection on which no answer is waited for much longer than a statement may take.

        Raises:
            psycopg.OperationalError: the server cannot be reached, or does not let us in.
            LedgerUnavailable: the password's file cannot be read.
        """
        connection = self._pulse.connect(self.connect_patiently)
        connection.answer_seconds, connection.pulse = self._answer_seconds, self._pulse
        return connection

    def connect_patiently(self) -> _Connection:
        """Open a connection for statements that take long. Raises as `connect` does."""
        settings = " ".join(f"-c {name}={value}" for name, value in self._settings.items())
        return _Connection.connect(
            self._url.set(drivername="postgresql", password=None).render_as_string(),
            password=self._password(),
            application_name="kubemint",
            connect_timeout=CONNECT_SECONDS,
            options=settings,
            **_DEAD_PEER,  # type: ignore[arg-type]  # libpq's parameters, which psycopg does not list
        )

    def _look(self) -> None:
        self.connect_patiently().close()

    def _password(self) -> str | None:
        if self._password_file is None:
            return None
        try:
            return self._password_file.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
        except (OSError, ValueError) as fault:
            cause = fault.strerror if isinstance(fault, OSError) else "not UTF-8"
            raise LedgerUnavailable(f"the password's file {self._password_file} cannot be read: {cause}") from None


class PostgresDatabase:
    """Keeps `kubemint.ledger.writer.WritableDatabase`; one for a process, made after the fork.

    Holds one connection, which is not for two threads at a time: the writer's lock sees to that.
    """

    def __init__(self, server: PostgresServer) -> None:
        self.engine = server.engine(pool_size=1, is_patient=True)  # a migration takes its time
        self._server = server
        self._connection: _Connection | None = None
        self._warnings: list[str] = []

    @contextmanager
    def transaction(self) -> Iterator["psycopg.Cursor[Any]"]:
        """Keep `WritableDatabase.transaction`: what is read of the head is locked until the commit."""
        try:
            with self._begin().cursor() as cursor:
                yield cursor
                self._commit(cursor)
        except _OF_THE_ROWS:
            self._close()
            raise
        except psycopg.Error as fault:
            self._close()
            raise LedgerUnavailable(f"the ledger cannot be written: {fault}") from fault
        except BaseException:
            self._close()
            raise

    def close(self) -> None:
        """Close what is open; what comes next opens it again."""
        self._close()
        self.engine.dispose()

    def _begin(self) -> _Connection:
        """Begin a transaction; on a new connection, if the one that was kept has died meanwhile."""
        if self._connection is not None:
            try:
                self._connection.execute("BEGIN")
            except psycopg.OperationalError:
                self._close()  # nothing was sent over it that could have counted
            else:
                return self._connection
        self._connection = self._server.connect()
        self._connection.autocommit = True  # the driver begins nothing by itself
        self._connection.add_notice_handler(self._notice)
        self._connection.execute("BEGIN")
        return self._connection

    def _commit(self, cursor: "psycopg.Cursor[Any]") -> None:
        """Commit. What the server does not call an error is one here.

        Where a statement failed before, it rolls back; where an administrator has ended the wait for a
        synchronous standby, it warns that only its own disk has the commit.
        """
        self._warnings.clear()
        cursor.execute("COMMIT")
        if cursor.statusmessage != "COMMIT":
            raise LedgerUnavailable(f"the ledger did not commit: {cursor.statusmessage}")
        if self._warnings:
            raise LedgerUnavailable(f"the ledger may have committed, but: {self._warnings[0]}")

    def _notice(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._warnings.append(notice.message_primary or "a warning")

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()


class Listener:
    """Waits for what other processes announce on a channel; for one thread. Without a server it only waits."""

    def __init__(self, server: PostgresServer, channel: str) -> None:
        self._server = server
        self._channel = channel
        self._connection: psycopg.Connection[Any] | None = None

    def wait(self, seconds: float) -> None:
        """Return at an announcement, or after so many seconds."""
        try:
            if self._connection is None:
                self._connection = self._server.connect()
                self._connection.autocommit = True
                self._connection.execute(f"LISTEN {self._channel}")
                return  # what was announced before nobody listened is there to be read
            for _ in self._connection.notifies(timeout=seconds, stop_after=1):
                return
        except (psycopg.Error, LedgerUnavailable):
            self.close()
            time.sleep(seconds)

    def close(self) -> None:
        """Stop listening."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()


def open_for_reading(server: PostgresServer, readers: int) -> Engine:
    """Open the ledger for `readers` threads at once; what one of them reads together is of one moment."""
    return server.engine(readers, isolation_level="REPEATABLE READ")


def check_durable(engine: Engine) -> None:
    """Refuse a server that says that a commit is durable before it is.

    Raises:
        ConfigurationError: it does.
    """
    with engine.connect() as connection:
        off = [name for name in ("fsync", "full_page_writes") if _setting(connection, name) == "off"]
    if off:
        problem = f"the server has {' and '.join(off)} switched off: a crash would lose certificates on record"
        raise ConfigurationError("ledger.url", [problem])


def _setting(connection: Any, name: str) -> str:
    return str(connection.execute(text("SELECT current_setting(:name)"), {"name": name}).scalar_one())


def _milliseconds(duration: timedelta) -> str:
    return str(max(1, int(duration.total_seconds() * 1000)))
