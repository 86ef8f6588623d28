"""Finding entries: by what names a certificate, by who asked for what, newest first; or all, oldest first."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, Select, select
from sqlalchemy.exc import SQLAlchemyError

from kubemint.errors import LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.archive import NO_ARCHIVE, Archive
from kubemint.ledger.entries import ENTRY_COLUMNS, body_of, count_entries, entry_of, stream_entries
from kubemint.ledger.requests import RequestPage, RequestRecord, is_in, read_requests, request_rows
from kubemint.ledger.rows import RequestState, octets_of_credential_id, octets_of_serial
from kubemint.record import Entry, EventKind
from kubemint.register import CurrentState

PAGE_MAX_OCTETS: Final = 4 * 1024 * 1024  # of entries; the first of a page is given whatever its size
STEP_ROWS: Final = 64  # of a page, read at once: four megabytes of the largest entries


class State(StrEnum):
    """What has become of a request."""

    VALID = "valid"
    EXPIRED = "expired"
    REFUSED = "refused"
    REVOKED = "revoked"


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
    """Reads committed entries, out of the archive where the ledger has let their text go.

    One for a process; threads share it.
    """

    def __init__(self, engine: Engine, archive: Archive = NO_ARCHIVE) -> None:
        self._engine = engine
        self._archive = archive

    def find_by_serial(self, serial_number: str) -> Entry | None:
        """Give the certificate with this serial number (hex), or None."""
        return self._find(tables.certificates.c.serial_number == octets_of_serial(serial_number))

    def find_by_credential_id(self, credential_id: str) -> Entry | None:
        """Give the certificate with this credential id, or None."""
        return self._find(tables.certificates.c.credential_id == octets_of_credential_id(credential_id))

    def find_by_key(self, requester: str, idempotency_key: str) -> Entry | None:
        """Keep `kubemint.issuance.Ledger.find_by_key`."""
        columns = tables.idempotency_keys.c
        is_key = (columns.requester == requester) & (columns.idempotency_key == idempotency_key)
        entry = self._last(tables.idempotency_keys, is_key)
        if entry is None or entry.kind is not EventKind.REQUESTED:
            return entry
        record = self.find_request(entry.fields["request"])
        outcome = None if record is None else record.outcome
        return outcome if outcome is not None and outcome.kind is EventKind.ISSUED else entry

    def page(self, wanted: Filter, now: datetime, *, limit: int, before: int | None = None) -> Page:
        """List entries that fit, those with an index below `before`: at most `limit`, and few megabytes."""
        table = tables.refusals if wanted.state is State.REFUSED else tables.certificates
        query = _entries_of(table).where(*_conditions(table, wanted, now)).order_by(table.c.entry_index.desc())
        entries: list[Entry] = []
        octets = 0
        for row in self._in_steps(query, table, limit + 1, before):
            if len(entries) == limit:
                return Page(entries=tuple(entries), next_before=entries[-1].index)
            octets += len(body_of(row, self._archive))
            if entries and octets > PAGE_MAX_OCTETS:
                return Page(entries=tuple(entries), next_before=entries[-1].index)
            entries.append(entry_of(row, self._archive))
        return Page(entries=tuple(entries), next_before=None)

    def size(self) -> int:
        """Count the entries."""
        (row,) = self._rows(select(tables.head.c.size))
        return int(row["size"])

    def latest_certificate_of(self, user: str) -> Entry | None:
        """Give the newest certificate with this user name, or None."""
        return self._last(tables.certificates, tables.certificates.c.user_name == user)

    def last_policy(self) -> Entry | None:
        """Give the newest `policy-changed` entry, or None."""
        return self._last(tables.policies)

    def find_request(self, request: str) -> RequestRecord | None:
        """Give the request with this id, or None."""
        with self._reading() as connection:
            found = read_requests(connection, request_rows().where(tables.requests.c.id == request), self._archive)
        return found[0] if found else None

    def requests(
        self,
        state: RequestState | CurrentState | None = None,
        requester: str | None = None,
        *,
        now: datetime | None = None,
        limit: int,
        before: int | None = None,
    ) -> RequestPage:
        """List requests that fit, those with an index below `before`, at most `limit`.

        With `now`, those that ran out of time are expired; without it, the state is the one on record.
        """
        columns = tables.requests.c
        query = request_rows().order_by(columns.entry_index.desc()).limit(limit + 1)
        if state is not None:
            query = query.where(*is_in(state, now))
        if requester is not None:
            query = query.where(columns.requester == requester)
        if before is not None:
            query = query.where(columns.entry_index < before)
        with self._reading() as connection:
            found = read_requests(connection, query, self._archive)
        more = len(found) > limit
        return RequestPage(requests=found[:limit], next_before=found[limit - 1].entry.index if more else None)

    def entries(
        self, kinds: Collection[EventKind], since: datetime | None = None, after: int = -1
    ) -> Iterator[Entry]:
        """Give the entries of these kinds above index `after` that stand when it begins, oldest first.

        `since` counts to the second. Months of them may be walked: a page at a time is in memory.

        Raises:
            LedgerUnavailable: while it is walked, too.
        """
        with _ours():
            yield from stream_entries(self._engine, kinds, since, after, self._archive)

    def count(self, kinds: Collection[EventKind], since: datetime | None = None) -> int:
        """Count the entries of these kinds."""
        with _ours():
            return count_entries(self._engine, kinds, since)

    def _find(self, condition: ColumnElement[bool]) -> Entry | None:
        return self._first(_entries_of(tables.certificates).where(condition))

    def _last(self, table: Any, *conditions: ColumnElement[bool]) -> Entry | None:
        return self._first(_entries_of(table).where(*conditions).order_by(table.c.entry_index.desc()))

    def _first(self, query: Select[Any]) -> Entry | None:
        rows = self._rows(query.limit(1))
        return entry_of(rows[0], self._archive) if rows else None

    def _in_steps(self, query: Select[Any], table: Any, count: int, before: int | None) -> Iterator[RowMapping]:
        """Give the first rows of a query, newest first; of so many that are large, few are in memory."""
        while count > 0:
            step = query if before is None else query.where(table.c.entry_index < before)
            rows = self._rows(step.limit(min(count, STEP_ROWS)))
            yield from rows
            if len(rows) < min(count, STEP_ROWS):
                return
            count, before = count - len(rows), rows[-1]["index"]

    def _rows(self, query: Select[Any]) -> Sequence[RowMapping]:
        with self._reading() as connection:
            return connection.execute(query).mappings().all()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        # It ends with a commit, though nothing is written: psycopg forgets what it has prepared at a rollback,
        # and to plan anew for all partitions costs more than to look into them.
        with _ours(), self._engine.begin() as connection:
            yield connection


@contextmanager
def _ours() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as fault:
        raise LedgerUnavailable("the ledger cannot be read") from fault


def _entries_of(table: Any) -> Select[Any]:
    return select(*ENTRY_COLUMNS).join(table, table.c.entry_index == tables.entries.c.index)


def _revoked() -> Select[Any]:
    hits, revocations = tables.revoked_certificates.c, tables.revocations.c
    return select(hits.certificate_index).join(
        tables.revocations,
        (revocations.entry_index == hits.revocation_index) & revocations.lifted_index.is_(None),
    )


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
        yield table.c.entry_index.not_in(_revoked())
    if wanted.state is State.REVOKED:
        yield table.c.entry_index.in_(_revoked())
    if wanted.state is State.EXPIRED:
        yield table.c.not_after < int(now.timestamp())
