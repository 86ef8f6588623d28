"""Entries from which something follows: a policy that counts, a certificate to renew, an approval.

A row of a database says what whoever can write to it wants. So what decides is not the row: the entry that it
leads to must be in the tree that the log's key has signed, and must be the one that was asked for. That costs
a proof each time, which is a few tiles, and these are rare.
"""

import hashlib
import json
from typing import Protocol

from kubemint.audit import policy_text
from kubemint.errors import LedgerUnavailable
from kubemint.ledger.log import LedgerLog
from kubemint.ledger.reader import LedgerReader
from kubemint.ledger.requests import RequestRecord
from kubemint.record import Entry, EventKind


class Reader(Protocol):
    """Finds entries as `LedgerReader` does; witnesses may have a say in what is there."""

    def find_by_credential_id(self, credential_id: str) -> Entry | None:
        """Give the certificate with this credential id, or None."""

    def find_by_serial(self, serial_number: str) -> Entry | None:
        """Give the certificate with this serial number (hex), or None."""

    def find_request(self, request: str) -> RequestRecord | None:
        """Give the request with this id, or None."""

    def latest_certificate_of(self, user: str) -> Entry | None:
        """Give the newest certificate with this user name, or None."""


class ProvenEntries:
    """Finds entries as a reader does, and proves them. All methods raise LedgerUnavailable if that fails."""

    def __init__(self, reader: Reader, log: LedgerLog) -> None:
        self._reader = reader
        self._log = log

    def find_by_credential_id(self, credential_id: str) -> Entry | None:
        """Give the certificate with this credential id, or None."""
        entry = self._proven(self._reader.find_by_credential_id(credential_id))
        return _checked(entry, "credentialId", credential_id)

    def find_by_serial(self, serial_number: str) -> Entry | None:
        """Give the certificate with this serial number (hex, as `format_serial` writes it), or None."""
        entry = self._proven(self._reader.find_by_serial(serial_number))
        return _checked(entry, "serialNumber", serial_number)

    def find_request(self, request: str) -> RequestRecord | None:
        """Give the request of this name, or None; of its approvals those that are for it, and for these terms."""
        found = self._reader.find_request(request)
        entry = None if found is None else _checked(self._proven(found.entry), "request", request)
        if found is None or entry is None:
            return None
        approvals = [_prove(approval, self._log) for approval in found.approvals]
        return RequestRecord(
            entry=entry,
            approvals=tuple(approval for approval in approvals if _is_for(approval, entry)),
            outcome=self._proven(found.outcome),
            state=found.state,
        )

    def latest_certificate_of(self, user: str) -> Entry | None:
        """Give the newest certificate with this user name, or None; shown to operators, and decides nothing."""
        return self._reader.latest_certificate_of(user)

    def _proven(self, entry: Entry | None) -> Entry | None:
        return None if entry is None else _prove(entry, self._log)


def proven_policy(reader: LedgerReader, log: LedgerLog) -> Entry | None:
    """Give the newest policy on record, or None.

    Raises:
        LedgerUnavailable: the ledger cannot be read, or what it leads to is not the policy that was recorded.
    """
    last = reader.last_policy()
    if last is None:
        return None
    entry = _prove(last, log)
    version = "sha256:" + hashlib.sha256(policy_text(entry).encode()).hexdigest()
    return _checked(entry, "version", version)


def _prove(entry: Entry, log: LedgerLog) -> Entry:
    """Read an entry out of its proof."""
    fields = json.loads(log.receipt(entry.index).extra or b"{}")
    return Entry(index=entry.index, kind=EventKind(fields["kind"]), fields=fields)


def _checked(entry: Entry | None, name: str, expected: str) -> Entry | None:
    """Let an entry pass that is the one that was asked for."""
    if entry is not None and entry.fields.get(name) != expected:
        raise LedgerUnavailable(f"the ledger leads to entry {entry.index}, which is another")
    return entry


def _is_for(approval: Entry, request: Entry) -> bool:
    names = ("request", "digest")
    same = all(approval.fields.get(name) == request.fields[name] for name in names)
    return same and approval.kind is EventKind.APPROVED
