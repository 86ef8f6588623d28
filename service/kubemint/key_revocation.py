"""Revoking a key by its possession: a CSR that says so, signed with the key, is all the proof that it takes.

Whoever found a private key in the open can do this; a stranger to the service otherwise, who is told no more
than that the key is revoked.
"""

import hashlib
from typing import Final

from kubemint.errors import NotFound, Reason, UnacceptableRequest
from kubemint.record import RevocationOrder
from kubemint.requester import Method, Requester
from kubemint.revocation import RevocationDesk, RevocationRecord
from kubemint.selector import Selector
from kubemint.x509.request import CsrEncoding, Submission, read_request
from kubemint.x509.revocation import RevocationReason

# The common name of a CSR that revokes its own key. No certificate has it: `kubemint:` is reserved.
KEY_STATEMENT: Final = "kubemint:revoke-this-key"


def revoke_key(desk: RevocationDesk, csr_pem: bytes, note: str, http_request_id: str | None) -> RevocationRecord:
    """Revoke the key that signed a CSR whose common name says so: its holder needs no other proof.

    Strangers may ask this, so nothing is recorded for a key of which no valid certificate is on record, nor
    twice for one that is.

    Raises:
        MalformedRequest, UnacceptableRequest: it is no CSR that proves the key and says so.
        NotFound: no certificate on record that is valid has this key.
        LedgerUnavailable: as `RevocationDesk.revoke` raises it.
    """
    key = _stated_key(csr_pem)
    selector, now = Selector(public_key_sha256=key), desk.clock()
    if (earlier := desk.revocations.of_key(key)) is not None:
        return earlier
    if not desk.revocations.count_hits(selector, now):
        raise NotFound("No valid certificate of this service has this key.")
    order = RevocationOrder(
        revocation=desk.draw_name(),
        selector=selector,
        reason=RevocationReason.KEY_COMPROMISE,
        note=note,
        ordered_by=_holder(key),
        time=now,
        policy_version=desk.current_policy().version,
        blocks_keys=True,
        request_id=http_request_id,
    )
    return desk.record(order).record


def _stated_key(csr_pem: bytes) -> str:
    """Give the digest of the key that a CSR proves, and says to be revoked."""
    request = read_request(
        Submission(csr=csr_pem, encoding=CsrEncoding.PEM, expiration_seconds=None, profile=None)
    )
    if request.user != KEY_STATEMENT or request.groups:
        reason = Reason(
            code="key-statement-missing",
            message=f"the subject must be CN={KEY_STATEMENT} and nothing else",
            path="csr.subject",
        )
        raise UnacceptableRequest("The CSR does not say that its key is revoked.", (reason,))
    return hashlib.sha256(request.spki_der).hexdigest()


def _holder(key: str) -> Requester:
    return Requester(method=Method.KEY, authority="key", identity=f"key:{key}", evidence=f"CSR sha256:{key[:16]}")
