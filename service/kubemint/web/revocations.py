"""/v1/revocations: taking certificates back, and seeing what was."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from flask import Blueprint, Response, g
from marshmallow import ValidationError

from kubemint.errors import NotFound, Reason, UnacceptableRequest
from kubemint.key_revocation import revoke_key
from kubemint.revocation import Done, RevocationRecord, Wish
from kubemint.selector import Selector
from kubemint.web.pace import Pace, Paces
from kubemint.web.request_context import current_requester, current_service
from kubemint.web.responses import json_response
from kubemint.web.schemas import (
    KeyRevocationSchema,
    LiftSchema,
    RevocationListSchema,
    RevocationSchema,
)
from kubemint.web.submissions import idempotency_key, query_of, read_json

blueprint: Final = Blueprint("revocations", __name__)

_LIST: Final = RevocationListSchema()
_WISH: Final = RevocationSchema()
_KEY: Final = KeyRevocationSchema()
_LIFT: Final = LiftSchema()
_KEY_STATEMENTS: Final = Pace(per_second=2, at_once=10)  # strangers' CSRs; each walks over all valid certificates
_ORDERS: Final = Paces(  # of those who are no operators: each looks for certificates, and may be kept for ever
    per_second=0.5, at_once=20, most=10_000, told="requesters may ask this once in two seconds"
)
_MOMENTS: Final = {  # where they stand in the body
    "issued_since": "select.issuedSince",
    "issued_until": "select.issuedUntil",
    "suspend_until": "suspendUntil",
}
_REVOCATION: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


@blueprint.post("/v1/revocations")
def create() -> Response:
    """Revoke, or with `preview` count what would be."""
    requester, service = current_requester(), current_service()
    if not service.policy.roles.may_operate(requester):
        _ORDERS.take(requester.identity, service.clock())
    said = read_json(_WISH)
    desk = service.revocation_desk
    wish = Wish(
        selector=Selector(**_in_utc(said["select"])),
        reason=said["reason"],
        note=said["note"],
        suspend_until=_in_utc(said).get("suspend_until"),
        http_request_id=g.request_id,
        idempotency_key=idempotency_key(),
    )
    if said["preview"]:
        return json_response({"certificates": desk.preview(wish, requester)})
    done = desk.revoke(wish, requester)
    response = _answer(done, 201)
    response.headers["Location"] = f"/v1/revocations/{done.record.entry.fields['revocation']}"
    return response


@blueprint.post("/v1/revocations/by-key")
def create_by_key() -> Response:
    """Revoke the key that signed the CSR; whoever holds it needs no other proof."""
    _KEY_STATEMENTS.take(current_service().clock())
    said = read_json(_KEY)
    csr_pem = said["csr"].encode("utf-8", "surrogatepass")
    record = revoke_key(current_service().revocation_desk, csr_pem, said["note"], g.request_id)
    g.has_decision_line = True
    # An operator may have revoked the key before: what was said then is not for a stranger.
    fields = record.entry.fields
    return json_response({"revocation": fields["revocation"], "time": fields["time"], "state": "revoked"}, 201)


@blueprint.post("/v1/revocations/<string(length=32):identifier>/lift")
def lift(identifier: str) -> Response:
    """Undo a hold."""
    requester = current_requester()
    said = read_json(_LIFT)
    desk, key = current_service().revocation_desk, idempotency_key()
    return _answer(desk.lift(_name(identifier), said["note"], requester, g.request_id, key), 200)


@blueprint.get("/v1/revocations")
def index() -> Response:
    """List revocations, newest first: all for auditors and operators, else one's own."""
    requester = current_requester()
    service = current_service()
    query = query_of(_LIST)
    own = None if service.policy.roles.may_read_the_log(requester) else requester.identity
    page = service.revocations.page(own, limit=query["limit"], before=query.get("cursor"))
    body: dict[str, Any] = {"items": [revocation_fields(record) for record in page.revocations]}
    if page.next_before is not None:
        body["nextCursor"] = str(page.next_before)
    return json_response(body)


@blueprint.get("/v1/revocations/<string(length=32):identifier>")  # and so not by-key
def show(identifier: str) -> Response:
    """Show one revocation."""
    requester = current_requester()
    service = current_service()
    record = service.revocations.find(_name(identifier))
    sees_all = service.policy.roles.may_read_the_log(requester)
    if record is None or not (sees_all or record.entry.fields["requester"] == requester.identity):
        raise _not_found()
    return json_response(revocation_fields(record))


def revocation_fields(record: RevocationRecord) -> dict[str, Any]:
    """Give a revocation as JSON has it."""
    fields = record.entry.fields
    body = {
        "revocation": fields["revocation"],
        "select": fields["select"],
        "reason": fields["reason"],
        "note": fields["note"],
        "time": fields["time"],
        "requester": fields["requester"],
        "method": fields["method"],
        "blocksKeys": fields["blocksKeys"],
        "certificates": record.certificates,
        "logIndex": record.entry.index,
        "state": "revoked" if record.lifted is None else "lifted",
    }
    if "suspendUntil" in fields:
        body["suspendUntil"] = fields["suspendUntil"]
    if record.lifted is not None:
        lifted = record.lifted.fields
        body["lifted"] = {"by": lifted["requester"], "time": lifted["time"], "note": lifted["note"]}
    return body


def _in_utc(said: Mapping[str, Any]) -> dict[str, Any]:
    """Give what was said with its moments in UTC, in which they are recorded.

    Raises:
        UnacceptableRequest: one has no zone, such as a date.
        ValidationError: one is before the first year or after the last.
    """
    moments = {name: value for name, value in said.items() if isinstance(value, datetime)}
    if vague := [_without_zone(name) for name, moment in moments.items() if moment.tzinfo is None]:
        raise UnacceptableRequest("A time without its zone could mean several moments.", vague)
    try:
        return {**said, **{name: moment.astimezone(UTC) for name, moment in moments.items()}}
    except OverflowError:
        raise ValidationError("A moment must be between the years 1 and 9999 in UTC.") from None


def _without_zone(name: str) -> Reason:
    message = "must be a time of day with its zone, such as 2026-11-23T05:00:00Z"
    return Reason(code="time-without-zone", message=message, path=_MOMENTS[name])


def _answer(done: Done, status: int) -> Response:
    g.has_decision_line = not done.repeated
    response = json_response(revocation_fields(done.record), status)
    if done.repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _name(identifier: str) -> str:
    if not _REVOCATION.fullmatch(identifier):
        raise _not_found()
    return identifier


def _not_found() -> NotFound:
    return NotFound("There is no such revocation, or it is not yours to see.")
