"""One revocation as it stands on record: its entry, how many certificates it hit, and what lifted it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, select

from kubemint.ledger import tables
from kubemint.ledger.archive import NO_ARCHIVE
from kubemint.ledger.entries import ENTRY_COLUMNS, entry_of
from kubemint.record import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationRecord:
    """A revocation, how many certificates it hit, and the entry that lifted it, if it was a hold."""

    entry: Entry
    certificates: int
    lifted: Entry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationPage:
    """Revocations, newest first; `next_before` continues the list, None where it ends."""

    revocations: tuple[RevocationRecord, ...]
    next_before: int | None


def record_rows() -> Select[Any]:
    """Ask for revocations; `read_records` reads what is found."""
    columns = tables.revocations.c
    return select(columns.id, columns.lifted_index, *ENTRY_COLUMNS).join(
        tables.entries, columns.entry_index == tables.entries.c.index
    )


def read_records(connection: Connection, query: Select[Any]) -> tuple[RevocationRecord, ...]:
    """Read the revocations that a query of `record_rows` finds."""
    rows = connection.execute(query).mappings().all()
    counts = _counts(connection, [row["index"] for row in rows])
    lifted = _entries(connection, [row["lifted_index"] for row in rows if row["lifted_index"] is not None])
    return tuple(
        RevocationRecord(
            entry=entry_of(row, NO_ARCHIVE),
            certificates=counts.get(row["index"], 0),
            lifted=lifted.get(row["lifted_index"]),
        )
        for row in rows
    )


def _counts(connection: Connection, indexes: Sequence[int]) -> dict[int, int]:
    columns = tables.revoked_certificates.c
    query = (
        select(columns.revocation_index, func.count())
        .where(columns.revocation_index.in_(indexes))
        .group_by(columns.revocation_index)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _entries(connection: Connection, indexes: Sequence[int]) -> dict[int, Entry]:
    query = select(*ENTRY_COLUMNS).where(tables.entries.c.index.in_(indexes))
    rows: Sequence[RowMapping] = connection.execute(query).mappings().all()
    return {row["index"]: entry_of(row, NO_ARCHIVE) for row in rows}
