"""What a service does for its ledger once a day: partitions for the months to come, and retention.

Every process has the thread; one of those that share a PostgreSQL does the work, and the others find that
somebody is at it, or that it is done. On SQLite short transactions take turns with each other, and with those
of issuers.
"""

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from kubemint.errors import LedgerUnavailable
from kubemint.ledger.partitions import make_ahead
from kubemint.ledger.retention import Dropped, retain
from kubemint.ledger.stores import Store
from kubemint.ledger.writer import WritableDatabase

_FIRST_SECONDS: Final = (60.0, 600.0)  # after the start, between these: replicas that start together differ
_DAY_SECONDS: Final = 86400.0
_ADVISORY_LOCK: Final = 0x6B75626D  # "kubm": of several replicas, one maintains
_log = logging.getLogger(__name__)


class Maintenance:
    """Maintains a ledger as long as its process lives. `retention` gives None where rows stay for ever."""

    def __init__(
        self, store: Store, retention: Callable[[], timedelta | None], clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._retention = retention
        self._clock = clock
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin, in a thread that ends with the process."""
        threading.Thread(target=self._run, name="maintenance", daemon=True).start()

    def stop(self) -> None:
        """End the thread before its next run."""
        self._stopped.set()

    def run_once(self) -> Dropped | None:
        """Do what is due; None if another replica is at it.

        Raises:
            LedgerUnavailable: it cannot be done now.
        """
        database = self._store.writable()
        try:
            with _turn(database, self._store) as is_ours:
                if not is_ours:
                    return None
                make_ahead(database.engine, self._clock())
                retention = self._retention()
                if retention is None:
                    return Dropped(certificates=0, refusals=0, groups=0)
                return retain(database, retention, self._clock())
        finally:
            database.close()

    def _run(self) -> None:
        wait = random.uniform(*_FIRST_SECONDS)  # noqa: S311 - no secret
        while not self._stopped.wait(wait):
            wait = _DAY_SECONDS
            try:
                dropped = self.run_once()
            except LedgerUnavailable as fault:
                _log.error("the ledger was not maintained", extra={"problem": fault.message})
            else:
                if dropped is not None:
                    _log.info("the ledger was maintained", extra={"dropped": dropped.certificates})


@contextmanager
def _turn(database: WritableDatabase, store: Store) -> Iterator[bool]:
    """Tell whether nobody else is at it, and let nobody else while the block lasts."""
    if database.engine.dialect.name != "postgresql":
        yield True
        return
    holder = store.for_reading(1)
    try:
        with holder.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            taken = text("SELECT pg_try_advisory_lock(:number)")
            yield bool(connection.execute(taken, {"number": _ADVISORY_LOCK}).scalar_one())
            # The lock goes with the connection, which is closed below.
    except SQLAlchemyError as fault:
        raise LedgerUnavailable("the ledger cannot be maintained") from fault
    finally:
        holder.dispose()
