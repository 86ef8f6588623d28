"""Whether the conditions of an append hold, inside the transaction that writes it.

What counts is what the database holds and what the transaction is about to add to it: rows that are
pending are looked at as they are, so that a batch is still written by one statement a table. A condition
is judged before the events that it is given with.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, assert_never

from sqlalchemy import Table

from kubemint.ledger import tables
from kubemint.ledger.revoking import has_something
from kubemint.ledger.rows import Change, Lifting, QueryRows, RequestChange, RequestState, Row, octets_of_serial
from kubemint.ledger.statements import CLOCKS_DIFFER_SECONDS, Cursor, Statements
from kubemint.record import (
    BlockKind,
    Condition,
    FewWaiting,
    LineInForce,
    NotBlocked,
    OnHold,
    PolicyDiffers,
    RequestOpen,
    SomethingToRevoke,
    TokenUnused,
    Unmet,
    WithinQuota,
)
from kubemint.requester import renewal_identity
from kubemint.x509.revocation import RevocationReason

_A_MINUTE: Final = timedelta(minutes=1)
_A_SECOND: Final = timedelta(seconds=1)  # times of certificates are kept without their fraction


@dataclass(frozen=True, slots=True)
class Pending:
    """What a transaction is about to write: rows by table, and changes of requests, in the entries' order."""

    rows: defaultdict[Table, list[Row]] = field(default_factory=lambda: defaultdict(list))
    changes: list[Change] = field(default_factory=list)

    def add(self, found: QueryRows) -> None:
        """Add what makes one more entry findable."""
        for table, row in found.rows:
            self.rows[table].append(row)
        if found.change is not None:
            self.changes.append(found.change)


def first_unmet(
    conditions: Sequence[Condition], pending: Pending, cursor: Cursor, statements: Statements
) -> Unmet | None:
    """Give the first of the conditions that does not hold, or None."""
    for condition in conditions:
        if (unmet := _judge(condition, pending, cursor, statements)) is not None:
            return unmet
    return None


def _judge(condition: Condition, pending: Pending, cursor: Cursor, statements: Statements) -> Unmet | None:
    match condition:
        case WithinQuota():
            return _judge_quota(condition, pending, cursor, statements)
        case TokenUnused():
            holds = not _is_used(condition, pending, cursor, statements)
        case RequestOpen():
            stands = _request(condition.request, pending, cursor, statements)
            holds = stands == (RequestState.PENDING, condition.approvals)
        case FewWaiting():
            return _judge_waiting(condition, pending, cursor, statements)
        case NotBlocked():
            blocked = _blocked(condition, pending, cursor, statements)
            return None if blocked is None else Unmet(condition=condition, blocked=blocked)
        case LineInForce():
            holds = not _is_taken_back(condition, cursor, statements)
        case SomethingToRevoke():
            holds = has_something(condition, cursor, statements.dialect)
        case OnHold():
            holds = _is_on_hold(condition, pending, cursor, statements)
        case PolicyDiffers():
            holds = _last_version(pending, cursor, statements) != condition.version
        case _ as never:
            assert_never(never)
    return None if holds else Unmet(condition=condition)


def _judge_quota(quota: WithinQuota, pending: Pending, cursor: Cursor, statements: Statements) -> Unmet | None:
    """Look for the certificate that must be old enough: the `certificates`-th, newest first."""
    since = int(quota.since.timestamp())
    coming = [
        row["decided_at"]
        for row in pending.rows[tables.certificates]
        if row["requester"] == quota.requester and row["profile"] == quota.profile and row["decided_at"] > since
    ]
    place = quota.certificates - 1 - len(coming)
    if place < 0:
        return _until(coming[-quota.certificates], quota)
    cursor.execute(
        statements.nth_recent_certificate,
        (quota.requester, quota.profile, since, quota.requester, since - CLOCKS_DIFFER_SECONDS, place),
    )
    row = cursor.fetchone()
    return None if row is None else _until(row[0], quota)


