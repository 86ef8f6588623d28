"""Certificates that operators must agree to: what happens between a request on record and its signature.

    verdict → request on record → decision of today → certificate → entries → answer

Stands beside `issuance`, which put the request on record. An approval is for one digest: what would be
signed now must be what the operator has seen. So the request is judged again from its CSR, under the
policy of the moment, before each approval counts. Verdicts meet in the ledger: each is written on the
condition that no other came since the request was read, so that there is one outcome and no second
certificate, whoever is how fast.
"""

import base64
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, assert_never

from kubemint.audit import digest_of, requester_from, verdict_event
from kubemint.errors import (
    ApprovalConflict,
    LedgerUnavailable,
    MalformedRequest,
    NotPermitted,
    Reason,
    UnacceptableRequest,
)
from kubemint.issuance import Issuance, conditions_of, size_reason, unmet_error, unmet_reason
from kubemint.policy.decision import Granted, Refused, decide
from kubemint.policy.rules import Policy
from kubemint.record import (
    Approved,
    Attempt,
    Condition,
    Event,
    EventKind,
    Recorded,
    RequestOpen,
    TokenUnused,
    Verdict,
)
from kubemint.register import CurrentState, Register, RequestRecord, find, state_of
from kubemint.requester import Method, Requester
from kubemint.x509.request import CsrEncoding, SigningRequest, Submission, read_request

_TRIES: Final = 10  # each one lost means that another verdict was recorded, and a request takes a few
# Claims that name a person whoever vouches for them. None of them grants anything here.
_NAMING_CLAIMS: Final = ("sub", "email", "preferred_username", "upn", "unique_name", "commonName")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What somebody says of a request; `http_request_id` is the door's name for it, for the log."""

    request: str
    approver: Requester
    digest: str
    reason: str = ""
    http_request_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class ApprovalDesk:
    """Where operators say what becomes of a request."""

    issuance: Issuance
    register: Register

    def approve(self, opinion: Opinion) -> RequestRecord:
        """Count an approval and, if it was the last one needed, sign; gives the request as it is then.

        The lifetime counts from the signature. On return all of it is durable.

        Raises:
            NotPermitted: the approver is no operator.
            NotFound: there is no such request.
            ApprovalConflict: this approval cannot count; nothing is recorded, every reason is in it.
            QuotaExceeded: the requester's quota is used up; nothing is recorded, the request stays open.
            SigningFailed: nothing is recorded; the same approval may be sent again.
            LedgerUnavailable: nothing was handed out; the same approval may be sent again.
        """
        policy = self.issuance.current_policy()
        verdict = self._verdict(opinion, policy)
        return self._recorded(verdict, lambda record: self._approve(record, verdict, policy))

    def deny(self, opinion: Opinion) -> RequestRecord:
        """End an open request without a certificate: one operator is enough, and it may be its own.

        Raises:
            NotPermitted, NotFound, ApprovalConflict, LedgerUnavailable: as `approve` does.
        """
        policy = self.issuance.current_policy()
        verdict = self._verdict(opinion, policy)
        return self._recorded(verdict, lambda record: self._deny(record, verdict))

    def _verdict(self, opinion: Opinion, policy: Policy) -> Verdict:
        if not policy.roles.may_operate(opinion.approver):
            raise NotPermitted("Only operators may approve or deny a request.")
        return Verdict(
            approver=opinion.approver,
            request=opinion.request,
            digest=opinion.digest,
            reason=opinion.reason,
            time=self.issuance.clock(),
            policy_version=policy.version,
            request_id=opinion.http_request_id,
        )

    def _recorded(self, verdict: Verdict, give: Callable[[RequestRecord], Recorded]) -> RequestRecord:
        """Give a verdict on the request as it is, and again if another verdict was faster."""
        for _ in range(_TRIES):
            with self.issuance.ledger.preparing():
                recorded = give(find(self.register, verdict.request))
            if recorded.unmet is None:
                # Durable: if the process dies here, the requester finds its certificate under the request.
                return find(self.register, verdict.request)
        raise LedgerUnavailable("the request is never as it was read")

    def _deny(self, record: RequestRecord, verdict: Verdict) -> Recorded:
        _check(_obstacles(record, verdict))
        recorded = self.issuance.ledger.append(
            verdict_event(EventKind.DENIED, verdict), conditions=_conditions(record, verdict)
        )
        _check_token(recorded)
        return recorded

    def _approve(self, record: RequestRecord, verdict: Verdict, policy: Policy) -> Recorded:
        _check((*_obstacles(record, verdict), *_obstacles_to_approval(record, verdict)))
        request, attempt, grant = self._judge_again(record, verdict, policy)
        approvers = _counted(record, policy) | {verdict.approver.identity}
        events: tuple[Event, ...] = (verdict_event(EventKind.APPROVED, verdict),)
        conditions = _conditions(record, verdict)
        if len(approvers) >= _needed(record, grant):
            approved = Approved(
                request=verdict.request,
                by=tuple(sorted(approvers)),
                asked_at=datetime.fromisoformat(record.entry.fields["time"]),
            )
            attempt = replace(attempt, approved=approved)
            events += (self._sign(attempt, request, grant, record),)
            _check(reason for event in events if (reason := size_reason(event)) is not None)
            conditions += conditions_of(attempt, request, grant)
        recorded = self.issuance.ledger.append(*events, conditions=conditions)
        _check_token(recorded)
        if recorded.unmet is not None and not isinstance(recorded.unmet.condition, RequestOpen):
            raise unmet_error(recorded.unmet, grant.profile)
        return recorded

    def _judge_again(
        self, record: RequestRecord, verdict: Verdict, policy: Policy
    ) -> tuple[SigningRequest, Attempt, Granted]:
        """Judge what is on record as if it were asked now; what is granted has the digest that was approved."""
        attempt = Attempt(
            requester=requester_from(record.entry.fields),
            submission=_submission(record.entry.fields),
            time=verdict.time,
            policy=policy,
            idempotency_key=None,
            request_id=verdict.request_id,
        )
        request = _read(attempt.submission)
        match decide(request, attempt.requester, policy, verdict.time, self.issuance.issuer.limits):
            case Refused() as refusal:
                raise ApprovalConflict("The policy of today does not allow this certificate.", refusal.reasons)
            case Granted() as grant:
                if digest_of(request, grant) != verdict.digest:
                    _check((_changed("what would be signed now is not what was asked to be approved"),))
                return request, attempt, grant
            case _ as never:
                assert_never(never)

    def _sign(self, attempt: Attempt, request: SigningRequest, grant: Granted, record: RequestRecord) -> Event:
        event = self.issuance.certify(attempt, request, grant)
        # The CSR is kept in DER, whatever it came in: the digest of the submission is that of what was sent.
        sent = {"submissionSha256": record.entry.fields["submissionSha256"]}
        return replace(event, fields={**event.fields, **sent})


