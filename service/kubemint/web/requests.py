"""/v1/requests: what waits for approval, what operators said of it, and what became of it."""

import re
from datetime import datetime, timedelta
from typing import Any, Final

from flask import Blueprint, Response, g

from kubemint import metrics
from kubemint.approval import ApprovalDesk, Opinion
from kubemint.errors import NotFound
from kubemint.record import Entry, EventKind, rfc3339
from kubemint.register import CurrentState, Difference, RequestRecord, RequestView, find, state_of, view
from kubemint.requester import Requester
from kubemint.web.request_context import current_requester, current_service
from kubemint.web.responses import PEM_CHAIN, Answer, certificate_body, json_response, prefers_pem
from kubemint.web.schemas import RequestListSchema, VerdictKind, VerdictSchema
from kubemint.web.submissions import query_of, read_json

blueprint: Final = Blueprint("requests", __name__)

_LIST: Final = RequestListSchema()
_VERDICT: Final = VerdictSchema()
_REQUEST: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_TERMS: Final = (
    "request",
    "user",
    "groups",
    "profile",
    "keyType",
    "publicKeySha256",
    "lifetimeSeconds",
    "digest",
    "requester",
    "method",
    "approvalsNeeded",
    "expires",
    "time",
)


@blueprint.get("/v1/requests")
def index() -> Response:
    """List requests, newest first: all for auditors and operators, else one's own."""
    requester = current_requester()
    service = current_service()
    query = query_of(_LIST)
    now = service.clock()
    sees_all = service.policy.roles.may_read_the_log(requester)
    page = service.reader.requests(
        query.get("state"),
        None if sees_all else requester.identity,
        now=now,
        limit=query["limit"],
        before=query.get("cursor"),
    )
    body: dict[str, Any] = {"items": [_summary(record, now) for record in page.requests]}
    if page.next_before is not None:
        body["nextCursor"] = str(page.next_before)
    return json_response(body)


@blueprint.get("/v1/requests/<identifier>")
def show(identifier: str) -> Response:
    """Show a request; once it is issued, the certificate is fetched here."""
    requester = current_requester()
    service = current_service()
    seen = _view(find(service.reader, _name(identifier)), requester)
    outcome = seen.record.outcome
    if seen.state is CurrentState.ISSUED and outcome is not None and prefers_pem():
        body = certificate_body(outcome, service.chain_pem, service.log.receipt(outcome.index))
        return Answer(body["certificate"] + "".join(body["chain"]), 200, mimetype=PEM_CHAIN)
    return json_response(_details(seen, service.clock()))


@blueprint.post("/v1/requests/<identifier>/approval")
def decide(identifier: str) -> Response:
    """Approve a request, or deny it."""
    requester = current_requester()
    service = current_service()
    said = read_json(_VERDICT)
    desk = ApprovalDesk(issuance=service.issuance, register=service.register)
    opinion = Opinion(
        request=_name(identifier),
        approver=requester,
        digest=said["digest"],
        reason=said.get("reason", ""),
        http_request_id=g.request_id,
    )
    record = desk.approve(opinion) if said["verdict"] is VerdictKind.APPROVE else desk.deny(opinion)
    g.has_decision_line = True
    if record.outcome is not None and record.outcome.kind is EventKind.ISSUED:
        metrics.DECISIONS.labels("issued").inc()
    return json_response(_details(_view(record, requester), service.clock()))


def _name(identifier: str) -> str:
    if not _REQUEST.fullmatch(identifier):
        raise NotFound("There is no such request, or it is not yours to see.")
    return identifier


def _view(record: RequestRecord, viewer: Requester) -> RequestView:
    service = current_service()
    return view(record, viewer, service.policy.roles, service.reader, service.clock())


def _summary(record: RequestRecord, now: datetime) -> dict[str, Any]:
    """Show the terms of a request, and how far it has come."""
    fields = record.entry.fields
    state = state_of(record, now)
    body = {name: fields[name] for name in _TERMS}
    body |= {"state": state.value, "logIndex": record.entry.index}
    body["approvals"] = [_statement(approval) for approval in record.approvals]
    if state is CurrentState.DENIED and record.outcome is not None:
        body["denial"] = _statement(record.outcome)
    return body


def _details(seen: RequestView, now: datetime) -> dict[str, Any]:
    """Show all that a viewer may see."""
    fields = seen.record.entry.fields
    body = _summary(seen.record, now)
    if seen.state is CurrentState.PENDING:
        lifetime = timedelta(seconds=fields["lifetimeSeconds"])
        body["notAfterIfSignedNow"] = rfc3339(now.replace(microsecond=0) + lifetime)
    if seen.state is CurrentState.ISSUED and seen.record.outcome is not None:
        service, outcome = current_service(), seen.record.outcome
        body["issued"] = certificate_body(outcome, service.chain_pem, service.log.receipt(outcome.index))
    if seen.in_full:
        body["claims"] = fields.get("claims", {})
    if seen.in_full and seen.state is CurrentState.PENDING:
        body["previous"] = None if seen.difference is None else _previous(seen.difference)
    return body


def _statement(entry: Entry) -> dict[str, Any]:
    return {"by": entry.fields["requester"], "time": entry.fields["time"], "reason": entry.fields["reason"]}


def _previous(difference: Difference) -> dict[str, Any]:
    return {
        "serialNumber": difference.serial_number,
        "groupsAdded": difference.groups_added,
        "groupsRemoved": difference.groups_removed,
        "lifetimeSeconds": difference.lifetime_seconds,
        "sameKey": difference.same_key,
    }
