"""What the record says: one event a decision, and from an entry back to who asked.

An event holds who asked, how they proved it, what for, what was decided, by which version of the policy,
and why (promise P7). It holds no secret.
"""

import base64
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import orjson

from kubemint.errors import ConfigurationError, Reason
from kubemint.policy.decision import Granted
from kubemint.policy.rules import is_own
from kubemint.record import (
    IDEMPOTENCY_KEY,
    Attempt,
    Entry,
    Event,
    EventKind,
    PendingApproval,
    ReinstatementOrder,
    RevocationOrder,
    Verdict,
    rfc3339,
)
from kubemint.requester import Method, Renewal, Requester
from kubemint.transparency.tiles import ENTRY_MAX_OCTETS
from kubemint.x509.certificate import SignedCertificate
from kubemint.x509.request import SigningRequest

REFUSAL_MAX_OCTETS: Final = 16 * 1024  # refusals cost whoever asks nothing, and are kept for ever
_UNBOUNDED: Final = frozenset({"groups", "subject", "claims"})  # what a requester can make large
_RENEWS: Final = ("line", "profile", "user")  # what is kept of a certificate that is renewed
_FEW: Final = 20
_SHORT: Final = 200  # characters
_REASONS_MAX_OCTETS: Final = 4 * 1024


def issued_event(
    attempt: Attempt, request: SigningRequest, grant: Granted, certificate: SignedCertificate
) -> Event:
    """Tell that a certificate was signed, with the certificate itself."""
    fields = _about_attempt(EventKind.ISSUED, attempt) | _about_request(request)
    fields |= {
        "profile": grant.profile,
        "groups": list(grant.terms.groups),
        "serialNumber": certificate.serial_number,
        "credentialId": certificate.credential_id,
        "notBefore": rfc3339(certificate.not_before),
        "notAfter": rfc3339(certificate.not_after),
        "certificate": base64.b64encode(certificate.der).decode("ascii"),
    }
    if grant.terms.groups != request.groups:
        fields["requestedGroups"] = list(request.groups)
    if attempt.idempotency_key is not None:
        fields[IDEMPOTENCY_KEY] = attempt.idempotency_key
    if attempt.approved is not None:
        fields |= {
            "request": attempt.approved.request,
            "approvedBy": list(attempt.approved.by),
            "provenAt": rfc3339(attempt.approved.asked_at),
        }
    return _event(EventKind.ISSUED, attempt, fields)


def requested_event(attempt: Attempt, request: SigningRequest, grant: Granted, pending: PendingApproval) -> Event:
    """Tell that a request waits for approval, with all that an approver and a later signature need."""
    fields = _about_attempt(EventKind.REQUESTED, attempt) | _about_request(request)
    fields |= {
        "request": pending.request,
        "profile": grant.profile,
        "groups": list(grant.terms.groups),
        "requestedGroups": list(request.groups),
        "lifetimeSeconds": lifetime_seconds(grant),
        "digest": digest_of(request, grant),
        "approvalsNeeded": pending.approvals,
        "expires": rfc3339(pending.expires),
        "csr": base64.b64encode(request.csr_der).decode("ascii"),
    }
    if attempt.idempotency_key is not None:
        fields[IDEMPOTENCY_KEY] = attempt.idempotency_key
    return _event(EventKind.REQUESTED, attempt, fields)


def verdict_event(kind: EventKind, verdict: Verdict) -> Event:
    """Tell that an operator approved a request, or denied it."""
    fields = {
        "kind": kind.value,
        "time": rfc3339(verdict.time),
        **requester_fields(verdict.approver),
        "policy": verdict.policy_version,
        "request": verdict.request,
        "digest": verdict.digest,
        "reason": verdict.reason,
    }
    return Event(kind=kind, time=verdict.time, fields=fields, request_id=verdict.request_id)