def _obstacles(record: RequestRecord, verdict: Verdict) -> Iterator[Reason]:
    """Tell why no verdict can count, or not this one."""
    match state_of(record, verdict.time):
        case CurrentState.ISSUED | CurrentState.DENIED as state:
            yield _reason("approval-decided", f"the request is decided: {state.value}", "request")
        case CurrentState.EXPIRED:
            expires = record.entry.fields["expires"]
            yield _reason("approval-expired", f"the request was open until {expires}; ask anew", "request.expires")
        case CurrentState.PENDING:
            pass
    if verdict.digest != record.entry.fields["digest"]:
        yield _changed("the digest is not that of what would be signed; look at the request again")


def _obstacles_to_approval(record: RequestRecord, verdict: Verdict) -> Iterator[Reason]:
    names = _names(verdict.approver)
    fields = record.entry.fields
    if names & (_names(requester_from(fields)) | {_folded(fields["user"])}):
        yield _reason("approval-own", "nobody approves a certificate that is for itself", "request.requester")
    if any(names & _names(requester_from(approval.fields)) for approval in record.approvals):
        yield _reason("approval-twice", "this operator has approved it already", "request.approvals")


def _names(person: Requester) -> frozenset[str]:
    """Give what a person is known by: a second token issuer or certificate must not make two of one."""
    claims = (person.claims.get(name) for name in _NAMING_CLAIMS)
    values = (value for claim in claims for value in (claim if isinstance(claim, list | tuple) else (claim,)))
    # The identity without who vouches for it: the name of a token, a subject, another claim that names.
    *_, own = person.identity.split(":", 1 if person.method is Method.TOKEN else 2)
    named = frozenset(_folded(text) for text in (*values, own) if isinstance(text, str) and text.strip())
    first = frozenset() if person.renews is None else _names(person.renews.first)
    return named | first | {person.identity}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).strip().casefold())


def _counted(record: RequestRecord, policy: Policy) -> frozenset[str]:
    """Give those whose approvals count still: who is no operator today had none to give."""
    approvers = (requester_from(approval.fields) for approval in record.approvals)
    return frozenset(approver.identity for approver in approvers if policy.roles.may_operate(approver))


def _needed(record: RequestRecord, grant: Granted) -> int:
    """Give the larger of what the profile wants today and what it wanted as the request was made."""
    today = 1 if grant.approval is None else grant.approval.approvals
    asked: int = record.entry.fields["approvalsNeeded"]
    return max(today, asked)


def _submission(fields: Mapping[str, Any]) -> Submission:
    return Submission(
        csr=base64.b64decode(fields["csr"]),
        encoding=CsrEncoding.DER,
        expiration_seconds=fields["requestedExpirationSeconds"],
        profile=fields["requestedProfile"],
    )


def _read(submission: Submission) -> SigningRequest:
    try:
        return read_request(submission)
    except (MalformedRequest, UnacceptableRequest) as fault:
        raise ApprovalConflict("The CSR is one that is not signed any more.", fault.reasons) from None


def _conditions(record: RequestRecord, verdict: Verdict) -> tuple[Condition, ...]:
    """Give what must hold as a verdict is written: no other came, and a token that counts once is new."""
    still: Condition = RequestOpen(request=verdict.request, approvals=len(record.approvals))
    once = verdict.approver.single_use
    if once is None:
        return (still,)
    return (still, TokenUnused(authority=verdict.approver.authority, token_id=once.token_id))


def _check_token(recorded: Recorded) -> None:
    # Of the requester's token nothing is asked here: its one use was to make the request.
    if recorded.unmet is not None and isinstance(recorded.unmet.condition, TokenUnused):
        _check((unmet_reason(recorded.unmet, ""),))


def _check(reasons: Iterable[Reason]) -> None:
    if found := tuple(reasons):
        raise ApprovalConflict("This verdict cannot count.", found)


def _changed(message: str) -> Reason:
    return _reason("approval-digest", message, "request.digest")


def _reason(code: str, message: str, path: str) -> Reason:
    return Reason(code=code, message=message, path=path)
