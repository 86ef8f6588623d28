"""The newest checkpoint that witnesses have cosigned: one row, which all processes of a ledger share.

It never goes back: whoever writes it says what it was before, and a smaller one is not written.
"""

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import SQLAlchemyError

from kubemint.errors import LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.writer import WritableDatabase


def read_witnessed(connection: Connection) -> str:
    """Give the note, empty if there is none yet. Whoever can write to the database may have written it."""
    return str(connection.execute(select(tables.witnessed.c.checkpoint)).scalar_one())


def store_witnessed(database: WritableDatabase, *, size: int, note: str, before: str) -> bool:
    """Replace the note `before` by one of this size; False if another process was faster. Durable on return.

    Raises:
        LedgerUnavailable: it could not be written.
    """
    columns = tables.witnessed.c
    change = (
        update(tables.witnessed)
        .where(columns.id == 1, columns.checkpoint == before)
        .values(size=size, checkpoint=note)
    )
    try:
        with database.engine.begin() as connection:
            return connection.execute(change).rowcount == 1
    except SQLAlchemyError as fault:
        raise LedgerUnavailable("the checkpoint with its cosignatures could not be written") from fault