def policy_changed_event(version: str, text: str, time: datetime) -> Event:
    """Tell that decisions are made under another policy from now on, with its whole text.

    A text too large for an entry is recorded deflated (RFC 1950).

    Raises:
        ConfigurationError: it is too large even so.
    """
    fields = {"kind": EventKind.POLICY_CHANGED.value, "time": rfc3339(time), "version": version}
    plain = Event(kind=EventKind.POLICY_CHANGED, time=time, fields={**fields, "text": text})
    if len(plain.body) <= ENTRY_MAX_OCTETS:
        return plain
    deflated = base64.b64encode(zlib.compress(text.encode(), 9)).decode("ascii")
    small = Event(kind=EventKind.POLICY_CHANGED, time=time, fields={**fields, "textDeflated": deflated})
    if len(small.body) > ENTRY_MAX_OCTETS:
        problem = f"is too large for the record: {len(small.body)} octets deflated, and {ENTRY_MAX_OCTETS} fit"
        raise ConfigurationError("policy", [problem])
    return small


def policy_text(entry: Entry) -> str:
    """Give the text of the policy that a `policy-changed` entry tells of."""
    text: str | None = entry.fields.get("text")
    return zlib.decompress(base64.b64decode(entry.fields["textDeflated"])).decode() if text is None else text


def revoked_event(order: RevocationOrder) -> Event:
    """Tell that certificates were taken back: those on record that fit the selector, and no later ones.

    `lines` says that a requester means the renewals of what it asked for too, and that no certificate of a line
    is renewed of which one was hit; earlier versions meant neither, and did not write it.
    """
    fields: dict[str, Any] = {
        "kind": EventKind.REVOKED.value,
        "time": rfc3339(order.time),
        **requester_fields(order.ordered_by),
        "policy": order.policy_version,
        "revocation": order.revocation,
        "select": order.selector.fields,
        "reason": order.reason.value,
        "note": order.note,
        "blocksKeys": order.blocks_keys,
        "lines": True,
    }
    if order.suspend_until is not None:
        fields["suspendUntil"] = rfc3339(order.suspend_until)
    if order.idempotency_key is not None:
        fields[IDEMPOTENCY_KEY] = order.idempotency_key
    return Event(kind=EventKind.REVOKED, time=order.time, fields=fields, request_id=order.request_id)


def reinstated_event(order: ReinstatementOrder) -> Event:
    """Tell that a hold was lifted: what it hit counts again."""
    fields = {
        "kind": EventKind.REINSTATED.value,
        "time": rfc3339(order.time),
        **requester_fields(order.ordered_by),
        "policy": order.policy_version,
        "revocation": order.revocation,
        "note": order.note,
    }
    if order.idempotency_key is not None:
        fields[IDEMPOTENCY_KEY] = order.idempotency_key
    return Event(kind=EventKind.REINSTATED, time=order.time, fields=fields, request_id=order.request_id)


def lifetime_seconds(grant: Granted) -> int:
    """Give the whole seconds that a certificate is good for from the moment it is signed."""
    return int((grant.terms.not_after - grant.decided_at.replace(microsecond=0)).total_seconds())


def digest_of(request: SigningRequest, grant: Granted) -> str:
    """Name what is to be signed: user, groups, key, lifetime, profile. Approval is for this and nothing else."""
    terms = {
        "user": grant.terms.user,
        "groups": list(grant.terms.groups),
        "publicKeySha256": hashlib.sha256(request.spki_der).hexdigest(),
        "lifetimeSeconds": lifetime_seconds(grant),
        "profile": grant.profile,
    }
    return "sha256:" + hashlib.sha256(orjson.dumps(terms, option=orjson.OPT_SORT_KEYS)).hexdigest()


def refused_event(attempt: Attempt, reasons: Sequence[Reason], request: SigningRequest) -> Event:
    """Tell that the policy turned a request down."""
    fields = _about_attempt(EventKind.REFUSED, attempt) | _about_request(request)
    fields["reasons"] = [reason_fields(reason) for reason in reasons]
    return _fitting(_event(EventKind.REFUSED, attempt, fields))


def unfit_event(attempt: Attempt, reasons: Sequence[Reason], subject: str | None) -> Event:
    """Tell that a CSR was turned down for itself; `subject` is what it asked for, if that can be read."""
    fields = _about_attempt(EventKind.REFUSED, attempt)
    fields["reasons"] = [reason_fields(reason) for reason in reasons]
    if subject is not None:
        fields["subject"] = subject
    return _fitting(_event(EventKind.REFUSED, attempt, fields))


