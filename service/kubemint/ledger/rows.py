"""From an event to its rows in the query tables, and nothing that the event does not say.

The same function serves the writer, which has the event, and a rebuild, which has read it back: entry
after entry, in the order of the ledger, it leads to the same tables.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Table

from kubemint.ledger import tables
from kubemint.policy.rules import is_own
from kubemint.record import IDEMPOTENCY_KEY, BlockKind, EventKind
from kubemint.selector import Selector
from kubemint.x509.certificate import CREDENTIAL_ID_PREFIX
from kubemint.x509.revocation import RevocationReason
from kubemint.x509.twin import twin_digest

Row = dict[str, Any]


REPEATABLE: Final = frozenset(  # what a retry gets again
    {EventKind.ISSUED, EventKind.REQUESTED, EventKind.REVOKED, EventKind.REINSTATED}
)


class RequestState(StrEnum):
    """What has become of a request for approval. That it ran out of time is for whoever looks at its expiry."""

    PENDING = "pending"
    ISSUED = "issued"
    DENIED = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestChange:
    """What an entry changes in the row of a request that is pending; one that is over stays as it is."""

    request: str
    approvals: int
    state: RequestState
    outcome_index: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoking:
    """What a `revoked` entry changes beside its rows: it takes back the certificates on record before it.

    With `lines` a requester stands for its renewals too, and what is hit ends the line that it is of. Entries of
    earlier versions mean the requester that is on record of each certificate.
    """

    index: int
    selector: Selector
    revoked_at: int
    blocks_keys: bool
    lines: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifting:
    """What a `reinstated` entry changes: the hold of this name is over."""

    index: int
    revocation: str


Change = RequestChange | Revoking | Lifting


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRows:
    """What makes an entry findable: rows to add, and then what it changes in those that are there."""

    rows: tuple[tuple[Table, Row], ...]
    change: Change | None


def query_rows(index: int, kind: EventKind, fields: Mapping[str, Any]) -> QueryRows:
    """Give what an entry writes to the query tables, by its kind."""
    return QueryRows(rows=tuple(_rows(index, kind, fields)), change=_change(index, kind, fields))


def octets_of_serial(serial_number: str) -> bytes:
    """Give the octets of a serial number in hex, without leading zeros."""
    number = int(serial_number, 16)
    return number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")


def octets_of_credential_id(credential_id: str) -> bytes:
    """Give the SHA-256 that a credential id names."""
    return bytes.fromhex(credential_id.removeprefix(CREDENTIAL_ID_PREFIX))


def twin_of(certificate: str) -> bytes | None:
    """Give the SHA-256 of the twin of a certificate in base64; None where it has none, or nobody would take it."""
    try:
        return twin_digest(base64.b64decode(certificate))
    except ValueError:
        return None


def first_requester_of(fields: Mapping[str, Any]) -> str | None:
    """Give who asked for the first certificate of a line; None for one that is no renewal."""
    renews = fields.get("renews")
    return None if renews is None else renews["first"]["requester"]


def seconds(moment: str) -> int:
    """Turn an RFC 3339 moment into whole seconds since 1970 UTC."""
    return int(datetime.fromisoformat(moment).timestamp())


def _rows(index: int, kind: EventKind, fields: Mapping[str, Any]) -> Iterator[tuple[Table, Row]]:
    match kind:
        case EventKind.ISSUED:
            yield tables.certificates, _certificate_row(index, fields)
        case EventKind.REFUSED:
            yield tables.refusals, _refusal_row(index, fields)
        case EventKind.REQUESTED:
            yield tables.requests, _request_row(index, fields)
        case EventKind.APPROVED:
            yield tables.approvals, {"request": fields["request"], "entry_index": index}
        case EventKind.POLICY_CHANGED:
            yield tables.policies, {"entry_index": index, "version": fields["version"]}
        case EventKind.REVOKED:
            yield tables.revocations, _revocation_row(index, fields)
            yield from ((tables.blocks, row) for row in _block_rows(index, fields))
        case EventKind.DENIED | EventKind.REINSTATED:
            pass
    if kind in _WITH_GROUPS:
        for group in filter(lambda group: not is_own(group), fields.get("groups", ())):
            row = {"group_name": group, "entry_index": index, "expires_at": seconds(fields[_WITH_GROUPS[kind]])}
            yield tables.entry_groups, row
    yield from _names(index, kind, fields)


def _names(index: int, kind: EventKind, fields: Mapping[str, Any]) -> Iterator[tuple[Table, Row]]:
    """What others find the entry by, or may not use again."""
    if kind in REPEATABLE and (key := fields.get(IDEMPOTENCY_KEY)) is not None:
        row = {"requester": fields["requester"], "idempotency_key": key, "entry_index": index}
        yield tables.idempotency_keys, row
    if (use := fields.get("singleUse")) is not None:
        row = {"authority": use["authority"], "token_id": use["tokenId"], "entry_index": index}
        yield tables.token_uses, row


def _certificate_row(index: int, fields: Mapping[str, Any]) -> Row:
    return {
        "entry_index": index,
        "serial_number": octets_of_serial(fields["serialNumber"]),
        "credential_id": octets_of_credential_id(fields["credentialId"]),
        "requester": fields["requester"],
        "user_name": fields["user"],
        "profile": fields["profile"],
        "decided_at": seconds(fields["time"]),
        "not_after": seconds(fields["notAfter"]),
        "public_key": bytes.fromhex(fields["publicKeySha256"]),
        "twin_id": twin_of(fields["certificate"]),
        "first_requester": first_requester_of(fields),
    }


def _revocation_row(index: int, fields: Mapping[str, Any]) -> Row:
    return {
        "entry_index": index,
        "id": fields["revocation"],
        "reason": RevocationReason(fields["reason"]).value,
        "revoked_at": seconds(fields["time"]),
        "requester": fields["requester"],
        "lifted_index": None,
    }


def _block_rows(index: int, fields: Mapping[str, Any]) -> Iterator[Row]:
    """Keep out whom the selector names until the suspension ends, and the key that it names for ever."""
    named = fields["select"]
    if (until := fields.get("suspendUntil")) is not None:
        for kind in (BlockKind.USER, BlockKind.GROUP):
            if (name := named.get(kind.value)) is not None:
                yield _block_row(kind, name.encode(), index, seconds(until))
    if (key := named.get("publicKeySha256")) is not None and fields["blocksKeys"]:
        yield _block_row(BlockKind.KEY, bytes.fromhex(key), index, None)


def _block_row(kind: BlockKind, value: bytes, index: int, until: int | None) -> Row:
    return {"kind": kind.value, "value": value, "revocation_index": index, "until": until}


def _refusal_row(index: int, fields: Mapping[str, Any]) -> Row:
    return {
        "entry_index": index,
        "requester": fields["requester"],
        "user_name": fields.get("user"),
        "profile": fields["requestedProfile"],
        "decided_at": seconds(fields["time"]),
    }


def _request_row(index: int, fields: Mapping[str, Any]) -> Row:
    return {
        "id": fields["request"],
        "entry_index": index,
        "requester": fields["requester"],
        "user_name": fields["user"],
        "profile": fields["profile"],
        "state": RequestState.PENDING.value,
        "approvals": 0,
        "expires_at": seconds(fields["expires"]),
        "outcome_index": None,
    }


def _change(index: int, kind: EventKind, fields: Mapping[str, Any]) -> Change | None:
    if kind is EventKind.REVOKED:
        return Revoking(
            index=index,
            selector=_selector(fields["select"]),
            revoked_at=seconds(fields["time"]),
            blocks_keys=fields["blocksKeys"] and "publicKeySha256" not in fields["select"],
            lines=fields.get("lines") is True,
        )
    if kind is EventKind.REINSTATED:
        return Lifting(index=index, revocation=fields["revocation"])
    request = fields.get("request")
    if request is None or (state := _STATE_AFTER.get(kind)) is None:
        return None
    if state is RequestState.PENDING:
        return RequestChange(request=request, approvals=1, state=state, outcome_index=None)
    return RequestChange(request=request, approvals=0, state=state, outcome_index=index)


def _selector(named: Mapping[str, Any]) -> Selector:
    """Read a selector. Raises ValueError or TypeError for one that no certificate could be looked for by."""
    selector = Selector.from_fields(named)
    if not all(isinstance(value, str) for value in named.values()):
        raise TypeError("a value of a selector is no text")
    if any(moment.tzinfo is None for moment in (selector.issued_since, selector.issued_until) if moment):
        raise ValueError("a time of a selector is of no zone")
    octets_of_serial(selector.serial_number or "0")
    octets_of_credential_id(selector.credential_id or "")
    bytes.fromhex(selector.public_key_sha256 or "")
    return selector


_WITH_GROUPS = {  # and what tells until when they are of use
    EventKind.ISSUED: "notAfter",
    EventKind.REFUSED: "time",
    EventKind.REQUESTED: "expires",
}
_STATE_AFTER = {
    EventKind.APPROVED: RequestState.PENDING,
    EventKind.ISSUED: RequestState.ISSUED,
    EventKind.DENIED: RequestState.DENIED,
}