def _until(decided_at: int, quota: WithinQuota) -> Unmet:
    return Unmet(condition=quota, retry_at=datetime.fromtimestamp(decided_at, UTC) + quota.per + _A_SECOND)


def _is_used(token: TokenUnused, pending: Pending, cursor: Cursor, statements: Statements) -> bool:
    wanted = (token.authority, token.token_id)
    if any((row["authority"], row["token_id"]) == wanted for row in pending.rows[tables.token_uses]):
        return True
    cursor.execute(statements.find_token_use, wanted)
    return cursor.fetchone() is not None


def _request(request: str, pending: Pending, cursor: Cursor, statements: Statements) -> tuple[Any, int] | None:
    """Give the state and the approvals of a request, or None where there is no such request."""
    cursor.execute(statements.find_request, (request,))
    row = cursor.fetchone() or _pending_request(request, pending)
    if row is None:
        return None
    state, approvals = row
    for change in pending.changes:
        if isinstance(change, RequestChange) and change.request == request and state == RequestState.PENDING:
            state, approvals = change.state, approvals + change.approvals
    return state, approvals


def _pending_request(request: str, pending: Pending) -> tuple[str, int] | None:
    for row in pending.rows[tables.requests]:
        if row["id"] == request:
            return row["state"], row["approvals"]
    return None


def _judge_waiting(few: FewWaiting, pending: Pending, cursor: Cursor, statements: Statements) -> Unmet | None:
    cursor.execute(statements.count_waiting, (few.requester, int(few.now.timestamp())))
    coming = [row for row in pending.rows[tables.requests] if row["requester"] == few.requester]
    stored: int = cursor.fetchone()[0]
    if stored + len(coming) < few.most:
        return None
    return Unmet(condition=few, retry_at=few.now + _A_MINUTE)


def _blocked(wanted: NotBlocked, pending: Pending, cursor: Cursor, statements: Statements) -> BlockKind | None:
    """Tell what of a certificate is blocked. As long as nothing ever was, that is one question."""
    coming = pending.rows[tables.blocks]
    if not coming:
        cursor.execute(statements.any_block)
        if cursor.fetchone() is None:
            return None
    now = int(wanted.now.timestamp())
    named = {(row["kind"], row["value"]) for row in coming if row["until"] is None or row["until"] > now}
    for kind, value in _subjects(wanted):
        if (kind, value) in named:
            return kind
        cursor.execute(statements.find_block, (kind.value, value, now))
        if cursor.fetchone() is not None:
            return kind
    return None


def _subjects(wanted: NotBlocked) -> Iterator[tuple[BlockKind, bytes]]:
    yield BlockKind.KEY, bytes.fromhex(wanted.public_key_sha256)
    yield BlockKind.USER, wanted.user.encode()
    for group in wanted.groups:
        yield BlockKind.GROUP, group.encode()


def _is_taken_back(line: LineInForce, cursor: Cursor, statements: Statements) -> bool:
    """Tell whether a certificate of a line is revoked. What a revocation hits is written before others come."""
    cursor.execute(statements.any_hit)
    if cursor.fetchone() is None:
        return False
    cursor.execute(statements.find_hit_of_line, (octets_of_serial(line.line), renewal_identity(line.line)))
    return cursor.fetchone() is not None


def _is_on_hold(hold: OnHold, pending: Pending, cursor: Cursor, statements: Statements) -> bool:
    if any(isinstance(change, Lifting) and change.revocation == hold.revocation for change in pending.changes):
        return False
    cursor.execute(statements.find_revocation, (hold.revocation,))
    row = cursor.fetchone()
    return row is not None and tuple(row) == (RevocationReason.CERTIFICATE_HOLD, None)


def _last_version(pending: Pending, cursor: Cursor, statements: Statements) -> str | None:
    if coming := pending.rows[tables.policies]:
        return str(coming[-1]["version"])
    cursor.execute(statements.last_policy)
    row = cursor.fetchone()
    return None if row is None else str(row[0])
