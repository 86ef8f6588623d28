"""Operators, requests that wait for them, and a desk whose clock and policy are set by hand."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from csrs import good_csr, pem, private_key
from issuance.desk import NOW, issuer, policy
from kubemint.approval import ApprovalDesk, Opinion
from kubemint.errors import ApprovalConflict
from kubemint.issuance import Issuance
from kubemint.ledger import tables
from kubemint.ledger.requests import RequestRecord
from kubemint.policy.rules import Policy
from kubemint.record import Entry
from kubemint.register import RequestView, find, view
from kubemint.requester import NO_CLAIMS, Method, Requester
from kubemint.x509.request import CsrEncoding, Submission
from ledger.adapters import SqliteAdapter, stored

POLICY = """
apiVersion: kubemint/v1
kind: Policy
limits: {maxLifetime: 24h}
profiles:
  admins:
    requesters: [{token: requester}, {token: ann}, {oidc: corp, claims: {}}]
    users: ["*"]
    groups: [admins, viewers, "team-*"]
    lifetime: {default: 1h, max: 8h}
    approval: required
    approvals: 1
    approvalWithin: 2h
roles:
  auditor: [{token: siem}]
  operator: [{token: ann}, {token: bob}, {token: cid}, {oidc: corp, claims: {}}]
"""
TWO = POLICY.replace("approvals: 1", "approvals: 2")
UNKNOWN = "0" * 32


def person(
    identity: str,
    method: Method = Method.TOKEN,
    authority: str | None = None,
    claims: Mapping[str, Any] = NO_CLAIMS,
) -> Requester:
    """Give somebody whom authentication has proven."""
    name = authority or identity
    return Requester(
        method=method,
        authority=name,
        identity=f"{method.value}:{identity}",
        evidence=f"{method.value} sha256:0123456789abcdef",
        claims=claims,
    )


def corporate(subject: str, **claims: str) -> Requester:
    """Give somebody for whom the token issuer `corp` vouches."""
    return person(f"corp:{subject}", Method.OIDC, "corp", {"sub": subject, **claims})


ASKER, ANN, BOB, CID, SIEM = map(person, ("requester", "ann", "bob", "cid", "siem"))


@dataclass
class Office:
    """Issuing, approval and the record, all real; `now` and `policy` may be changed."""

    record: SqliteAdapter
    policy: Policy = field(default_factory=lambda: policy(POLICY))
    now: datetime = NOW
    key: Any = None

    def __post_init__(self) -> None:
        """Open the ledger."""
        serials, names = itertools.count(1), itertools.count(1)
        self.reader = self.record.reader()
        self.issuance = Issuance(
            current_policy=lambda: self.policy,
            issuer=issuer(self.key),
            ledger=self.record.open(),
            clock=lambda: self.now,
            draw_serial=lambda: next(serials),
            draw_name=lambda: f"{next(names):032x}",
        )
        self.desk = ApprovalDesk(issuance=self.issuance, register=self.reader)

    def use(self, text: str) -> None:
        """Let another policy count from now on."""
        self.policy = policy(text)

    def ask(
        self,
        *groups: str,
        user: str = "jane",
        requester: Requester = ASKER,
        key_type: str = "ecdsa-p256",
        **beside: Any,
    ) -> Entry:
        """Ask for a certificate that must be approved."""
        csr = good_csr(private_key(key_type), user, groups)
        submission = Submission(csr=pem(csr), encoding=CsrEncoding.PEM, **beside)
        return self.issuance.issue(submission, requester).entry

    def approve(self, asked: Entry, approver: Requester, digest: str | None = None) -> RequestRecord:
        """Approve a request as it was read."""
        return self.desk.approve(opinion(asked, approver, digest))

    def deny(self, asked: Entry, approver: Requester, digest: str | None = None) -> RequestRecord:
        """Deny it."""
        return self.desk.deny(opinion(asked, approver, digest))

    def see(self, asked: Entry, viewer: Requester) -> RequestView:
        """Look at it."""
        record = find(self.reader, asked.fields["request"])
        return view(record, viewer, self.policy.roles, self.reader, self.now)

    def later(self, **by: float) -> None:
        """Let time go by."""
        self.now += timedelta(**by)

    def kinds(self) -> list[str]:
        """Name all entries of the ledger."""
        return [row["kind"] for row in stored(self.record, tables.entries)]


def opinion(asked: Entry, approver: Requester, digest: str | None = None) -> Opinion:
    """Say something of a request."""
    return Opinion(
        request=asked.fields["request"],
        approver=approver,
        digest=digest or asked.fields["digest"],
        reason="ticket 7",
        http_request_id="request-1",
    )


def codes(conflict: ApprovalConflict) -> set[str]:
    """Give the codes of all reasons."""
    return {reason.code for reason in conflict.reasons}
