"""Issuing, approving and taking back over one real ledger; clock and policy are set by hand."""

import base64
import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from csrs import good_csr, pem, private_key
from issuance.desk import NOW, issuer, policy
from issuance.doors import submission
from kubemint.approval import ApprovalDesk, Opinion
from kubemint.authentication import Evidence, authenticate
from kubemint.authentication.renewal import RenewalAuthenticator
from kubemint.issuance import Issuance
from kubemint.key_revocation import revoke_key
from kubemint.ledger import tables
from kubemint.ledger.revocation_records import RevocationRecord
from kubemint.ledger.revocations import RevocationReader
from kubemint.record import Entry
from kubemint.requester import Method, Requester, SingleUse
from kubemint.revocation import RevocationDesk, Wish
from kubemint.selector import Selector
from kubemint.wiring import draw_serial
from kubemint.x509.revocation import RevocationReason
from ledger.adapters import Adapter, stored

HOUR = timedelta(hours=1)
HOLD = RevocationReason.CERTIFICATE_HOLD
COMPROMISE = RevocationReason.KEY_COMPROMISE
POLICY = """
apiVersion: kubemint/v1
kind: Policy
limits: {maxLifetime: 24h}
profiles:
  developers:
    requesters: [{token: requester}, {token: other}]
    users: ["*"]
    groups: [developers, viewers, "team-*"]
    lifetime: {default: 1h, max: 4h}
    renewal: {for: 8h}
  marked:
    requesters: [{token: requester}]
    users: ["*"]
    groups: [developers, viewers, "team-*", "group-*"]
    lifetime: {default: 1h, max: 4h}
    renewal: {for: 8h}
    credentialGroup: true
  admins:
    requesters: [{token: requester}]
    users: ["*"]
    groups: [admins]
    lifetime: {default: 1h, max: 4h}
    approval: required
    approvals: 1
    approvalWithin: 2h
roles:
  auditor: [{token: siem}]
  operator: [{token: ann}, {token: bob}]
"""


def person(name: str, token_id: str | None = None) -> Requester:
    """Give who shows the token of this name; with `token_id` it counts once."""
    return Requester(
        method=Method.TOKEN,
        authority=name,
        identity=f"token:{name}",
        evidence="token sha256:0123456789abcdef",
        single_use=None if token_id is None else SingleUse(token_id=token_id),
    )


ASKER, OTHER, ANN, BOB, SIEM = map(person, ("requester", "other", "ann", "bob", "siem"))
_NAMES = itertools.count(1)


class Bureau:
    """All the desks of one process; several may be made over one ledger."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.now = NOW
        self.policy = policy(POLICY)
        self.reader = adapter.reader()
        self.revocations = RevocationReader(adapter.readers[-1])
        ledger = adapter.open()
        self.issuance = Issuance(
            current_policy=lambda: self.policy,
            issuer=issuer(),
            ledger=ledger,
            clock=lambda: self.now,
            draw_serial=draw_serial,
            draw_name=lambda: f"{next(_NAMES):032x}",
        )
        self.approvals = ApprovalDesk(issuance=self.issuance, register=self.reader)
        self.desk = RevocationDesk(
            current_policy=lambda: self.policy,
            ledger=ledger,
            revocations=self.revocations,
            clock=lambda: self.now,
            draw_name=lambda: f"{next(_NAMES):032x}",
        )
        self._renewals = RenewalAuthenticator(
            issuer(), self.reader.find_by_credential_id, self.reader.find_by_serial, self.revocations.is_revoked
        )

    def issue(
        self,
        user: str = "jane",
        *groups: str,
        by: Requester = ASKER,
        key: str = "client",
        profile: str = "developers",
        **beside: Any,
    ) -> Entry:
        """Ask for a certificate; `key` names one of as many keys as wanted."""
        csr = _csr(key, user, groups)
        return self.issuance.issue(submission(csr, profile=profile), by, **beside).entry

    def holder(self, entry: Entry) -> Requester:
        """Prove who asks with a certificate of the service, now."""
        return self.shown(base64.b64decode(entry.fields["certificate"]))

    def shown(self, certificate_der: bytes) -> Requester:
        """Prove who asks with any certificate."""
        evidence = Evidence(authorization=None, client_certificate_der=certificate_der)
        return authenticate(evidence, (self._renewals,), self.now)

    def approve(self, asked: Entry) -> Any:
        """Approve a request as it was read."""
        opinion = Opinion(
            request=asked.fields["request"],
            approver=BOB,
            digest=asked.fields["digest"],
            reason="",
            http_request_id="",
        )
        return self.approvals.approve(opinion)

    def revoke(self, by: Requester = ANN, **wish: Any) -> RevocationRecord:
        """Revoke what the selector's values mean; `reason` and `suspend_until` may stand among them."""
        return self.desk.revoke(wish_of(**wish), by).record  # type: ignore[return-value]  # what the ledger gave

    def preview(self, by: Requester = ANN, **wish: Any) -> int:
        """Count it."""
        return self.desk.preview(wish_of(**wish), by)

    def state_key(self, key: str = "client", kind: str = "ecdsa-p256") -> RevocationRecord:
        """Prove a key, and say that it is revoked."""
        return revoke_key(self.desk, key_statement(key, kind), "found in a bucket", None)  # type: ignore[return-value]

    def lift(self, record: RevocationRecord, by: Requester = ANN) -> RevocationRecord:
        """Lift a hold."""
        return self.desk.lift(record.entry.fields["revocation"], "found again", by, None).record  # type: ignore[return-value]

    def is_revoked(self, *entries: Entry) -> list[bool]:
        """Tell of each certificate whether it is revoked."""
        found = self.revocations.of_certificates([entry.index for entry in entries])
        return [entry.index in found for entry in entries]

    def kinds(self) -> list[str]:
        """Name all entries of the ledger."""
        return [row["kind"] for row in stored(self.adapter, tables.entries)]


def wish_of(
    *,
    reason: RevocationReason = RevocationReason.UNSPECIFIED,
    suspend_until: datetime | None = None,
    note: str = "ticket 7",
    **selector: Any,
) -> Wish:
    """Put a wish together."""
    return Wish(selector=Selector(**selector), reason=reason, note=note, suspend_until=suspend_until)


@cache
def _csr(key: str, user: str, groups: tuple[str, ...]) -> bytes:
    """Make a CSR once, so that who asks again sends the same."""
    return good_csr(private_key("ecdsa-p256", key), user, groups)


def key_statement(key: str = "client", kind: str = "ecdsa-p256", user: str = "kubemint:revoke-this-key") -> bytes:
    """Give the PEM of a CSR that says that its key is revoked."""
    return pem(good_csr(private_key(kind, key), user, ()))


def of_key(entry: Entry) -> str:
    """Give the digest of a certificate's public key."""
    return str(entry.fields["publicKeySha256"])


def once(requester: Requester, token_id: str) -> Requester:
    """Give the same person with a token that counts once."""
    return replace(requester, single_use=SingleUse(token_id=token_id))
