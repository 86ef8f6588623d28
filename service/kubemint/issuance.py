"""The way of a request, as code. Read this first.

    submission → requester (proven outside) → request → decision → certificate → entry → answer

Every door ends in `Issuance.issue` (promise P5), and nothing leaves it before its record is durable
(promise P1). A crash between any two lines hands out nothing: at worst the ledger holds a certificate
that nobody received.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, assert_never

from kubemint.audit import (
    Attempt,
    Entry,
    Event,
    Recorded,
    issued_event,
    refused_event,
    rfc3339,
    unfit_event,
)
from kubemint.errors import (
    IdempotencyConflict,
    MalformedRequest,
    RequestRefused,
    UnacceptableRequest,
)
from kubemint.policy.decision import Granted, Refused, decide
from kubemint.policy.explain import Explanation, explain
from kubemint.policy.rules import Policy
from kubemint.requester import Requester
from kubemint.x509.certificate import sign_certificate
from kubemint.x509.guard import guard
from kubemint.x509.issuer import Issuer
from kubemint.x509.request import SigningRequest, Submission, read_request


class Ledger(Protocol):
    """The record, as issuing needs it. All methods may be called from many threads and processes at once."""

    def append(self, event: Event) -> Recorded:
        """Write an event; on return it is durable, its index has no gap before it, and its log line is out.

        Where an issued event carries an idempotency key that its requester used before, nothing is
        written and the earlier entry comes back as repeated.

        Raises:
            LedgerUnavailable: durability is not confirmed. The event may have been written all the same.
        """

    def preparing(self) -> AbstractContextManager[None]:
        """Surround what leads to one `append`: those who commit meanwhile may wait a moment for it."""

    def find_by_key(self, requester: str, idempotency_key: str) -> Entry | None:
        """Give the issued entry that a requester made under this key, or None.

        Raises:
            LedgerUnavailable: the ledger cannot be read.
        """


@dataclass(frozen=True, kw_only=True)
class Issuance:
    """All that issuing needs."""

    policy: Policy
    issuer: Issuer
    ledger: Ledger
    clock: Callable[[], datetime]
    draw_serial: Callable[[], int]

    def issue(
        self,
        submission: Submission,
        requester: Requester,
        *,
        idempotency_key: str | None = None,
        request_id: str | None = None,
    ) -> Recorded:
        """Judge, sign, record; in that order, or not at all. The certificate of what comes back may leave.

        Raises:
            MalformedRequest, UnacceptableRequest, RequestRefused: recorded, with every reason.
            IdempotencyConflict: the key stands for another request, or its certificate is over.
            SigningFailed, LedgerUnavailable: nothing was handed out; the same request may be sent again.
        """
        with self.ledger.preparing():
            return self._issue(
                Attempt(
                    requester=requester,
                    submission=submission,
                    time=self.clock(),
                    policy_version=self.policy.version,
                    idempotency_key=idempotency_key,
                    request_id=request_id,
                )
            )

    def _issue(self, attempt: Attempt) -> Recorded:
        if (earlier := self._earlier(attempt)) is not None:
            return _repeat(earlier, attempt)
        request = self._read(attempt)
        match decide(request, attempt.requester, self.policy, attempt.time, self.issuer.limits):
            case Refused() as refusal:
                self.ledger.append(refused_event(attempt, refusal.reasons, request))
                raise RequestRefused("The policy does not allow this certificate.", refusal.reasons)
            case Granted() as grant:
                certificate = sign_certificate(grant.terms, self.issuer, self.draw_serial())
                guard(certificate, grant.terms, self.issuer)
                recorded = self.ledger.append(issued_event(attempt, request, grant, certificate))
                # Durable: if the process dies here, the record stays and nobody has received anything.
                return _repeat(recorded.entry, attempt) if recorded.repeated else recorded
            case _ as never:
                assert_never(never)

    def explain(self, submission: Submission, requester: Requester) -> tuple[SigningRequest, Explanation]:
        """Judge without signing or recording: the dry run. Raises as `issue` does for a CSR that is unfit."""
        request = read_request(submission)
        return request, explain(request, requester, self.policy, self.clock(), self.issuer.limits)

    def _earlier(self, attempt: Attempt) -> Entry | None:
        if attempt.idempotency_key is None:
            return None
        return self.ledger.find_by_key(attempt.requester.identity, attempt.idempotency_key)

    def _read(self, attempt: Attempt) -> SigningRequest:
        try:
            return read_request(attempt.submission)
        except MalformedRequest as fault:
            self.ledger.append(unfit_event(attempt, fault.reasons, None))
            raise
        except UnacceptableRequest as fault:
            self.ledger.append(unfit_event(attempt, fault.reasons, fault.subject))
            raise


def _repeat(earlier: Entry, attempt: Attempt) -> Recorded:
    """Answer a retry with the certificate that its first try got, if it still asks for the same."""
    if earlier.fields["submissionSha256"] != attempt.submission.sha256:
        raise IdempotencyConflict("This Idempotency-Key was used for another request.")
    if earlier.fields["notAfter"] <= rfc3339(attempt.time.replace(microsecond=0)):
        raise IdempotencyConflict(
            "The certificate that was issued under this Idempotency-Key has expired; use a new key."
        )
    return Recorded(entry=earlier, repeated=True)
