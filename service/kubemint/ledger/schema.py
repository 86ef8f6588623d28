"""Bringing a ledger's tables to what this version needs, without losing a row."""

from importlib.resources import files
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from kubemint.errors import ConfigurationError, LedgerUnavailable
from kubemint.ledger.growing import LogKeys, Sealer, read_head, sign_first
from kubemint.ledger.statements import Statements
from kubemint.ledger.writer import WritableDatabase

_UNSIGNED: Final = frozenset({None, "0001", "0002"})  # revisions whose head was not signed
_ADVISORY_LOCK: Final = 0x6B756265  # "kube": of several that start at once, one migrates


def migrate(database: WritableDatabase, keys: LogKeys) -> None:
    """Upgrade the tables in one transaction; a ledger that is up to date is left alone.

    The first checkpoint is signed in the same transaction as the tree is built: a head that loses its
    signature later is never signed again.

    Raises:
        ConfigurationError: the ledger was written by a newer version.
        LedgerUnavailable: it cannot be opened, or is no database.
    """
    configuration = Config()
    configuration.set_main_option("script_location", str(files("kubemint.ledger") / "migrations"))
    try:
        with database.engine.begin() as connection:
            _lock(connection)
            before = MigrationContext.configure(connection).get_current_revision()
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")
            if before in _UNSIGNED:
                sign_first(keys, connection.connection.cursor(), Statements(database.engine))
    except CommandError as fault:
        raise ConfigurationError("ledger", [f"written by another version of kubemint: {fault}"]) from None
    except SQLAlchemyError as fault:
        cause = fault.orig if isinstance(fault, DBAPIError) else fault
        raise LedgerUnavailable(f"the ledger cannot be opened: {cause}") from fault


def check_head(database: WritableDatabase, keys: LogKeys) -> None:
    """Refuse a ledger that this log's keys have not signed as it stands: nothing could be added to it.

    Raises:
        LedgerUnavailable: they have not, or it cannot be read.
    """
    with database.transaction() as cursor:
        Sealer(keys).check(read_head(cursor, Statements(database.engine)))


def _lock(connection: Connection) -> None:
    """Let one migrate at a time; SQLite's transaction excludes others by itself."""
    if connection.dialect.name == "postgresql":
        # Building a tree, or an index, takes longer than any statement of the service may.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _ADVISORY_LOCK})
