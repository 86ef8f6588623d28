"""Revocations against the entries, both ways: what each of them hit, whom it keeps out, and what lifted it.

A `revoked` entry has a selector alone. What it meant is found as it was found then, among the certificates of
the entries before it; rows that somebody has changed, or that retention has dropped, have no part in that. Of
certificates, those alone are kept for it that were valid when some later revocation was made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, func, select

from kubemint.ledger import tables
from kubemint.ledger.rows import Lifting, Revoking
from kubemint.ledger.verify_entries import ToldEntry, read_entry
from kubemint.ledger.verify_findings import Finding, FindingCode
from kubemint.ledger.verify_pages import EntryPages
from kubemint.ledger.verify_scratch import BLOCKS, HITS, Difference, Following, Scratch
from kubemint.record import EventKind

ROWS_KEPT: Final = 20_000  # before it is looked which of them were over

_ROWS_A_PAGE: Final = 1000
_KEPT: Final = {tables.certificates: "not_after", tables.entry_groups: "expires_at"}

_Told = Mapping[int, ToldEntry]
_Rows = Mapping[int, Mapping[Any, Any]]


@dataclass(slots=True)
class RevocationCheck:
    """Compares the rows of revocations of a ledger of `size` entries, bundle after bundle.

    `dropped_before` is the time before which retention may have dropped what was over; None if it never does.
    With more than `room` rows kept, it is looked which of them were over. All that raises is LedgerUnavailable.
    """

    size: int
    dropped_before: datetime | None
    room: int = ROWS_KEPT
    _scratch: Scratch = field(default_factory=Scratch)
    _floor: int | None = None  # the earliest time of a revocation that is still to come; None if none comes
    _kept: int = 0

    def close(self) -> None:
        """Throw away what was kept."""
        self._scratch.close()

    def bundle(self, connection: Connection, indexes: range, told: _Told, pages: EntryPages) -> Iterator[Finding]:
        """Compare what these entries lead to; of one that is not told, rows are neither missed nor unknown."""
        self._keep(connection, indexes, told)
        columns = tables.revocations.c
        query = select(tables.revocations).where(_within(columns.entry_index, indexes))
        rows: _Rows = {row["entry_index"]: row for row in connection.execute(query).mappings()}
        yield from _lifting_findings(connection, told, rows, pages)
        for index, entry in told.items():
            change = entry.rows.change
            if isinstance(change, Revoking) and _is_sound(change, rows.get(index)):
                blocks = [row for table, row in entry.rows.rows if table is tables.blocks]
                self._scratch.revoke(change, blocks, is_lifted=rows[index]["lifted_index"] is not None)
        unjudged = _unjudged(indexes, told, rows)
        before = None if self.dropped_before is None else self.dropped_before.timestamp()
        for following in (HITS, BLOCKS):
            self._find(connection, following, indexes, unjudged)
            yield from map(_finding, self._scratch.differences(following, before))

    def _keep(self, connection: Connection, indexes: range, told: _Told) -> None:
        """Keep the certificates of a bundle that a later revocation may hit."""
        self._scratch.add_untold(index for index in indexes if index not in told)
        if indexes.start == 0 or self._kept >= self.room:
            self._floor = _earliest(connection, range(indexes.start, self.size))
            self._kept = 0 if self._floor is None else self._scratch.drop_before(self._floor)
            self.room = max(self.room, 2 * self._kept)
        if (floor := self._floor) is None:
            return
        rows = [pair for entry in told.values() if entry.kind is EventKind.ISSUED for pair in entry.rows.rows]
        for kept, end in _KEPT.items():
            some = [row for table, row in rows if table is kept and row[end] >= floor]
            self._scratch.add(kept, some)
            self._kept += len(some)

    def _find(
        self, connection: Connection, following: Following, indexes: range, unjudged: frozenset[int]
    ) -> None:
        """Read what the ledger has, page by page."""
        query = select(following.table).where(_within(following.table.c.revocation_index, indexes))
        found = connection.execute(query, execution_options={"yield_per": _ROWS_A_PAGE}).mappings()
        for page in found.partitions():
            self._scratch.find(following, [row for row in page if row["revocation_index"] not in unjudged])


def _within(column: Any, indexes: range) -> Any:
    return (column >= indexes.start) & (column < indexes.stop)


def _earliest(connection: Connection, indexes: range) -> int | None:
    """Give the earliest time of the revocations among these entries."""
    columns = tables.revocations.c
    query = select(func.min(columns.revoked_at)).where(_within(columns.entry_index, indexes))
    found = connection.execute(query).scalar()
    return found if isinstance(found, int) else None  # where it is something else, that is found for itself


def _is_sound(revoking: Revoking, row: Mapping[Any, Any] | None) -> bool:
    """Tell whether the certificates that it could hit were kept; of a row that is missing or wrong it is told."""
    return row is not None and row["revoked_at"] == revoking.revoked_at


def _unjudged(indexes: range, told: _Told, rows: _Rows) -> frozenset[int]:
    """Give the entries of which nobody can say what they hit."""
    revocations = {
        index: entry.rows.change for index, entry in told.items() if isinstance(entry.rows.change, Revoking)
    }
    wrong = {index for index, change in revocations.items() if not _is_sound(change, rows.get(index))}
    return frozenset(wrong | {index for index in indexes if index not in told})


def _lifting_findings(connection: Connection, told: _Told, rows: _Rows, pages: EntryPages) -> Iterator[Finding]:
    """Compare what lifted revocations: by their rows, and by the entries that say so. The last one counts."""
    for index, row in rows.items():
        if index in told and told[index].kind is EventKind.REVOKED and not _was_lifted(connection, row, pages):
            yield _lifting_finding(index, row["id"])
    lifts = {index: entry.rows.change for index, entry in told.items() if isinstance(entry.rows.change, Lifting)}
    if not lifts:
        return
    columns = tables.revocations.c
    query = select(columns.id, columns.entry_index, columns.lifted_index)
    query = query.where(columns.id.in_([lift.revocation for lift in lifts.values()]))
    stored = {row.id: row for row in connection.execute(query)}
    for index, lift in lifts.items():
        found = stored.get(lift.revocation)
        if found is None or found.entry_index > index:
            continue  # there was nothing to lift, or its row is missed already
        if not isinstance(found.lifted_index, int) or found.lifted_index < index:
            yield _lifting_finding(index, lift.revocation)


def _was_lifted(connection: Connection, row: Mapping[Any, Any], pages: EntryPages) -> bool:
    """Tell whether the entry that a row names lifted it; of one that cannot be read it is told already."""
    lifted = row["lifted_index"]
    if lifted is None:
        return True
    if not isinstance(lifted, int):
        return False
    if (entry := pages.entry(connection, lifted)) is None:
        return False
    told, _ = read_entry(entry, ())
    if told is None:
        return True
    change = told.rows.change
    return isinstance(change, Lifting) and change.revocation == row["id"]


def _lifting_finding(index: int, revocation: object) -> Finding:
    message = f"revocations: the row of {revocation} is not what the entries have made of it (entry {index})"
    return Finding(code=FindingCode.ROW_DIFFERS, message=message, index=index)


def _finding(difference: Difference) -> Finding:
    said = {
        FindingCode.ROW_MISSING: "are missing",
        FindingCode.ROW_DIFFERS: "say something else than it",
        FindingCode.ROW_UNKNOWN: "do not come of it",
    }
    index = difference.revocation_index
    told = f"{difference.table.name}: {difference.count} rows of entry {index} {said[difference.code]}"
    if isinstance(difference.first, int):
        told += f", the first of them for the certificate of entry {difference.first}"
    return Finding(code=difference.code, message=told, index=index)
