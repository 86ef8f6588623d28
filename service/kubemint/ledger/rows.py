"""From an event to its rows in the query tables, and nothing that the event does not say.

The same function serves the writer, which has the event, and a rebuild, which has read it back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Table

from kubemint.audit import IDEMPOTENCY_KEY, EventKind
from kubemint.ledger import tables
from kubemint.x509.certificate import CREDENTIAL_ID_PREFIX

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRows:
    """The rows that make an entry findable."""

    table: Table
    row: Row
    groups: tuple[Row, ...]


def query_rows(index: int, kind: EventKind, fields: Mapping[str, Any]) -> QueryRows:
    """Give the rows of an entry, by its kind."""
    match kind:
        case EventKind.ISSUED:
            table, row = tables.certificates, _certificate_row(index, fields)
        case EventKind.REFUSED:
            table, row = tables.refusals, _refusal_row(index, fields)
    groups = tuple({"group_name": group, "entry_index": index} for group in fields.get("groups", ()))
    return QueryRows(table=table, row=row, groups=groups)


def octets_of_serial(serial_number: str) -> bytes:
    """Give the octets of a serial number in hex, without leading zeros."""
    number = int(serial_number, 16)
    return number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")


def octets_of_credential_id(credential_id: str) -> bytes:
    """Give the SHA-256 that a credential id names."""
    return bytes.fromhex(credential_id.removeprefix(CREDENTIAL_ID_PREFIX))


def seconds(moment: str) -> int:
    """Turn an RFC 3339 moment into whole seconds since 1970 UTC."""
    return int(datetime.fromisoformat(moment).timestamp())


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
        "idempotency_key": fields.get(IDEMPOTENCY_KEY),
    }


def _refusal_row(index: int, fields: Mapping[str, Any]) -> Row:
    return {
        "entry_index": index,
        "requester": fields["requester"],
        "user_name": fields.get("user"),
        "profile": fields["requestedProfile"],
        "decided_at": seconds(fields["time"]),
    }
