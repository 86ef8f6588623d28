"""What the commands on a ledger have in common: its database, open, and how long rows are kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from kubemint.config import Config
from kubemint.errors import ConfigurationError
from kubemint.ledger.writer import WritableDatabase
from kubemint.wiring import store_of


@contextmanager
def opened(settings: Config) -> Iterator[WritableDatabase]:
    """Open the ledger of a configuration.

    Raises:
        ConfigurationError: there is none.
    """
    store = store_of(settings)
    if not store.exists():
        raise ConfigurationError("ledger.url", ["there is no ledger"])
    database = store.writable()
    try:
        yield database
    finally:
        database.close()


def retention_of(settings: Config) -> timedelta:
    """Give how long what is over is kept.

    Raises:
        ConfigurationError: for ever.
    """
    if settings.ledger.retention is None:
        raise ConfigurationError("ledger.retention", ["says nothing: all stays for ever"])
    return settings.ledger.retention
