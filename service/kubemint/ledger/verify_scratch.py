"""Revocations done again in a scratch database: what they hit and keep out, beside what the ledger says of it.

The scratch database is SQLite's: in memory while it is small, and a file that nobody else sees where it is not.
It has the ledger's tables, so that a revocation is done by the statement that did it first; and for two of them
a second one for what was found in the ledger, whatever types somebody has put there.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Integer,
    MetaData,
    Select,
    Table,
    and_,
    create_engine,
    delete,
    false,
    func,
    insert,
    null,
    or_,
    select,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from kubemint.errors import LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.revoking import revoke
from kubemint.ledger.rows import Revoking, Row
from kubemint.ledger.verify_findings import FindingCode
from kubemint.record import BlockKind

_PRAGMAS: Final = ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA temp_store = FILE")
_OURS: Final = MetaData()
_UNTOLD: Final = Table("untold", _OURS, Column("entry_index", Integer, primary_key=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """A table whose rows follow from revocations.

    `found` is where those are that were there; `key` tells rows of one revocation apart; after `end`, and the
    retention, a row may be gone.
    """

    table: Table
    found: Table
    key: tuple[str, ...]
    end: str

    @property
    def is_same(self) -> ColumnElement[bool]:
        """Give the condition under which a row that was found is the one that must be there."""
        return and_(*(self.table.c[name] == self.found.c[name] for name in ("revocation_index", *self.key)))

    @property
    def rest(self) -> ColumnElement[bool]:
        """Give the condition under which such a row says something else."""
        others = (name for name in self.table.c.keys() if name not in self.key)  # noqa: SIM118 - no dict
        return or_(false(), *(self.table.c[name].is_distinct_from(self.found.c[name]) for name in others))


def _beside(table: Table, key: tuple[str, ...]) -> Table:
    # Of the same types, since SQLite uses no index to compare columns that are not.
    columns = (Column(each.name, each.type, primary_key=each.name in key) for each in table.columns)
    return Table(f"found_{table.name}", _OURS, *columns)


def _following(table: Table, key: tuple[str, ...], end: str) -> Following:
    return Following(table=table, found=_beside(table, ("revocation_index", *key)), key=key, end=end)


HITS: Final = _following(tables.revoked_certificates, ("certificate_index",), "not_after")
BLOCKS: Final = _following(tables.blocks, ("kind", "value"), "until")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Rows of one revocation that are not as they must be; `first` is the first certificate's entry, if any is."""

    code: FindingCode
    table: Table
    revocation_index: int
    count: int
    first: object


class Scratch:
    """The certificates that revocations may hit, and what those that were done again have hit.

    All methods raise LedgerUnavailable, where there is no room for it.
    """

    def __init__(self) -> None:
        with _ours():
            self._engine = create_engine(
                "sqlite://",
                creator=lambda: sqlite3.connect(""),
                poolclass=StaticPool,
                isolation_level="AUTOCOMMIT",
            )
            self._connection = self._engine.connect()
            for pragma in _PRAGMAS:
                self._connection.exec_driver_sql(pragma)
            made = [tables.certificates, tables.entry_groups, tables.revoked_certificates, tables.blocks]
            tables.metadata.create_all(self._connection, made)
            _OURS.create_all(self._connection)

    def close(self) -> None:
        """Throw all of it away."""
        self._connection.close()
        self._engine.dispose()

    def add(self, table: Table, rows: Sequence[Row]) -> None:
        """Add rows as entries tell of them; the first of two that a constraint keeps apart stays, as it did."""
        if rows:
            with _ours():
                self._connection.execute(insert(table).prefix_with("OR IGNORE"), rows)

    def add_untold(self, indexes: Iterable[int]) -> None:
        """Note entries that could not be read: nobody can say what follows from them."""
        self.add(_UNTOLD, [{"entry_index": index} for index in indexes])

    def drop_before(self, seconds: int) -> int:
        """Forget the certificates that were over by then, and give how many rows are left."""
        left = 0
        with _ours():
            for column in (tables.certificates.c.not_after, tables.entry_groups.c.expires_at):
                self._connection.execute(delete(column.table).where(column < seconds))
                count = select(func.count()).select_from(column.table)
                left += int(self._connection.execute(count).scalar_one())
        return left

    def revoke(self, revoking: Revoking, blocks: Sequence[Row], *, is_lifted: bool) -> None:
        """Do a revocation again. One that was lifted keeps nobody out."""
        self.add(tables.blocks, blocks)
        with _ours():
            revoke(revoking, self._connection.connection.cursor(), self._engine.dialect)
            if is_lifted:
                index = tables.blocks.c.revocation_index
                self._connection.execute(delete(tables.blocks).where(index == revoking.index))

    def find(self, following: Following, rows: Iterable[Mapping[Any, Any]]) -> None:
        """Put beside it what is in the ledger."""
        names = following.found.c.keys()
        marks = ", ".join("?" for _ in names)
        insertion = f"INSERT INTO {following.found.name} VALUES ({marks})"  # noqa: S608 - a name of ours
        if values := [tuple(row[name] for name in names) for row in rows]:
            with _ours():
                self._connection.exec_driver_sql(insertion, values)

    def differences(self, following: Following, dropped_before: float | None) -> list[Difference]:
        """Compare both, and forget them. A row that was over before `dropped_before` may be missing."""
        there, found = following.table, following.found
        with _ours():
            differences = [
                Difference(code=code, table=there, revocation_index=row[0], count=row[1], first=row[2])
                for code, query in _queries(following, dropped_before)
                for row in self._connection.execute(query)
            ]
            self._connection.execute(delete(there))
            self._connection.exec_driver_sql(f"DELETE FROM {found.name}")  # noqa: S608 - a name of ours
        return differences


def _queries(following: Following, dropped_before: float | None) -> Iterator[tuple[FindingCode, Select[Any]]]:
    there, found, end = following.table, following.found, following.table.c[following.end]
    missed = _counted(there, there.outerjoin(found, following.is_same)).where(found.c.revocation_index.is_(None))
    if dropped_before is not None:
        missed = missed.where(or_(end.is_(None), end >= dropped_before))
    yield FindingCode.ROW_MISSING, missed
    yield FindingCode.ROW_DIFFERS, _counted(there, there.join(found, following.is_same)).where(following.rest)
    unknown = _counted(found, found.outerjoin(there, following.is_same))
    unknown = unknown.where(there.c.revocation_index.is_(None))
    if following is HITS:
        yield (
            FindingCode.ROW_UNKNOWN,
            unknown.where(found.c.certificate_index.not_in(select(_UNTOLD.c.entry_index))),
        )
    else:
        is_untold = found.c.revocation_index > select(func.min(_UNTOLD.c.entry_index)).scalar_subquery()
        is_of_one = and_(found.c.kind == BlockKind.KEY.value, func.coalesce(is_untold, false()))
        yield FindingCode.ROW_UNKNOWN, unknown.where(~is_of_one)


def _counted(rows: Table, source: FromClause) -> Select[Any]:
    """Count rows by revocation, and give the first of their certificates."""
    index = rows.c.revocation_index
    first = func.min(rows.c.certificate_index) if "certificate_index" in rows.c else null()
    return select(index, func.count(), first).select_from(source).group_by(index).order_by(index)


@contextmanager
def _ours() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as fault:
        cause = getattr(fault, "orig", fault)
        raise LedgerUnavailable(f"revocations cannot be done again beside the ledger: {cause}") from fault
