"""What has become of requests for approval: the one kind of row that later entries change.

The row is compared with the approvals beside it and with the entry that ended it; and each entry that ends a
request must be the one in its row, or have come after it.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Connection, func, select

from kubemint.ledger import tables
from kubemint.ledger.rows import RequestChange, RequestState
from kubemint.ledger.verify_entries import ToldEntry, read_entry
from kubemint.ledger.verify_findings import Finding, FindingCode
from kubemint.ledger.verify_pages import EntryPages

_NEVER: Final = 2**62  # more than any index


def request_findings(
    connection: Connection, indexes: range, told: Mapping[int, ToldEntry], pages: EntryPages
) -> Iterator[Finding]:
    """Compare the requests among these entries with their rows, and the rows of requests that these end."""
    columns = tables.requests.c
    rows = select(tables.requests).where(columns.entry_index >= indexes.start, columns.entry_index < indexes.stop)
    for row in connection.execute(rows).mappings().all():
        if row["entry_index"] in told and not _is_what_became(connection, row, pages):
            yield _finding(row["entry_index"], row["id"])
    ends = {
        index: entry.rows.change
        for index, entry in told.items()
        if isinstance(entry.rows.change, RequestChange) and entry.rows.change.outcome_index is not None
    }
    query = select(columns.id, columns.outcome_index).where(columns.id.in_([end.request for end in ends.values()]))
    outcomes = {row.id: row.outcome_index for row in connection.execute(query)} if ends else {}
    for index, end in ends.items():
        if end.request not in outcomes:
            continue  # nobody asked, or its row is missed already
        outcome = outcomes[end.request]
        if not isinstance(outcome, int) or outcome > index:
            yield _finding(index, end.request)


def _is_what_became(connection: Connection, row: Mapping[Any, Any], pages: EntryPages) -> bool:
    outcome = row["outcome_index"]
    if not isinstance(outcome, int | None):
        return False
    if row["approvals"] != _approvals(connection, row["id"], _NEVER if outcome is None else outcome):
        return False
    if outcome is None:
        return bool(row["state"] == RequestState.PENDING.value)
    entry = pages.entry(connection, outcome)
    told = None if entry is None else read_entry(entry, ())[0]
    if told is None:
        return True  # which is found for itself
    change = told.rows.change
    return isinstance(change, RequestChange) and (change.request, change.state.value) == (row["id"], row["state"])


def _approvals(connection: Connection, request: str, before: int) -> int:
    columns = tables.approvals.c
    query = select(func.count()).select_from(tables.approvals)
    query = query.where(columns.request == request, columns.entry_index < before)
    return int(connection.execute(query).scalar_one())


def _finding(index: int, request: str) -> Finding:
    message = f"requests: the row of {request} is not what the entries have made of it (entry {index})"
    return Finding(code=FindingCode.ROW_DIFFERS, message=message, index=index)
