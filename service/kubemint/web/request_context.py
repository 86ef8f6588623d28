"""What every view needs of its request: the service, who asks, and an id to find it in the log by."""

import logging
import re
import secrets
import time
from typing import Final

from flask import Flask, Response, current_app, g, request

from kubemint import metrics
from kubemint.authentication import Evidence, authenticate
from kubemint.errors import IdentityUnavailable, NotAuthenticated
from kubemint.requester import Requester
from kubemint.web.connection import Outbox
from kubemint.wiring import Service

REQUEST_ID_HEADER: Final = "X-Request-Id"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.-]{8,64}", re.ASCII)
# Probes say nothing new, and a decision has its own line, on standard output: one event a request.
_QUIET_ROUTES: Final = frozenset({"/livez", "/readyz", "/metrics"})
_log = logging.getLogger("kubemint.request")


def register_request_context(app: Flask, service: Service) -> None:
    """Give an application's requests their service, their id and their log event."""
    app.extensions["kubemint"] = service
    app.before_request(_begin)
    app.after_request(_end)


def current_service() -> Service:
    """Give the service that answers this request."""
    service: Service = current_app.extensions["kubemint"]
    return service


def current_requester() -> Requester:
    """Prove who asks.

    Raises:
        NotAuthenticated: nothing does.
        IdentityUnavailable: whether something does cannot be found out now.
    """
    service = current_service()
    evidence = Evidence(
        authorization=request.headers.get("Authorization"), client_certificate_der=_client_certificate()
    )
    try:
        requester = authenticate(evidence, service.authenticators, service.clock())
    except NotAuthenticated:
        metrics.AUTHENTICATIONS.labels("failed").inc()
        raise
    except IdentityUnavailable:
        metrics.AUTHENTICATIONS.labels("unavailable").inc()
        raise
    metrics.AUTHENTICATIONS.labels(requester.method.value).inc()
    g.requester = requester.identity
    return requester


def _client_certificate() -> bytes | None:
    """Give the certificate that TLS verified. It is read from the connection: no header can claim to be one."""
    connection = request.environ.get("gunicorn.socket")
    return connection.client_certificate() if isinstance(connection, Outbox) else None


def _begin() -> None:
    given = request.headers.get(REQUEST_ID_HEADER, "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    g.started = time.perf_counter()


def _end(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule else "none"
    response.headers[REQUEST_ID_HEADER] = g.request_id
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
    metrics.RESPONSES.labels(route, str(response.status_code)).inc()
    if route not in _QUIET_ROUTES and not g.get("has_decision_line") and not g.get("is_quiet"):
        _log.info(
            "request",
            extra={
                "requestId": g.request_id,
                "method": request.method,
                "route": route,
                "status": response.status_code,
                "milliseconds": round((time.perf_counter() - g.started) * 1000, 2),
                "requester": g.get("requester"),
                "remote": request.remote_addr,
            },
        )
    return response
