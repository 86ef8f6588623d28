"""Bringing a ledger's tables to what this version needs, without losing a row."""

from collections.abc import Callable
from importlib.resources import files
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from kubemint.errors import ConfigurationError, LedgerDamaged, LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.growing import LogKeys, Sealer, read_head, sign_first
from kubemint.ledger.statements import Statements
from kubemint.ledger.writer import WritableDatabase

_UNSIGNED: Final = frozenset({None, "0001", "0002"})  # revisions whose head was not signed
_ADVISORY_LOCK: Final = 0x6B756265  # "kube": of several that start at once, one migrates


def migrate(
    database: WritableDatabase,
    keys: LogKeys,
    *,
    sign_existing: bool = False,
    before_signing: Callable[[], None] = lambda: None,
) -> None:
    """Upgrade the tables in one transaction; a ledger that is up to date is left alone.

    The first checkpoint is signed in the same transaction as the tree is built: a head that loses its
    signature later is never signed again. Whoever can write to the database can make a signed ledger look
    like one of a version that did not sign, with other entries: so one that has entries is signed only where
    an operator says so (`sign_existing`), and none before `before_signing` has returned.

    Raises:
        ConfigurationError: the ledger was written by a newer version, or holds entries that were never signed.
        LedgerDamaged: it lacks entries, or has some beyond its head.
        LedgerUnavailable: it cannot be opened, or is no database.
        Anything that `before_signing` raises. Whatever is raised, nothing was changed.
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
                _check_may_be_signed(connection, sign_existing=sign_existing)
                before_signing()
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


def _check_may_be_signed(connection: Connection, *, sign_existing: bool) -> None:
    size = connection.execute(select(tables.head.c.size)).scalar_one()
    last = connection.execute(select(func.max(tables.entries.c.index))).scalar()
    if not sign_existing and (size, last) != (0, None):
        problem = (
            "holds entries, and no checkpoint: an earlier version wrote it, or somebody took its signatures away. "
            "What to look at before it is signed: `kubemint ledger migrate --help`"
        )
        raise ConfigurationError("ledger", [problem])
    if size != (0 if last is None else last + 1):
        raise LedgerDamaged(f"the head tells of {size} entries, and the last one has index {last}")


def _lock(connection: Connection) -> None:
    """Let one migrate at a time; SQLite's transaction excludes others by itself."""
    if connection.dialect.name == "postgresql":
        # Building a tree, or an index, takes longer than any statement of the service may.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _ADVISORY_LOCK})
