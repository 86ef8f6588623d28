"""Partitions of the query tables by month, on PostgreSQL: what has expired is dropped whole.

A table that grows with every request is partitioned by when its rows are of no more use. Each month has a
partition that is made before the month begins; what fits none is in the default one, which is looked at here
too. On SQLite there are none, and these functions do nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from kubemint.errors import LedgerUnavailable

MONTHS_AHEAD: Final = 3  # certificates live for hours or days; those of longer lives wait in the default one
PARTITIONED: Final = {"certificates": "not_after", "entry_groups": "expires_at", "refusals": "decided_at"}

_ADVISORY_LOCK: Final = 0x6B756270  # "kubp": of several processes, one changes partitions


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month of UTC."""

    year: int
    month: int

    @property
    def start(self) -> int:
        """Give its first second, since 1970."""
        return int(datetime(self.year, self.month, 1, tzinfo=UTC).timestamp())

    @property
    def next(self) -> "Month":
        """Give the month after it."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    def partition_of(self, table: str) -> str:
        """Name its partition of a table."""
        return f"{table}_{self.year:04d}_{self.month:02d}"


def month_of(seconds: int) -> Month:
    """Give the month of a second since 1970."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return Month(moment.year, moment.month)


def make_ahead(engine: Engine, now: datetime, since: datetime | None = None) -> tuple[str, ...]:
    """Make the partitions from the month of `since`, or of now, to some months ahead; name those that are new.

    Rows of such a month that went to the default partition meanwhile move to the new one, in one
    transaction. Where another process is at it, nothing is done.

    Raises:
        LedgerUnavailable: it cannot be done now; nothing was changed.
    """
    if engine.dialect.name != "postgresql":
        return ()
    try:
        with engine.begin() as connection:
            if not _take_turn(connection):
                return ()
            known = set(_partitions(connection))
            wanted = [
                (month, table)
                for month in _months(month_of(int((since or now).timestamp())), month_of(int(now.timestamp())))
                for table in PARTITIONED
                if month.partition_of(table) not in known
            ]
            for month, table in wanted:
                _make(connection, table, month)
            return tuple(month.partition_of(table) for month, table in wanted)
    except SQLAlchemyError as fault:
        raise LedgerUnavailable(f"partitions of the ledger cannot be made: {fault}") from fault


def drop_before(engine: Engine, cutoff: int, *, dry_run: bool = False) -> dict[str, int]:
    """Drop the partitions whose every row is of a month that was over at `cutoff`; count their rows by table.

    Raises:
        LedgerUnavailable: it cannot be done now; whole partitions may be gone already.
    """
    if engine.dialect.name != "postgresql":
        return {}
    dropped: dict[str, int] = {}
    try:
        with engine.connect() as connection:
            names = _partitions(connection)
        for table in PARTITIONED:
            for name in names:
                month = _month_of_partition(table, name)
                if month is not None and month.next.start <= cutoff:
                    dropped[table] = dropped.get(table, 0) + _drop(engine, table, name, dry_run)
    except SQLAlchemyError as fault:
        raise LedgerUnavailable(f"partitions of the ledger cannot be dropped: {fault}") from fault
    return dropped


def _months(first: Month, current: Month) -> Iterator[Month]:
    last = current
    for _ in range(MONTHS_AHEAD):
        last = last.next
    while first <= last:
        yield first
        first = first.next


def _take_turn(connection: Connection) -> bool:
    taken = connection.execute(text("SELECT pg_try_advisory_xact_lock(:number)"), {"number": _ADVISORY_LOCK})
    return bool(taken.scalar_one())


def _partitions(connection: Connection) -> list[str]:
    """Give the names of the partitions that tables have, the default ones too."""
    query = text(
        "SELECT child.relname FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid "
        "WHERE inhparent IN (to_regclass('certificates'), to_regclass('entry_groups'), to_regclass('refusals')) "
        "ORDER BY child.relname"
    )
    return list(connection.execute(query).scalars())


def _month_of_partition(table: str, name: str) -> Month | None:
    """Read the month in a partition's name; None if it is not a month's, or another table's."""
    year, _, month = name.removeprefix(f"{table}_").partition("_")
    if not name.startswith(f"{table}_") or not (year.isdecimal() and month.isdecimal()):
        return None
    return Month(int(year), int(month))


def _make(connection: Connection, table: str, month: Month) -> None:
    """Make a partition and fill it with what the default one has of its month: it could not be made otherwise."""
    name, column = month.partition_of(table), PARTITIONED[table]
    connection.execute(text(f"LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE"))
    connection.execute(text(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS)"))
    connection.execute(
        text(
            f"WITH moved AS (DELETE FROM {table}_default "  # noqa: S608 - names of ours
            f"WHERE {column} >= :first AND {column} < :end RETURNING *) INSERT INTO {name} SELECT * FROM moved"
        ),
        {"first": month.start, "end": month.next.start},
    )
    bounds = f"FROM ({month.start}) TO ({month.next.start})"
    connection.execute(text(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES {bounds}"))


def _drop(engine: Engine, table: str, name: str, dry_run: bool) -> int:
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))  # counting takes longer than an answer may
        rows = int(connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one())  # noqa: S608 - ours
        if not dry_run:
            connection.execute(text(f"ALTER TABLE {table} DETACH PARTITION {name}"))
            connection.execute(text(f"DROP TABLE {name}"))
    return rows
