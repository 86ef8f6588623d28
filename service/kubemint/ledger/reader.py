"""Finding entries: by what names a certificate, by who asked for what, newest first."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Engine, RowMapping, Select, select
from sqlalchemy.exc import SQLAlchemyError

from kubemint.audit import Entry, EventKind
from kubemint.errors import LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.rows import octets_of_credential_id, octets_of_serial


class State(StrEnum):
    """What has become of a request."""

    VALID = "valid"
    EXPIRED = "expired"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which entries are wanted: those for which every given value fits. Times are aware UTC."""

    user: str | None = None
    group: str | None = None
    requester: str | None = None
    profile: str | None = None
    state: State | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Entries, newest first; `next_before` continues the list, None where it ends."""

    entries: tuple[Entry, ...]
    next_before: int | None


class LedgerReader:
    """Reads committed entries. One for a process; threads share it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find_by_serial(self, serial_number: str) -> Entry | None:
        """Give the certificate with this serial number (hex), or None."""
        return self._find(tables.certificates.c.serial_number == octets_of_serial(serial_number))

    def find_by_credential_id(self, credential_id: str) -> Entry | None:
        """Give the certificate with this credential id, or None."""
        return self._find(tables.certificates.c.credential_id == octets_of_credential_id(credential_id))

    def find_by_key(self, requester: str, idempotency_key: str) -> Entry | None:
        """Keep `kubemint.issuance.Ledger.find_by_key`."""
        columns = tables.certificates.c
        return self._find((columns.requester == requester) & (columns.idempotency_key == idempotency_key))

    def page(self, wanted: Filter, now: datetime, *, limit: int, before: int | None = None) -> Page:
        """List entries that fit, those with an index below `before`, at most `limit`."""
        table = tables.refusals if wanted.state is State.REFUSED else tables.certificates
        query = (
            _entries_of(table)
            .where(*_conditions(table, wanted, now))
            .order_by(table.c.entry_index.desc())
            .limit(limit + 1)
        )
        if before is not None:
            query = query.where(table.c.entry_index < before)
        entries = [_entry(row) for row in self._rows(query)]
        more = len(entries) > limit
        return Page(entries=tuple(entries[:limit]), next_before=entries[limit - 1].index if more else None)

    def size(self) -> int:
        """Count the entries."""
        (row,) = self._rows(select(tables.head.c.size))
        return int(row["size"])

    def _find(self, condition: ColumnElement[bool]) -> Entry | None:
        rows = self._rows(_entries_of(tables.certificates).where(condition).limit(1))
        return _entry(rows[0]) if rows else None

    def _rows(self, query: Select[Any]) -> Sequence[RowMapping]:
        try:
            with self._engine.connect() as connection:
                return connection.execute(query).mappings().all()
        except SQLAlchemyError as fault:
            raise LedgerUnavailable("the ledger cannot be read") from fault


def _entries_of(table: Any) -> Select[Any]:
    columns = tables.entries.c
    return select(columns.index, columns.kind, columns.body).join(table, table.c.entry_index == columns.index)


def _conditions(table: Any, wanted: Filter, now: datetime) -> Iterator[ColumnElement[bool]]:
    exact = {"user_name": wanted.user, "requester": wanted.requester, "profile": wanted.profile}
    for column, value in exact.items():
        if value is not None:
            yield table.c[column] == value
    if wanted.group is not None:
        groups = tables.entry_groups.c
        yield table.c.entry_index.in_(select(groups.entry_index).where(groups.group_name == wanted.group))
    if wanted.since is not None:
        yield table.c.decided_at >= int(wanted.since.timestamp())
    if wanted.until is not None:
        yield table.c.decided_at < int(wanted.until.timestamp())
    if wanted.state is State.VALID:
        yield table.c.not_after >= int(now.timestamp())
    if wanted.state is State.EXPIRED:
        yield table.c.not_after < int(now.timestamp())


def _entry(row: RowMapping) -> Entry:
    return Entry(index=row["index"], kind=EventKind(row["kind"]), fields=json.loads(row["body"]))
