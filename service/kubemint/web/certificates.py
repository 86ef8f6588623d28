"""POST and GET /v1/certificates: asking for a certificate, and finding the ones on record."""

import re
import time
from typing import Any, Final

from flask import Blueprint, Response, g

from kubemint import metrics
from kubemint.errors import (
    MalformedRequest,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    ReasonedError,
    RequestRefused,
    UnacceptableRequest,
)
from kubemint.ledger.reader import Filter, State
from kubemint.ledger.revocations import Withdrawal
from kubemint.record import IDEMPOTENCY_KEY, Entry, EventKind, Recorded, rfc3339
from kubemint.register import CurrentState, find, state_of
from kubemint.requester import Requester
from kubemint.web.allowances import allowances
from kubemint.web.request_context import current_requester, current_service
from kubemint.web.responses import PEM_CHAIN, Answer, base64_to_pem, certificate_body, json_response, prefers_pem
from kubemint.web.schemas import CertificateListSchema
from kubemint.web.submissions import idempotency_key, query_of, read_submission
from kubemint.x509.certificate import CREDENTIAL_ID_PREFIX

blueprint: Final = Blueprint("certificates", __name__)

_LIST: Final = CertificateListSchema()
_SERIAL: Final = re.compile(r"[0-9a-f]{1,40}", re.ASCII)
_CREDENTIAL_ID: Final = re.compile(re.escape(CREDENTIAL_ID_PREFIX) + r"[0-9a-f]{64}", re.ASCII)
_PENDING: Final = (
    "request",
    "user",
    "groups",
    "profile",
    "lifetimeSeconds",
    "digest",
    "approvalsNeeded",
    "expires",
)
_NOT_SHOWN: Final = frozenset({"kind", "certificate", IDEMPOTENCY_KEY})
_OUTCOMES: Final[dict[type[ReasonedError], str]] = {
    RequestRefused: "refused",
    QuotaExceeded: "over-quota",
    UnacceptableRequest: "unacceptable",
    MalformedRequest: "malformed",
}


@blueprint.post("/v1/certificates")
def create() -> Response:
    """Issue a certificate, or say why not."""
    requester = current_requester()
    submission = read_submission()
    issuance = current_service().issuance
    started = time.perf_counter()
    try:
        issued = issuance.issue(submission, requester, idempotency_key=idempotency_key(), request_id=g.request_id)
    except ReasonedError as refusal:
        metrics.DECISIONS.labels(_OUTCOMES[type(refusal)]).inc()
        g.has_decision_line = True
        if isinstance(refusal, RequestRefused | QuotaExceeded):
            limits = issuance.issuer.limits
            g.allowed = allowances(issuance.current_policy(), requester, issuance.clock(), limits)
        raise
    g.has_decision_line = not issued.repeated
    if issued.entry.kind is EventKind.REQUESTED:
        outcome, response = "pending", _pending_response(issued)
    else:
        metrics.ISSUE_SECONDS.observe(time.perf_counter() - started)
        outcome, response = "issued", _certificate_response(issued)
        response.headers["Location"] = f"/v1/certificates/{issued.entry.fields['serialNumber']}"
    metrics.DECISIONS.labels("repeated" if issued.repeated else outcome).inc()
    if issued.repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return response


@blueprint.get("/v1/certificates")
def index() -> Response:
    """List what is on record, newest first: everything for auditors and operators, else one's own."""
    requester = current_requester()
    service = current_service()
    query = query_of(_LIST)
    limit, before = query.pop("limit"), query.pop("cursor", None)
    if not service.policy.roles.may_read_the_log(requester):
        if query.get("requester", requester.identity) != requester.identity:
            raise NotPermitted("Only auditors and operators may see what others asked for.")
        query["requester"] = requester.identity
    now = service.clock()
    page = service.reader.page(Filter(**query), now, limit=limit, before=before)
    withdrawn = service.revocations.of_certificates([entry.index for entry in page.entries])
    items = [_record(entry, rfc3339(now), withdrawn.get(entry.index)) for entry in page.entries]
    body: dict[str, Any] = {"items": items}
    if page.next_before is not None:
        body["nextCursor"] = str(page.next_before)
    return json_response(body)


@blueprint.get("/v1/certificates/<identifier>")
def show(identifier: str) -> Response:
    """Show who holds a certificate, by its serial number or by the credential id of an audit line."""
    entry = find_certificate(identifier, current_requester())
    service = current_service()
    withdrawal = service.revocations.of_certificates([entry.index]).get(entry.index)
    return json_response(_record(entry, rfc3339(service.clock()), withdrawal))


@blueprint.get("/v1/certificates/<identifier>/receipt")
def receipt(identifier: str) -> Response:
    """Prove that a certificate is on record, to whoever knows the log's key, without asking this service again."""
    entry = find_certificate(identifier, current_requester())
    return Response(current_service().log.receipt(entry.index).text, 200, mimetype="text/plain")


def find_certificate(identifier: str, viewer: Requester | None) -> Entry:
    """Give the entry of a certificate by its serial number or credential id; a viewer of None may see all.

    Raises:
        NotFound: there is none, or it is another's.
    """
    entry = _find(identifier)
    if entry is None or not (viewer is None or _may_see(entry, viewer)):
        raise NotFound("There is no such certificate, or it is not yours to see.")
    return entry


def _certificate_response(issued: Recorded) -> Response:
    service = current_service()
    receipt = issued.receipt or service.log.receipt(issued.entry.index)
    body = certificate_body(issued.entry, service.chain_pem, receipt)
    if prefers_pem():
        return Answer(body["certificate"] + "".join(body["chain"]), 201, mimetype=PEM_CHAIN)
    return json_response(body, 201)


def _pending_response(recorded: Recorded) -> Response:
    """Say where a request waits; one that was repeated may have been decided since."""
    service = current_service()
    fields = recorded.entry.fields
    state = CurrentState.PENDING
    if recorded.repeated:
        state = state_of(find(service.reader, fields["request"]), service.clock())
    body = {name: fields[name] for name in _PENDING}
    response = json_response(body | {"state": state.value, "logIndex": recorded.entry.index}, 202)
    response.headers["Location"] = f"/v1/requests/{fields['request']}"
    return response


def _find(identifier: str) -> Entry | None:
    reader = current_service().reader
    if _CREDENTIAL_ID.fullmatch(identifier):
        return reader.find_by_credential_id(identifier)
    serial_number = identifier.replace(":", "").lower()
    return reader.find_by_serial(serial_number) if _SERIAL.fullmatch(serial_number) else None


def _may_see(entry: Entry, requester: Requester) -> bool:
    roles = current_service().policy.roles
    return entry.fields["requester"] == requester.identity or roles.may_read_the_log(requester)


def _record(entry: Entry, now: str, withdrawal: Withdrawal | None) -> dict[str, Any]:
    """Show an entry: what it says, its place, and what has become of it."""
    record = {name: value for name, value in entry.fields.items() if name not in _NOT_SHOWN}
    record["logIndex"] = entry.index
    if entry.kind is EventKind.REFUSED:
        return record | {"state": State.REFUSED.value}
    record["certificate"] = base64_to_pem(entry.fields["certificate"])
    if withdrawal is not None:
        record["revocation"] = {
            "revocation": withdrawal.revocation,
            "time": rfc3339(withdrawal.revoked_at),
            "reason": withdrawal.reason.value,
        }
        return record | {"state": State.REVOKED.value}
    return record | {"state": (State.EXPIRED if entry.fields["notAfter"] < now else State.VALID).value}
