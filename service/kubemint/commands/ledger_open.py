"""What the commands on a ledger have in common: its database, open, and how long rows are kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from kubemint.config import Config
from kubemint.errors import ConfigurationError
from kubemint.ledger.writer import WritableDatabase
from kubemint.wiring import kept_for, load_policy_of, store_of


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
    """Give how long what is over is kept; the policy may need it for longer than the configuration says.

    Raises:
        ConfigurationError: for ever, or the policy has mistakes.
    """
    if (retention := kept_for(settings, load_policy_of(settings))) is None:
        raise ConfigurationError("ledger.retention", ["says nothing: all stays for ever"])
    return retention
