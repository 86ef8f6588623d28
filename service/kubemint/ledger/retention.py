"""Forgetting how to find what is over: query rows of certificates that expired long ago, and of old refusals.

With a certificate goes that it was revoked; with a suspension that ended long ago, whom it kept out. Entries and
tiles stay, and so does what must hold for ever: idempotency keys, uses of tokens, requests, policies,
revocations, and keys that get no certificate any more. On PostgreSQL whole partitions go first; what is left
goes in transactions that are short, so that issuers come in between. A crash between two of them leaves rows
that the next run finds.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from kubemint.errors import LedgerUnavailable
from kubemint.ledger import partitions, tables
from kubemint.ledger.entries import first_index_since
from kubemint.ledger.statements import Cursor
from kubemint.ledger.writer import WritableDatabase

STEP_ENTRIES: Final = 1000  # whose rows one transaction drops: some tens of milliseconds
PAUSE_SECONDS: Final = 0.05  # between two of them: longer than one that waits for its turn sleeps

_OVER: Final = (
    # The names of groups are walked by the key, which begins with them: no other index leads to old rows.
    (
        "entry_groups",
        'DELETE FROM entry_groups WHERE group_name IN (WITH RECURSIVE "names" AS ('
        'SELECT min(group_name) AS "name" FROM entry_groups UNION ALL '
        'SELECT (SELECT min(group_name) FROM entry_groups WHERE group_name > "name") FROM "names" '
        'WHERE "name" IS NOT NULL) SELECT "name" FROM "names") '
        "AND entry_index >= :first AND entry_index < :end AND expires_at < :cutoff",
    ),
    (
        "certificates",
        "DELETE FROM certificates WHERE entry_index >= :first AND entry_index < :end AND not_after < :cutoff",
    ),
    (
        "revoked_certificates",
        "DELETE FROM revoked_certificates "
        "WHERE certificate_index >= :first AND certificate_index < :end AND not_after < :cutoff",
    ),
    (
        "refusals",
        "DELETE FROM refusals WHERE entry_index >= :first AND entry_index < :end AND decided_at < :cutoff",
    ),
)
_SUSPENSIONS_OVER: Final = "DELETE FROM blocks WHERE until < :cutoff"  # of what is for ever, `until` is null
_STEPS: Final = (  # what has rows to drop
    tables.certificates.c.entry_index,
    tables.revoked_certificates.c.certificate_index,
    tables.refusals.c.entry_index,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """How many rows a run took away, or would have; `groups` are those by which groups are found."""

    certificates: int
    refusals: int
    groups: int


def retain(
    database: WritableDatabase,
    retention: timedelta,
    now: datetime,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> Dropped:
    """Drop the query rows of what was over `retention` ago. Threads that issue get their turn meanwhile.

    Raises:
        LedgerUnavailable: the ledger cannot be written; what was dropped stays so.
    """
    cutoff = int((now - retention).timestamp())
    counts = partitions.drop_before(database.engine, cutoff)
    with database.transaction() as cursor:
        cursor.execute(_compile(_SUSPENSIONS_OVER, database.engine), (cutoff,))
    statements = {table: _compile(statement, database.engine) for table, statement in _OVER}
    with _ours():
        end = _end(database.engine, now - retention)
        first = _next(database.engine, 0, end)
    while first is not None:
        bounds = (first, min(end, first + STEP_ENTRIES), cutoff)
        with database.transaction() as cursor:
            for table, statement in statements.items():
                counts[table] = counts.get(table, 0) + _delete(cursor, statement, bounds)
        pause(PAUSE_SECONDS)
        with _ours():
            first = _next(database.engine, bounds[1], end)
    return _dropped(counts)


def count_over(engine: Engine, retention: timedelta, now: datetime) -> Dropped:
    """Count what `retain` would drop, and drop nothing.

    Raises:
        LedgerUnavailable: the ledger cannot be read.
    """
    cutoff = int((now - retention).timestamp())
    with _ours(), engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))  # it counts for longer than an answer may
        end = first_index_since(connection, now - retention)
        return _dropped({table: _count(connection, table, cutoff, end) for table in partitions.PARTITIONED})


def _count(connection: Connection, table: str, cutoff: int, end: int) -> int:
    columns = tables.metadata.tables[table].c
    is_over = (columns[partitions.PARTITIONED[table]] < cutoff) & (columns.entry_index < end)
    return int(connection.execute(select(func.count()).where(is_over)).scalar_one())


def _end(engine: Engine, moment: datetime) -> int:
    """Give the index before which all that was over at a moment was decided: nothing ends before it begins."""
    with engine.connect() as connection:
        return first_index_since(connection, moment)


def _next(engine: Engine, first: int, end: int) -> int | None:
    """Give the next entry from `first` on that has a row, so that what is gone already is walked in one step."""
    with engine.connect() as connection:
        found = [
            connection.execute(select(func.min(index)).where(index >= first, index < end)).scalar()
            for index in _STEPS
        ]
    return min((index for index in found if index is not None), default=None)


def _delete(cursor: Cursor, statement: str, bounds: tuple[int, int, int]) -> int:
    cursor.execute(statement, bounds)
    return cursor.rowcount


def _compile(statement: str, engine: Engine) -> str:
    return str(text(statement).compile(engine))


def _dropped(counts: dict[str, int]) -> Dropped:
    return Dropped(
        certificates=counts.get("certificates", 0),
        refusals=counts.get("refusals", 0),
        groups=counts.get("entry_groups", 0),
    )


@contextmanager
def _ours() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as fault:
        raise LedgerUnavailable("the ledger cannot be read") from fault
