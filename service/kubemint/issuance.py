"""The way of a request, as code. Read this first.

    submission → requester (proven outside) → request → decision → certificate → entry → answer

Every door ends in `Issuance.issue` (promise P5), and nothing leaves it before its record is durable
(promise P1). A crash between any two lines hands out nothing: at worst the ledger holds a certificate
that nobody received.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol, assert_never

from kubemint.audit import issued_event, refused_event, requested_event, unfit_event
from kubemint.errors import (
    IdempotencyConflict,
    MalformedRequest,
    QuotaExceeded,
    Reason,
    RequestRefused,
    UnacceptableRequest,
)
from kubemint.policy.decision import Granted, Refused, decide
from kubemint.policy.explain import Explanation, explain
from kubemint.policy.rules import SERIAL_GROUP_PREFIX, Policy, ProfileApproval
from kubemint.record import (
    Attempt,
    BlockKind,
    Condition,
    Entry,
    Event,
    EventKind,
    FewWaiting,
    LineInForce,
    NotBlocked,
    OnHold,
    PendingApproval,
    PolicyDiffers,
    Recorded,
    RequestOpen,
    SomethingToRevoke,
    TokenUnused,
    Unmet,
    WithinQuota,
)
from kubemint.requester import Requester
from kubemint.transparency.tiles import ENTRY_MAX_OCTETS
from kubemint.x509.certificate import format_serial, sign_certificate
from kubemint.x509.guard import guard
from kubemint.x509.issuer import Issuer
from kubemint.x509.request import SigningRequest, Submission, read_request

WAITING_MAX: Final = 20  # requests of one requester for approval: a list that operators read


class Ledger(Protocol):
    """The record, as issuing needs it. All methods may be called from many threads and processes at once."""

    def append(
        self,
        *events: Event,
        conditions: Sequence[Condition] = (),
        otherwise: Callable[[Unmet], Event] | None = None,
    ) -> Recorded:
        """Write events together, in their order, if all conditions hold as they are written.

        On return they are durable, no index before them is missing, and their log lines are out. Where a
        condition does not hold, the event that `otherwise` makes of it is written in their place; without
        `otherwise` nothing is. Where an event carries an idempotency key that its requester used before, nothing
        is written and the earlier entry comes back as repeated.

        Raises:
            LedgerUnavailable: durability is not confirmed. The events may have been written all the same.
        """

    def preparing(self) -> AbstractContextManager[None]:
        """Surround what leads to one `append`: those who commit meanwhile may wait a moment for it."""

    def find_by_key(self, requester: str, idempotency_key: str) -> Entry | None:
        """Give what stands under a requester's key, or None; of a request, the certificate that it has led to.

        Raises:
            LedgerUnavailable: the ledger cannot be read.
        """


@dataclass(frozen=True, kw_only=True)
class Issuance:
    """All that issuing needs. `current_policy` is asked once for each request."""

    current_policy: Callable[[], Policy]
    issuer: Issuer
    ledger: Ledger
    clock: Callable[[], datetime]
    draw_serial: Callable[[], int]
    draw_name: Callable[[], str]

    def issue(
        self,
        submission: Submission,
        requester: Requester,
        *,
        idempotency_key: str | None = None,
        request_id: str | None = None,
    ) -> Recorded:
        """Judge, sign, record; in that order, or not at all.

        What comes back is the entry of a certificate, which may leave, or that of a request that waits
        for approval.

        Raises:
            MalformedRequest, UnacceptableRequest, RequestRefused, QuotaExceeded: recorded, with every reason.
            IdempotencyConflict: the key stands for another request, or its certificate is over.
            SigningFailed, LedgerUnavailable: nothing was handed out; the same request may be sent again.
        """
        attempt = Attempt(
            requester=requester,
            submission=submission,
            time=self.clock(),
            policy=self.current_policy(),
            idempotency_key=idempotency_key,
            request_id=request_id,
        )
        with self.ledger.preparing():
            return self._issue(attempt)

    def _issue(self, attempt: Attempt) -> Recorded:
        if (earlier := self._earlier(attempt)) is not None:
            return _repeat(earlier, attempt)
        request = self._read(attempt)
        match decide(request, attempt.requester, attempt.policy, attempt.time, self.issuer.limits):
            case Refused() as refusal:
                self.ledger.append(refused_event(attempt, refusal.reasons, request))
                raise RequestRefused("The policy does not allow this certificate.", refusal.reasons)
            case Granted() as grant:
                if grant.approval is None:
                    event = self.certify(attempt, request, grant)
                else:
                    event = requested_event(attempt, request, grant, self._pending(attempt, grant.approval))
                recorded = self._record(event, attempt, request, grant)
                # Durable: if the process dies here, the record stays and nobody has received anything.
                return _repeat(recorded.entry, attempt) if recorded.repeated else recorded
            case _ as never:
                assert_never(never)

    def certify(self, attempt: Attempt, request: SigningRequest, grant: Granted) -> Event:
        """Sign what was granted and look at what was signed; gives the event to record before it may leave.

        Raises:
            SigningFailed: no certificate came of it.
        """
        serial_number = self.draw_serial()
        if grant.credential_group:
            own = f"{SERIAL_GROUP_PREFIX}{format_serial(serial_number)}"
            grant = replace(grant, terms=replace(grant.terms, groups=(*grant.terms.groups, own)))
        certificate = sign_certificate(grant.terms, self.issuer, serial_number)
        guard(certificate, grant.terms, self.issuer)
        return issued_event(attempt, request, grant, certificate)

    def explain(self, submission: Submission, requester: Requester) -> tuple[SigningRequest, Explanation]:
        """Judge without signing or recording: the dry run. Raises as `issue` does for a CSR that is unfit."""
        policy, request = self.current_policy(), read_request(submission)
        found = explain(request, requester, policy, self.clock(), self.issuer.limits)
        return request, found if policy.roles.may_read_the_log(requester) else replace(found, others=())

    def _pending(self, attempt: Attempt, approval: ProfileApproval) -> PendingApproval:
        return PendingApproval(
            request=self.draw_name(), approvals=approval.approvals, expires=attempt.time + approval.within
        )

    def _record(self, event: Event, attempt: Attempt, request: SigningRequest, grant: Granted) -> Recorded:
        """Record what was granted, unless it is too large, or only the ledger knows that it was too much."""
        if (reason := size_reason(event)) is not None:
            self.ledger.append(refused_event(attempt, (reason,), request))
            raise RequestRefused("This certificate would not fit into the record.", (reason,))
        conditions = conditions_of(attempt, request, grant)
        recorded = self.ledger.append(
            event,
            conditions=conditions,
            otherwise=lambda unmet: refused_event(attempt, (unmet_reason(unmet, grant.profile),), request),
        )
        if recorded.unmet is not None:
            raise unmet_error(recorded.unmet, grant.profile)
        return recorded

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


def conditions_of(attempt: Attempt, request: SigningRequest, grant: Granted) -> tuple[Condition, ...]:
    """Give what must still hold when a grant is written down, because many are granted at once."""
    requester = attempt.requester
    conditions: list[Condition] = [
        NotBlocked(
            user=grant.terms.user,
            groups=grant.terms.groups,
            public_key_sha256=hashlib.sha256(request.spki_der).hexdigest(),
            now=attempt.time,
        )
    ]
    if requester.renews is not None:
        conditions.append(LineInForce(line=requester.renews.line))
    if requester.single_use is not None and attempt.approved is None:
        conditions.append(TokenUnused(authority=requester.authority, token_id=requester.single_use.token_id))
    if grant.approval is not None and attempt.approved is None:
        conditions.append(FewWaiting(requester=requester.identity, most=WAITING_MAX, now=attempt.time))
    if grant.quota is not None:
        conditions.append(
            WithinQuota(
                requester=requester.identity,
                profile=grant.profile,
                certificates=grant.quota.certificates,
                since=attempt.time - grant.quota.per,
                per=grant.quota.per,
            )
        )
    return tuple(conditions)


def size_reason(event: Event) -> Reason | None:
    """Say that an event is too large to be recorded; None if it is not. What is not on record never leaves."""
    if len(event.body) <= ENTRY_MAX_OCTETS:
        return None
    message = f"its entry would have {len(event.body)} octets, and {ENTRY_MAX_OCTETS} fit; ask for fewer groups"
    return Reason(code="entry-too-large", message=message, path="request.groups")


def unmet_reason(unmet: Unmet, profile: str) -> Reason:
    """Put a condition that does not hold into words."""
    match unmet.condition:
        case WithinQuota() as quota:
            return Reason(
                code="quota-exceeded",
                message=f"profile {profile!r} gives a requester {quota.certificates} certificates "
                f"in {int(quota.per.total_seconds())} s, and they are used up",
                path=f"profiles.{profile}.quota",
            )
        case FewWaiting() as waiting:
            return Reason(
                code="requests-too-many",
                message=f"{waiting.most} of your requests wait for approval; more can wait when some are decided",
                path=f"profiles.{profile}.approval",
            )
        case TokenUnused():
            return Reason(
                code="token-used",
                message="this token counts once, and has been used; get a new one",
                path="authentication",
            )
        case NotBlocked() as wanted:
            return _blocked_reason(wanted, unmet.blocked)
        case LineInForce():
            message = "a certificate of the line that this one renews was revoked; prove who you are anew"
            return Reason(code="line-revoked", message=message, path="revocations")
        case RequestOpen() | PolicyDiffers() | SomethingToRevoke() | OnHold():
            raise TypeError(f"{unmet.condition} is no condition of a grant")
        case _ as never:
            assert_never(never)


def _blocked_reason(wanted: NotBlocked, blocked: BlockKind | None) -> Reason:
    match blocked:
        case BlockKind.KEY:
            message = "this key was revoked, and never gets a certificate again; make a new one"
            return Reason(code="key-revoked", message=message, path="revocations")
        case BlockKind.USER:
            return Reason(code="user-suspended", message=f"user {wanted.user!r} is suspended", path="revocations")
        case BlockKind.GROUP:
            message = f"one of these groups is suspended: {', '.join(map(repr, wanted.groups))}"
            return Reason(code="group-suspended", message=message, path="revocations")
        case None:
            raise TypeError("what is blocked was not told")
        case _ as never:
            assert_never(never)


def unmet_error(unmet: Unmet, profile: str) -> RequestRefused | QuotaExceeded:
    """Make the refusal for a condition that does not hold."""
    reasons = (unmet_reason(unmet, profile),)
    if unmet.retry_at is not None:
        return QuotaExceeded("There are enough certificates for now.", reasons, retry_at=unmet.retry_at)
    return RequestRefused("The policy does not allow this certificate.", reasons)


def _repeat(earlier: Entry, attempt: Attempt) -> Recorded:
    """Answer a retry with the certificate or the request of its first try, if it still asks for the same."""
    if earlier.fields.get("submissionSha256") != attempt.submission.sha256:  # of a revocation there is none
        raise IdempotencyConflict("This Idempotency-Key was used for another request.")
    until = earlier.fields["expires" if earlier.kind is EventKind.REQUESTED else "notAfter"]
    if datetime.fromisoformat(until) <= attempt.time:
        raise IdempotencyConflict("What this Idempotency-Key stands for has expired; use a new key.")
    return Recorded(entries=(earlier,), repeated=True)
