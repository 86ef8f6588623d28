"""What the record says: one event a decision, and its canonical bytes.

An event is what the ledger keeps for ever and what the log line on standard output shows, so it holds
who asked, how they proved it, what for, what was decided, by which version of the policy, and why
(promise P7). It holds no secret. The keys of an event are part of the contract: entries written today
are read by every later version.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Final

import orjson

from kubemint.errors import Reason
from kubemint.policy.decision import Granted
from kubemint.requester import Requester
from kubemint.x509.certificate import SignedCertificate
from kubemint.x509.request import SigningRequest, Submission

IDEMPOTENCY_KEY: Final = "idempotencyKey"

LINE_MAX_OCTETS: Final = 4096  # PIPE_BUF of Linux: written whole or not at all, whoever else writes
_SHORT_LINE: Final = (
    "kind",
    "time",
    "method",
    "policy",
    "user",
    "profile",
    "serialNumber",
    "credentialId",
    "notAfter",
)
_ASCII: Final = json.JSONEncoder(separators=(",", ":")).encode


class EventKind(StrEnum):
    """What an entry of the ledger tells."""

    ISSUED = "issued"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to get a certificate: who, what, when, and under which version of the policy.

    `request_id` is the door's name for it, by which the log line is found; the record does without.
    """

    requester: Requester
    submission: Submission
    time: datetime
    policy_version: str
    idempotency_key: str | None
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """One fact for the record. `fields` are JSON values; `body` is what is stored and hashed."""

    kind: EventKind
    time: datetime
    fields: Mapping[str, Any]
    request_id: str | None = None

    @cached_property
    def body(self) -> bytes:
        """The canonical bytes: JSON, keys sorted, no spaces, UTF-8; a reader can rebuild them from the fields."""
        return orjson.dumps(self.fields, option=orjson.OPT_SORT_KEYS)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the ledger: an event that is durable, and its place."""

    index: int
    kind: EventKind
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What stands in the ledger for an event: its own entry or, if `repeated`, one of an earlier event."""

    entry: Entry
    repeated: bool


def issued_event(
    attempt: Attempt, request: SigningRequest, grant: Granted, certificate: SignedCertificate
) -> Event:
    """Tell that a certificate was signed, with the certificate itself."""
    fields = _about_attempt(EventKind.ISSUED, attempt) | _about_request(request)
    fields |= {
        "profile": grant.profile,
        "serialNumber": certificate.serial_number,
        "credentialId": certificate.credential_id,
        "notBefore": rfc3339(certificate.not_before),
        "notAfter": rfc3339(certificate.not_after),
        "certificate": base64.b64encode(certificate.der).decode("ascii"),
    }
    if attempt.idempotency_key is not None:
        fields[IDEMPOTENCY_KEY] = attempt.idempotency_key
    return _event(EventKind.ISSUED, attempt, fields)


def refused_event(attempt: Attempt, reasons: Sequence[Reason], request: SigningRequest) -> Event:
    """Tell that the policy turned a request down."""
    fields = _about_attempt(EventKind.REFUSED, attempt) | _about_request(request)
    fields["reasons"] = [reason_fields(reason) for reason in reasons]
    return _event(EventKind.REFUSED, attempt, fields)


def unfit_event(attempt: Attempt, reasons: Sequence[Reason], subject: str | None) -> Event:
    """Tell that a CSR was turned down for itself; `subject` is what it asked for, if that can be read."""
    fields = _about_attempt(EventKind.REFUSED, attempt)
    fields["reasons"] = [reason_fields(reason) for reason in reasons]
    if subject is not None:
        fields["subject"] = subject
    return _event(EventKind.REFUSED, attempt, fields)


def reason_fields(reason: Reason) -> dict[str, str]:
    """Give a reason as JSON has it, in the record as in the answer."""
    return {"code": reason.code, "message": reason.message, "path": reason.path}


def log_line(entry: Entry, request_id: str | None) -> bytes:
    """Give the JSON line of a decision for standard output: the entry and its index, not the certificate.

    A line longer than a pipe takes at once leaves its lists out and says so; the ledger has all of it.
    """
    head = {"event": "decision", "logIndex": entry.index, "requestId": request_id}
    fields = {name: value for name, value in entry.fields.items() if name != "certificate"}
    line = _line(head | fields)
    if len(line) <= LINE_MAX_OCTETS:
        return line
    return _line(head | {name: fields[name] for name in _SHORT_LINE if name in fields} | {"shortened": True})


def _line(fields: Mapping[str, Any]) -> bytes:
    line = orjson.dumps(fields)
    if not line.isascii():  # a name must not end the line, nor steer a terminal
        line = _ASCII(fields).encode("ascii")
    return line + b"\n"


def rfc3339(moment: datetime) -> str:
    """Write an aware moment in UTC, to the second or, where it has a fraction, to the microsecond."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _event(kind: EventKind, attempt: Attempt, fields: Mapping[str, Any]) -> Event:
    return Event(kind=kind, time=attempt.time, fields=fields, request_id=attempt.request_id)


def _about_attempt(kind: EventKind, attempt: Attempt) -> dict[str, Any]:
    return {
        "kind": kind.value,
        "time": rfc3339(attempt.time),
        "requester": attempt.requester.identity,
        "method": attempt.requester.method.value,
        "evidence": attempt.requester.evidence,
        "policy": attempt.policy_version,
        "submissionSha256": attempt.submission.sha256,
        "requestedExpirationSeconds": attempt.submission.expiration_seconds,
        "requestedProfile": attempt.submission.profile,
    }


def _about_request(request: SigningRequest) -> dict[str, Any]:
    return {
        "user": request.user,
        "groups": list(request.groups),
        "keyType": request.key_type,
        "publicKeySha256": hashlib.sha256(request.spki_der).hexdigest(),
    }
