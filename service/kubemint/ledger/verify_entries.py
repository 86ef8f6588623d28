"""What an entry says, once its bytes are those that were hashed: can it be read, is it true of itself."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography import x509

from kubemint.ledger.rows import Lifting, QueryRows, RequestChange, query_rows
from kubemint.ledger.verify_findings import Finding, FindingCode
from kubemint.ledger.verify_tree import StoredEntry
from kubemint.record import EventKind
from kubemint.x509.recorded import recorded_der, recorded_differences


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldEntry:
    """An entry that could be read, with the rows that it leads to."""

    index: int
    kind: EventKind
    fields: Mapping[str, Any]
    rows: QueryRows


def read_entry(entry: StoredEntry, issuers: Sequence[x509.Certificate]) -> tuple[ToldEntry | None, list[Finding]]:
    """Read an entry; None with a finding where that cannot be done.

    With `issuers`, the certificate of an entry must be signed by one of them.
    """
    try:
        fields = orjson.loads(entry.body)
        kind = EventKind(fields["kind"])
        rows = query_rows(entry.index, kind, fields)
        _check_values(rows)
        told = ToldEntry(index=entry.index, kind=kind, fields=fields, rows=rows)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as fault:
        message = f"entry {entry.index} cannot be read: {type(fault).__name__} {str(fault)[:80]}"
        return None, [Finding(code=FindingCode.ENTRY_UNREADABLE, message=message, index=entry.index)]
    return told, [*_findings(entry, told, issuers)]


def _check_values(rows: QueryRows) -> None:
    """Refuse what no table could hold: an entry may say anything, if the one who signed it is dishonest."""
    values = [value for _, row in rows.rows for value in row.values()]
    if isinstance(rows.change, RequestChange):
        values.append(rows.change.request)
    if isinstance(rows.change, Lifting):
        values.append(rows.change.revocation)
    for value in values:
        if not isinstance(value, str | int | bytes | None) or (isinstance(value, int) and abs(value) >= 2**63):
            raise TypeError("not a value of a row")


def _findings(entry: StoredEntry, told: ToldEntry, issuers: Sequence[x509.Certificate]) -> Iterator[Finding]:
    if entry.columns is not None and entry.columns != (told.fields.get("time"), told.kind.value):
        message = f"entry {entry.index} has another time or kind beside it than in it"
        yield Finding(code=FindingCode.ENTRY_CHANGED, message=message, index=entry.index)
    if told.kind is not EventKind.ISSUED:
        return
    der = recorded_der(told.fields)
    named = f"the certificate of entry {entry.index}"
    differences = ("certificate",) if der is None else recorded_differences(der, told.fields, issuers)
    if said := ", ".join(name for name in differences if name != "issuer"):
        message = f"{named} says something else than it: {said}"
        yield Finding(code=FindingCode.CERTIFICATE_DIFFERS, message=message, index=entry.index)
    if der is not None and "issuer" in differences:
        message = f"{named} is {signed_by_another(der)}"
        yield Finding(code=FindingCode.CERTIFICATE_DIFFERS, message=message, index=entry.index)


def signed_by_another(certificate_der: bytes) -> str:
    """Say of a certificate that none of the CAs that issue has signed it, and which one it names itself."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    named = certificate.issuer.rfc4514_string() or "without a name"
    with suppress(x509.ExtensionNotFound, ValueError):
        extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        if (key_id := extension.value.key_identifier) is not None:
            named += f", key {key_id.hex(':').upper()}"  # as openssl writes it: CAs may have the same name
    told = f"signed by another CA ({named[:300]}) than the configuration's or --issuer's"
    return f"{told}; after a change of CA: --issuer FILE with all of them"
