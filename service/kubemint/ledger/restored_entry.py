"""From an entry's bytes in a backup to its rows in the tables: the way that writing took, the other way round.

The log has signed those bytes; whether they can be read, and whether a certificate in them is the one that
they tell of, is looked at here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubemint.documents import parse_json
from kubemint.errors import InvalidDocument, InvalidProof
from kubemint.ledger.rows import QueryRows, Row, query_rows
from kubemint.record import EventKind
from kubemint.transparency.tree import leaf_hash
from kubemint.x509.recorded import recorded_der, recorded_differences


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredEntry:
    """An entry as the tables hold it: its own row, and those that it is found by."""

    index: int
    row: Row
    found: QueryRows


def restored_entry(index: int, body: bytes) -> RestoredEntry:
    """Read an entry of a backup.

    Raises:
        InvalidProof: it cannot be read, is of a kind that this version does not know, or its certificate is
            not the one that it tells of.
    """
    try:
        fields = parse_json(body)
        kind, time = EventKind(fields["kind"]), str(fields["time"])
        found = query_rows(index, kind, fields)
    except InvalidDocument as fault:
        raise InvalidProof(f"entry {index} of the backup is {fault.message}") from None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as fault:
        told = f"entry {index} of the backup cannot be read; is it of a newer version? ({type(fault).__name__})"
        raise InvalidProof(told) from None
    if kind is EventKind.ISSUED:
        _check_certificate(index, fields)
    row = {"index": index, "time": time, "kind": kind.value, "body": body, "leaf_hash": leaf_hash(body)}
    return RestoredEntry(index=index, row=row, found=found)


def _check_certificate(index: int, fields: Mapping[str, Any]) -> None:
    if differences := recorded_differences(recorded_der(fields) or b"", fields):
        told = f"the certificate of entry {index} is not the one that it tells of: {', '.join(differences)}"
        raise InvalidProof(told)
