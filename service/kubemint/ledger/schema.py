"""Bringing a ledger's tables to what this version needs, without losing a row."""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from kubemint.errors import ConfigurationError, LedgerUnavailable
from kubemint.ledger.writer import WritableDatabase


def migrate(database: WritableDatabase) -> None:
    """Upgrade the tables in one transaction; a ledger that is up to date is left alone.

    Raises:
        ConfigurationError: the ledger was written by a newer version.
        LedgerUnavailable: it cannot be opened, or is no database.
    """
    configuration = Config()
    configuration.set_main_option("script_location", str(files("kubemint.ledger") / "migrations"))
    try:
        with database.engine.begin() as connection:
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")
    except CommandError as fault:
        raise ConfigurationError("ledger", [f"written by another version of kubemint: {fault}"]) from None
    except SQLAlchemyError as fault:
        cause = fault.orig if isinstance(fault, DBAPIError) else fault
        raise LedgerUnavailable(f"the ledger cannot be opened: {cause}") from fault
