"""Requests for approval, read with what became of them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, select

from kubemint.ledger import tables
from kubemint.ledger.archive import Archive
from kubemint.ledger.entries import ENTRY_COLUMNS, entry_of
from kubemint.ledger.rows import RequestState
from kubemint.record import Entry
from kubemint.register import CurrentState


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """A request, its approvals in their order, and the entry that ended it.

    `state` is the one on record: a pending request may have run out of time (`entry.fields["expires"]`).
    """

    entry: Entry
    approvals: tuple[Entry, ...]
    outcome: Entry | None
    state: RequestState


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPage:
    """Requests, newest first; `next_before` continues the list, None where it ends."""

    requests: tuple[RequestRecord, ...]
    next_before: int | None


def request_rows() -> Select[Any]:
    """Give the query of all requests, to be narrowed down."""
    columns = tables.requests.c
    return select(columns.id, columns.state, columns.outcome_index, *ENTRY_COLUMNS).join(
        tables.entries, columns.entry_index == tables.entries.c.index
    )


def is_in(state: RequestState | CurrentState, now: datetime | None) -> Iterator[ColumnElement[bool]]:
    """Give the conditions for a request to be in a state, to the second; without `now`, on record."""
    columns = tables.requests.c
    on_record = RequestState.PENDING.value if state == CurrentState.EXPIRED else state.value
    yield columns.state == on_record
    if now is not None and state == CurrentState.PENDING:
        yield columns.expires_at > int(now.timestamp())
    if now is not None and state == CurrentState.EXPIRED:
        yield columns.expires_at <= int(now.timestamp())


def read_requests(connection: Connection, query: Select[Any], archive: Archive) -> tuple[RequestRecord, ...]:
    """Run a query of `request_rows`, and read what belongs to each request: three statements in all."""
    rows = connection.execute(query).mappings().all()
    approvals = _approvals(connection, [row["id"] for row in rows], archive)
    ended = [row["outcome_index"] for row in rows if row["outcome_index"] is not None]
    outcomes = _entries(connection, ended, archive)
    return tuple(
        RequestRecord(
            entry=entry_of(row, archive),
            approvals=tuple(approvals[row["id"]]),
            outcome=outcomes.get(row["outcome_index"]),
            state=RequestState(row["state"]),
        )
        for row in rows
    )


def _approvals(connection: Connection, requests: Sequence[str], archive: Archive) -> dict[str, list[Entry]]:
    columns = tables.approvals.c
    query = (
        select(columns.request, *ENTRY_COLUMNS)
        .join(tables.entries, columns.entry_index == tables.entries.c.index)
        .where(columns.request.in_(requests))
        .order_by(columns.entry_index)
    )
    found: dict[str, list[Entry]] = defaultdict(list)
    for row in connection.execute(query).mappings():
        found[row["request"]].append(entry_of(row, archive))
    return found


def _entries(connection: Connection, indexes: Iterable[int], archive: Archive) -> dict[int, Entry]:
    query = select(*ENTRY_COLUMNS).where(tables.entries.c.index.in_(list(indexes)))
    rows: Iterable[RowMapping] = connection.execute(query).mappings()
    return {row["index"]: entry_of(row, archive) for row in rows}