def reason_fields(reason: Reason) -> dict[str, str]:
    """Give a reason as JSON has it, in the record as in the answer."""
    return {"code": reason.code, "message": reason.message, "path": reason.path}


def _fitting(refusal: Event) -> Event:
    """Shorten a refusal that is too large: it says so, and no request is too large to be recorded."""
    if len(refusal.body) <= REFUSAL_MAX_OCTETS:
        return refusal
    fields = {name: value for name, value in refusal.fields.items() if name not in _UNBOUNDED}
    if "renews" in fields:
        fields["renews"] = {name: fields["renews"][name] for name in _RENEWS}
    fields |= {"reasons": _few(fields["reasons"]), "shortened": True}
    return replace(refusal, fields=fields)


def _few(reasons: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Give the first reasons, short."""
    few: list[dict[str, str]] = []
    octets = 0
    for reason in reasons[:_FEW]:
        short = {name: text[:_SHORT] for name, text in reason.items()}
        octets += len(orjson.dumps(short))
        if few and octets > _REASONS_MAX_OCTETS:
            break
        few.append(short)
    return few


def _event(kind: EventKind, attempt: Attempt, fields: Mapping[str, Any]) -> Event:
    return Event(kind=kind, time=attempt.time, fields=fields, request_id=attempt.request_id)


def _about_attempt(kind: EventKind, attempt: Attempt) -> dict[str, Any]:
    return {
        "kind": kind.value,
        "time": rfc3339(attempt.time),
        **requester_fields(attempt.requester),
        "policy": attempt.policy.version,
        "submissionSha256": attempt.submission.sha256,
        "requestedExpirationSeconds": attempt.submission.expiration_seconds,
        "requestedProfile": attempt.submission.profile,
    }


def requester_fields(requester: Requester) -> dict[str, Any]:
    """Tell who asks and how they proved it; `requester_from` reads it back."""
    fields: dict[str, Any] = {
        "requester": requester.identity,
        "method": requester.method.value,
        "authority": requester.authority,
        "evidence": requester.evidence,
    }
    if requester.claims:
        fields["claims"] = dict(requester.claims)
    if requester.single_use is not None:
        fields["singleUse"] = {"authority": requester.authority, "tokenId": requester.single_use.token_id}
    if requester.renews is not None:
        fields["renews"] = {
            "line": requester.renews.line,
            "profile": requester.renews.profile,
            "user": requester.renews.user,
            "groups": list(requester.renews.groups),
            "first": requester_fields(requester.renews.first),
            "firstProvenAt": rfc3339(requester.renews.first_proven_at),
        }
    return fields


def requester_from(fields: Mapping[str, Any]) -> Requester:
    """Make a requester again from what an entry tells of it."""
    renews = fields.get("renews")
    return Requester(
        method=Method(fields["method"]),
        authority=fields["authority"],
        identity=fields["requester"],
        evidence=fields["evidence"],
        claims=MappingProxyType(fields.get("claims", {})),
        renews=None
        if renews is None
        else Renewal(
            line=renews["line"],
            profile=renews["profile"],
            user=renews["user"],
            groups=tuple(renews["groups"]),
            first=requester_from(renews["first"]),
            first_proven_at=datetime.fromisoformat(renews["firstProvenAt"]),
        ),
    )


def renewal_of(entry: Entry) -> Renewal:
    """Tell what a certificate on record lets its holder renew."""
    asked = requester_from(entry.fields)
    proven = entry.fields.get("provenAt", entry.fields["time"])
    return Renewal(
        line=entry.fields["serialNumber"] if asked.renews is None else asked.renews.line,
        profile=entry.fields["profile"],
        user=entry.fields["user"],
        groups=tuple(group for group in entry.fields["groups"] if not is_own(group)),
        first=asked.first,
        first_proven_at=datetime.fromisoformat(proven) if asked.renews is None else asked.renews.first_proven_at,
    )


def _about_request(request: SigningRequest) -> dict[str, Any]:
    return {
        "user": request.user,
        "groups": list(request.groups),
        "keyType": request.key_type,
        "publicKeySha256": hashlib.sha256(request.spki_der).hexdigest(),
    }
