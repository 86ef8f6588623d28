"""Errors as RFC 9457 problem documents: the one map from our exceptions to HTTP.

A client's fault is told in full. Of ours, the client learns a code and the request's id, and the log
has the rest.
"""

import json
import logging
import math
from http import HTTPStatus
from typing import Any, Final

from flask import Flask, Response, g
from marshmallow import ValidationError
from werkzeug.exceptions import HTTPException

from kubemint.audit import reason_fields
from kubemint.errors import (
    ApprovalConflict,
    IdempotencyConflict,
    IdentityUnavailable,
    InvalidDocument,
    InvalidProof,
    KubemintError,
    LedgerDamaged,
    LedgerUnavailable,
    ListNotReady,
    MalformedRequest,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    ReasonedError,
    RequestRefused,
    RevocationConflict,
    SigningFailed,
    UnacceptableRequest,
)
from kubemint.fields import problem_lines
from kubemint.web.request_context import current_service

PROBLEM_TYPE_PREFIX: Final = "urn:kubemint:problem:"
PROBLEM_MEDIA_TYPE: Final = "application/problem+json"

_STATUS: Final[dict[type[KubemintError], int]] = {
    MalformedRequest: 400,
    InvalidDocument: 400,
    NotAuthenticated: 401,
    RequestRefused: 403,
    NotPermitted: 403,
    NotFound: 404,
    ApprovalConflict: 409,
    RevocationConflict: 409,
    IdempotencyConflict: 409,
    UnacceptableRequest: 422,
    QuotaExceeded: 429,
    SigningFailed: 500,
    LedgerUnavailable: 503,
    LedgerDamaged: 503,
    IdentityUnavailable: 503,
    ListNotReady: 503,
}
_HEADERS: Final[dict[int, dict[str, str]]] = {
    401: {"WWW-Authenticate": 'Bearer realm="kubemint"'},  # RFC 6750 3
    503: {"Retry-After": "1"},
}
_HTTP_CODES: Final = {
    404: "no-such-path",
    405: "method-not-allowed",
    413: "body-too-large",
    415: "unsupported-media-type",
}
_log = logging.getLogger(__name__)


def register_problem_handlers(app: Flask) -> None:
    """Answer every error of an application with a problem document."""
    app.register_error_handler(KubemintError, _from_ours)
    app.register_error_handler(InvalidProof, _from_proof)
    app.register_error_handler(ValidationError, _from_validation)
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(Exception, _from_fault)


def problem(status: int, code: str, detail: str, **members: Any) -> Response:
    """Make a problem document; `members` are added to the standard ones."""
    document = {
        "type": PROBLEM_TYPE_PREFIX + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "requestId": g.request_id,
        **members,
    }
    response = Response(json.dumps(document), status, mimetype=PROBLEM_MEDIA_TYPE)
    response.headers.update(_HEADERS.get(status, {}))
    return response


def _from_ours(error: KubemintError) -> Response:
    status = _STATUS.get(type(error), 500)
    if isinstance(error, ReasonedError):
        members: dict[str, Any] = {"reasons": [reason_fields(reason) for reason in error.reasons]}
        if "allowed" in g:
            members["allowed"] = g.allowed
        response = problem(status, error.code, error.message, **members)
        if isinstance(error, QuotaExceeded):
            left = (error.retry_at - current_service().clock()).total_seconds()
            response.headers["Retry-After"] = str(max(1, math.ceil(left)))
        return response
    if status < 500 or isinstance(error, ListNotReady):  # which is no fault, and over in a moment
        return problem(status, error.code, error.message)
    _log.error("request failed", extra={"requestId": g.request_id, "code": error.code}, exc_info=error)
    return problem(status, error.code, "The service could not do this now; nothing was handed out.")


def _from_proof(error: InvalidProof) -> Response:
    """What the ledger holds does not prove itself; it is no client's fault, and nothing of it is given away."""
    fault = LedgerDamaged(f"the log does not prove itself: {error.message}")
    fault.__cause__ = error  # for the log
    return _from_ours(fault)


def _from_validation(error: ValidationError) -> Response:
    errors = [{"path": path, "message": message} for path, message in problem_lines(error.messages)]
    return problem(400, "invalid-fields", "Some fields are missing, unknown or wrong.", errors=errors)


def _from_http(error: HTTPException) -> Response:
    """Werkzeug's own refusals: path, method, size, media type; their headers (Allow …) are kept."""
    status = error.code or 500
    response = problem(status, _HTTP_CODES.get(status, "bad-request"), error.description or "")
    for name, value in error.get_headers():
        if name.lower() != "content-type":
            response.headers[name] = value
    return response


def _from_fault(error: Exception) -> Response:
    _log.error("request failed", extra={"requestId": g.request_id, "code": "internal"}, exc_info=error)
    return problem(500, "internal", "The service made a mistake; its log has the details.")
