"""POST /v1/decisions: what would be decided, and by which rules. Nothing is signed or recorded."""

from typing import Any, Final

from flask import Blueprint, Response

from kubemint.audit import reason_fields
from kubemint.policy.decision import Granted
from kubemint.policy.explain import Explanation, Step
from kubemint.record import rfc3339
from kubemint.web.allowances import quota_fields
from kubemint.web.request_context import current_requester, current_service
from kubemint.web.responses import json_response
from kubemint.web.submissions import read_submission
from kubemint.x509.request import SigningRequest

blueprint: Final = Blueprint("decisions", __name__)


@blueprint.post("/v1/decisions")
def create() -> Response:
    """Explain what POST /v1/certificates would answer to the same body."""
    requester = current_requester()
    request, explanation = current_service().issuance.explain(read_submission(), requester)
    return json_response(explanation_fields(request, explanation))


def explanation_fields(request: SigningRequest, explanation: Explanation) -> dict[str, Any]:
    """Give a verdict and its trace as JSON has them."""
    decision = explanation.decision
    body: dict[str, Any] = {
        "profile": decision.profile,
        "policy": decision.policy_version,
        "user": request.user,
        "groups": list(request.groups),
        "keyType": request.key_type,
        "trace": _trace(explanation),
    }
    if isinstance(decision, Granted):
        return body | _grant(decision) | {"verdict": "granted", "reasons": []}
    return body | {"verdict": "refused", "reasons": [reason_fields(reason) for reason in decision.reasons]}


def _grant(grant: Granted) -> dict[str, Any]:
    """Show what would be signed, and what else would have to hold when it is asked for."""
    terms = grant.terms
    shown: dict[str, Any] = {
        "groups": list(terms.groups),
        "notBefore": rfc3339(terms.not_before),
        "notAfter": rfc3339(terms.not_after),
    }
    if grant.approval is not None:
        shown["approvalsNeeded"] = grant.approval.approvals
    if grant.quota is not None:
        shown["quota"] = quota_fields(grant.quota)
    return shown


def _trace(explanation: Explanation) -> list[dict[str, Any]]:
    hard_rules = [_step(step, None) for step in explanation.hard_rules]
    traces = (*explanation.profiles, *explanation.others)
    return hard_rules + [_step(step, trace.profile) for trace in traces for step in trace.steps]


def _step(step: Step, profile: str | None) -> dict[str, Any]:
    return {
        "rule": step.rule,
        "profile": profile,
        "passed": not step.reasons,
        "reasons": [reason_fields(reason) for reason in step.reasons],
    }
