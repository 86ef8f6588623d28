"""Every exception that kubemint raises, and the reason that a refusal carries.

::

    KubemintError
    ├── RequestError              the client can mend it
    │   ├── MalformedRequest      the bytes are not what they should be; nothing could be judged
    │   ├── UnacceptableRequest   a CSR that is never signed, whatever the policy says
    │   ├── RequestRefused        the policy said no
    │   ├── QuotaExceeded         the policy said not so many
    │   ├── ApprovalConflict      the request for approval is not, or no longer, what was approved
    │   ├── RevocationConflict    the revocation cannot be meant like this, or is no hold to be lifted
    │   ├── NotAuthenticated      no proof of identity, or one that does not hold
    │   ├── NotPermitted          proven, but without the role that the call needs
    │   ├── NotFound              no such record, or none that this requester may see
    │   ├── ServiceRefused        a client's view: the service answered with a problem
    │   └── IdempotencyConflict   the key was used for another request, or its certificate is over
    ├── LedgerUnavailable         the record could not be made durable, so nothing was handed out
    │   └── LedgerDamaged         the ledger can be read, and contradicts itself or what the log has signed
    ├── IdentityUnavailable       who vouches for the requester cannot be asked, so nothing is known of it
    ├── ListNotReady              the revocation list is being signed, and no other is valid
    ├── SigningFailed             the issuer key did not sign, or what it signed is not what was decided
    ├── InvalidDocument           YAML or JSON that cannot be read, or could be read in two ways
    ├── InvalidProof              what should show that the log was not changed does not show it
    ├── ExchangeFailed            somebody outside did not answer (kubemint.witnesses.exchange)
    ├── AnchorFault               an anchor is away, or the log contradicts it (kubemint.witnesses.anchors)
    ├── NotCosigned               a witness did not cosign, and why (kubemint.witnesses.witness)
    ├── ServiceUnavailable        the service was asked and did not answer, or answered with a fault
    └── ConfigurationError        the service must not start like this

None of them knows HTTP: `kubemint.web.problems` is the one place that maps them.
`code` is stable and part of the contract in openapi.yaml; messages may change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason for a refusal: a stable code, a sentence for the client, the path of the rule."""

    code: str
    message: str
    path: str


class KubemintError(Exception):
    """Anything that kubemint raises on purpose."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequestError(KubemintError):
    """The request cannot be served as it is; the message is written for the client."""


class ReasonedError(RequestError):
    """A request that was judged and turned down: `reasons` holds every reason, not the first alone."""

    def __init__(self, message: str, reasons: Sequence[Reason]) -> None:
        super().__init__(message)
        self.reasons = tuple(reasons)


class MalformedRequest(ReasonedError):
    """The body is not a certificate signing request that can be read."""

    code = "malformed-request"


class UnacceptableRequest(ReasonedError):
    """The CSR can be read, and asks for something that is never signed.

    `subject` is what it asked for (RFC 4514), for the record; None where it cannot be written so.
    """

    code = "unacceptable-request"

    def __init__(self, message: str, reasons: Sequence[Reason], *, subject: str | None = None) -> None:
        super().__init__(message, reasons)
        self.subject = subject


class RequestRefused(ReasonedError):
    """The policy refuses."""

    code = "refused"


class QuotaExceeded(ReasonedError):
    """The requester has as many certificates as its profile allows; `retry_at` is when it may have one more."""

    code = "quota-exceeded"

    def __init__(self, message: str, reasons: Sequence[Reason], *, retry_at: datetime) -> None:
        super().__init__(message, reasons)
        self.retry_at = retry_at


class ApprovalConflict(ReasonedError):
    """A verdict that cannot count: the request is decided, over, changed or one's own."""

    code = "approval-conflict"


class RevocationConflict(ReasonedError):
    """A revocation that cannot count: it means everything or nobody, or what it would lift is no hold."""

    code = "revocation-conflict"


class NotAuthenticated(RequestError):
    """Nothing proves who asks. Never says which part of the evidence failed."""

    code = "not-authenticated"


class NotPermitted(RequestError):
    """The requester is known and has not the role that this call needs."""

    code = "not-permitted"


class NotFound(RequestError):
    """There is no such thing, as far as this requester may know."""

    code = "not-found"


class IdempotencyConflict(RequestError):
    """The idempotency key was used before, and repeating its answer would be wrong."""

    code = "idempotency-conflict"


class ServiceRefused(ReasonedError):
    """A client's view of a problem document: what the service said, and its reasons."""

    code = "service-refused"

    def __init__(self, message: str, reasons: Sequence[Reason], *, status: int) -> None:
        super().__init__(message, reasons)
        self.status = status


class LedgerUnavailable(KubemintError):
    """The ledger did not confirm that the record is durable. The write may have taken effect or not."""

    code = "ledger-unavailable"


class LedgerDamaged(LedgerUnavailable):
    """What the ledger holds contradicts itself or what was signed: it was damaged, changed, or is an old copy.

    To a client it is as a ledger that is away; waiting does not mend it.
    """


class IdentityUnavailable(KubemintError):
    """There is evidence, and who could tell whether it holds cannot be asked now. It is not a refusal."""

    code = "identity-unavailable"


class SigningFailed(KubemintError):
    """No certificate: the key failed, or the guard found that the signed bytes say something else."""

    code = "signing-failed"


class ListNotReady(KubemintError):
    """The revocation list is being signed, and no other is valid; the message is written for the client."""

    code = "list-not-ready"


class InvalidDocument(KubemintError):
    """Text that is not YAML or JSON, or that two readers could read differently."""

    code = "invalid-document"


class InvalidProof(KubemintError):
    """A proof, signature, tile or receipt of the log that cannot be read, or does not hold."""

    code = "invalid-proof"


class ServiceUnavailable(KubemintError):
    """A client's view: the service could not be reached, or answered with a fault."""

    code = "service-unavailable"


class ConfigurationError(KubemintError):
    """A file or setting that stops the start: one line for each mistake, with its path."""

    code = "configuration"

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.source = source
        self.problems = tuple(problems)
