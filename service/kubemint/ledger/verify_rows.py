"""The query tables against the entries, both ways: each entry has its rows, and no row is without its entry.

Rows are looked at beside the bundle that they belong to. The tables whose key begins with something else than
the entry's index are asked for what the entries lead to; how many were found must then be how many there are,
and only where it is not are the tables walked for what nobody can account for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, and_, column, func, select, tuple_, values

from kubemint.ledger import tables
from kubemint.ledger.rows import Row
from kubemint.ledger.verify_entries import ToldEntry, read_entry
from kubemint.ledger.verify_findings import Finding, FindingCode
from kubemint.ledger.verify_pages import EntryPages, reading

_KEYS_A_STATEMENT: Final = 200
_ROWS_A_WALK: Final = 500
_BY_INDEX: Final = (tables.certificates, tables.refusals, tables.requests, tables.policies, tables.revocations)
_BY_KEY: Final = {
    tables.approvals: ("request", "entry_index"),
    tables.token_uses: ("authority", "token_id"),
    tables.idempotency_keys: ("requester", "idempotency_key"),
    tables.entry_groups: ("group_name", "entry_index"),
}
_CHANGING: Final = frozenset(  # verify_requests.py and verify_revocations.py look at them
    {"state", "approvals", "outcome_index", "lifted_index"}
)
_OF_REVOCATIONS: Final = (tables.revoked_certificates, tables.blocks)  # and at these
_ENDS: Final = {  # after this time, and the retention, a row may be gone
    tables.certificates: "not_after",
    tables.refusals: "decided_at",
    tables.entry_groups: "expires_at",
}

_Expected = Mapping[int, ToldEntry]


@dataclass(slots=True)
class RowCheck:
    """Compares the rows of a ledger of `size` entries, bundle after bundle.

    `dropped_before` is the time before which retention may have dropped what was over; None if it never does.
    """

    size: int
    dropped_before: datetime | None
    found: dict[Table, int] = field(default_factory=lambda: dict.fromkeys(_BY_KEY, 0))
    untold: set[int] = field(default_factory=set)  # entries that nothing follows from

    @classmethod
    def since(cls, size: int, retention: timedelta | None, now: datetime) -> "RowCheck":
        """Give the check of a ledger whose retention is this."""
        return cls(size, None if retention is None else now - retention)

    def bundle(self, connection: Connection, indexes: range, told: _Expected) -> list[Finding]:
        """Compare the rows of these entries; of one that is not told, rows are neither missed nor unknown."""
        self.untold.update(index for index in indexes if index not in told)
        findings: list[Finding] = []
        for table in _BY_INDEX:
            findings += self._by_index(connection, table, indexes, _rows_of(table, told))
        for table in _BY_KEY:
            findings += self._by_key(connection, table, _rows_of(table, told))
        return findings

    def finish(self, engine: Engine, pages: EntryPages) -> Iterator[Finding]:
        """Find rows that no entry accounts for."""
        for table in _BY_KEY:
            with reading(engine) as connection:
                there = _count(connection, table, table.c.entry_index < self.size)
            if there != self.found[table]:
                yield from self._walk(engine, table, pages)
        with reading(engine) as connection:
            now = connection.execute(select(tables.head.c.size)).scalar() or 0
            counts = {
                table.name: _count(connection, table, (index >= now) | (index < 0))
                for table in tables.QUERY_TABLES
                for index in [table.c.revocation_index if table in _OF_REVOCATIONS else table.c.entry_index]
            }
        for name, count in counts.items():
            if count:
                message = f"{name}: {count} rows are of entries that are not there"
                yield Finding(code=FindingCode.ROW_UNKNOWN, message=message)

    def _by_index(
        self, connection: Connection, table: Table, indexes: range, rows: Sequence[Row]
    ) -> Iterator[Finding]:
        expected = {row["entry_index"]: row for row in rows}
        column = table.c.entry_index
        query = select(table).where(column >= indexes.start, column < indexes.stop).order_by(column)
        for stored in connection.execute(query).mappings():
            index = stored["entry_index"]
            if index in self.untold:
                continue
            if (row := expected.pop(index, None)) is None:
                yield _finding(FindingCode.ROW_UNKNOWN, table, index)
            elif not _agrees(row, stored):
                yield _finding(FindingCode.ROW_DIFFERS, table, index)
        yield from self._missing(table, expected.values())

    def _by_key(self, connection: Connection, table: Table, rows: Sequence[Row]) -> Iterator[Finding]:
        names = _BY_KEY[table]
        stored = _stored(connection, table, [tuple(row[name] for name in names) for row in rows])
        for row in rows:
            found = stored.get(tuple(row[name] for name in names))
            if found is None:
                yield from self._missing(table, [row])
            elif _agrees(row, found):
                self.found[table] += 1
            elif table is not tables.token_uses or not _is_before(found["entry_index"], row["entry_index"]):
                # A token may be told of again; the row is that of the first.
                self.found[table] += 1
                yield _finding(FindingCode.ROW_DIFFERS, table, row["entry_index"])

    def _missing(self, table: Table, rows: Iterable[Row]) -> Iterator[Finding]:
        for row in rows:
            end = row.get(_ENDS[table]) if table in _ENDS else None
            if end is None or self.dropped_before is None or end >= self.dropped_before.timestamp():
                yield _finding(FindingCode.ROW_MISSING, table, row["entry_index"])

    def _walk(self, engine: Engine, table: Table, pages: EntryPages) -> Iterator[Finding]:
        """Look at each row of a table, and at its entry."""
        key = tuple_(*(table.c[name] for name in _BY_KEY[table]))
        after: tuple[Any, ...] | None = None
        while True:
            query = select(table).where(table.c.entry_index < self.size).order_by(*key).limit(_ROWS_A_WALK)
            with reading(engine) as connection:
                page = connection.execute(query if after is None else query.where(key > after)).mappings().all()
                unknown = [row for row in page if not self._is_told(connection, table, row, pages)]
            for row in unknown:
                yield _finding(FindingCode.ROW_UNKNOWN, table, row["entry_index"])
            if len(page) < _ROWS_A_WALK:
                return
            after = tuple(page[-1][name] for name in _BY_KEY[table])

    def _is_told(self, connection: Connection, table: Table, stored: Mapping[Any, Any], pages: EntryPages) -> bool:
        index = stored["entry_index"]
        if index in self.untold:
            return True  # it was found already that the entry tells nothing
        entry = pages.entry(connection, index)
        told = None if entry is None else read_entry(entry, ())[0]
        rows = () if told is None else _rows_of(table, {index: told})
        return any(all(row[name] == stored[name] for name in _BY_KEY[table]) for row in rows)


def _rows_of(table: Table, told: _Expected) -> Sequence[Row]:
    """Give what entries write to a table, each row once."""
    rows = [row for entry in told.values() for of, row in entry.rows.rows if of is table]
    if table not in _BY_KEY:
        return rows
    first: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        first.setdefault(tuple(row[name] for name in _BY_KEY[table]), row)
    return list(first.values())


def _stored(
    connection: Connection, table: Table, keys: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], Mapping[Any, Any]]:
    """Give the rows that have these keys."""
    names = _BY_KEY[table]
    found: dict[tuple[Any, ...], Mapping[Any, Any]] = {}
    for start in range(0, len(keys), _KEYS_A_STATEMENT):
        # Joined, because SQLite would scan the table for `(a, b) IN (…)`.
        columns = [column(name, table.c[name].type) for name in names]
        wanted = values(*columns).data(keys[start : start + _KEYS_A_STATEMENT]).cte("wanted")
        query = select(table).join(wanted, and_(*(table.c[name] == wanted.c[name] for name in names)))
        for row in connection.execute(query).mappings():
            found[tuple(row[name] for name in names)] = row
    return found


def _agrees(row: Row, stored: Mapping[Any, Any]) -> bool:
    return all(stored[name] == value for name, value in row.items() if name not in _CHANGING)


def _is_before(index: object, other: int) -> bool:
    return isinstance(index, int) and index < other  # SQLite lets a column of numbers hold something else


def _count(connection: Connection, table: Table, condition: Any) -> int:
    return int(connection.execute(select(func.count()).select_from(table).where(condition)).scalar_one())


def _finding(code: FindingCode, table: Table, index: int) -> Finding:
    said = {
        FindingCode.ROW_MISSING: "there is no row of",
        FindingCode.ROW_DIFFERS: "the row is another than that of",
        FindingCode.ROW_UNKNOWN: "there is a row that does not come of",
    }
    return Finding(code=code, message=f"{table.name}: {said[code]} entry {index}", index=index)
