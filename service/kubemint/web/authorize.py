"""POST /kubernetes/authorize: an API server asks whether a credential still counts (SubjectAccessReview)."""

from typing import Final, assert_never

from flask import Blueprint, Response, g
from werkzeug.exceptions import RequestEntityTooLarge

from kubemint import metrics
from kubemint.errors import NotPermitted
from kubemint.kubernetes.access_review import (
    answer_denied,
    answer_no_opinion,
    answer_too_large,
    read_access_review,
)
from kubemint.kubernetes.revoked_credentials import Denied, NoOpinion
from kubemint.web.request_context import current_requester, current_service
from kubemint.web.responses import json_response
from kubemint.web.submissions import read_document

blueprint: Final = Blueprint("authorize", __name__)


@blueprint.post("/kubernetes/authorize")
def authorize() -> Response:
    """Deny what is revoked; of everything else have no opinion. Nothing is ever allowed here."""
    requester = current_requester()
    service = current_service()
    is_client = any(rule.matches(requester) for rule in service.webhook_clients)
    if not (is_client or service.policy.roles.may_authorize(requester)):
        raise NotPermitted("Only API servers may ask this: the role webhook, or webhook.clients.")
    try:
        document = read_document()
    except RequestEntityTooLarge:
        # A failure would leave the decision to others (failurePolicy), and who asks chooses how much is asked:
        # API servers put the selectors of a request into the question.
        metrics.WEBHOOK_ANSWERS.labels("too-large").inc()
        return json_response(dict(answer_too_large()))
    review = read_access_review(document)
    g.is_quiet = True  # thousands a minute, each of which the API server's own audit log has
    match service.revoked.judge(review):
        case Denied(reason=reason):
            metrics.WEBHOOK_ANSWERS.labels("denied").inc()
            g.is_quiet = False
            return json_response(dict(answer_denied(review, reason)))
        case NoOpinion():
            metrics.WEBHOOK_ANSWERS.labels("no-opinion").inc()
            return json_response(dict(answer_no_opinion(review)))
        case _ as never:
            assert_never(never)
