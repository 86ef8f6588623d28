"""Revocation lists and OCSP: for proxies and other services, open to all as RFC 5280 and RFC 6960 have them."""

import base64
import logging
from datetime import datetime
from typing import Final

from flask import Blueprint, Response, g, request
from werkzeug.http import http_date

from kubemint import metrics
from kubemint.errors import KubemintError, LedgerUnavailable, SigningFailed
from kubemint.revocation_lists import SignedList
from kubemint.web.request_context import current_service
from kubemint.web.submissions import read_body
from kubemint.x509.ocsp import INTERNAL_ERROR, TRY_LATER, OcspAnswer, request_from_path

blueprint: Final = Blueprint("status", __name__)

CRL: Final = "application/pkix-crl"  # RFC 5280 4.2.1.13
PEM: Final = "application/x-pem-file"
OCSP_REQUEST: Final = "application/ocsp-request"  # RFC 6960 A.1
OCSP_RESPONSE: Final = "application/ocsp-response"
CRL_MAX_AGE_SECONDS: Final = 5  # a list may change at any time: no longer than a list is given out after that
OCSP_MAX_AGE_SECONDS: Final = 300  # a revocation counts for who asks within this
_LINE: Final = 64  # RFC 7468 2
_log = logging.getLogger(__name__)


@blueprint.get("/v1/crl")
def crl() -> Response:
    """Give the list of all certificates that are revoked and have not expired."""
    return _crl(current_service().revocation_lists.whole())


@blueprint.get("/v1/crl/<int:shards>/<int:shard>")
def crl_shard(shards: int, shard: int) -> Response:
    """Give a part of it."""
    return _crl(current_service().revocation_lists.shard(shards, shard))


@blueprint.post("/v1/ocsp")
def ocsp() -> Response:
    """Answer whether a certificate counts."""
    return _ocsp(_answer(read_body() if request.mimetype == OCSP_REQUEST else b""))


@blueprint.get("/v1/ocsp/<path:encoded>")
def ocsp_by_get(encoded: str) -> Response:
    """Answer the same, where the question stands in the path; what was signed for no nonce may be kept."""
    answer = _answer(request_from_path(encoded) or b"")
    response = _ocsp(answer)
    if answer.keep is not None:
        _let_keep(response, *answer.keep)
    return response


def _let_keep(response: Response, begins: datetime, ends: datetime) -> None:
    """RFC 5019 6.2: until the next answer is due."""
    left = (ends - current_service().clock()).total_seconds()
    seconds = max(0, min(int(left), OCSP_MAX_AGE_SECONDS))
    response.headers["Cache-Control"] = f"max-age={seconds}, public, no-transform, must-revalidate"
    response.headers["Last-Modified"] = http_date(begins)
    response.headers["Expires"] = http_date(ends)


def _answer(request_der: bytes) -> OcspAnswer:
    """Give an answer to whatever was asked: of a fault the client learns that it was one (RFC 6960 2.3)."""
    try:
        answer = current_service().revocation_lists.answer(request_der)
    except LedgerUnavailable as fault:
        answer = _no_answer(TRY_LATER, fault)
    except SigningFailed as fault:
        answer = _no_answer(INTERNAL_ERROR, fault)
    metrics.OCSP_ANSWERS.labels(answer.outcome).inc()
    return answer


def _no_answer(said: OcspAnswer, fault: KubemintError) -> OcspAnswer:
    """Write down what HTTP does not show: OCSP tells of its faults with status 200."""
    _log.error("OCSP question not answered", extra={"requestId": g.request_id, "code": fault.code}, exc_info=fault)
    return said


def _ocsp(answer: OcspAnswer) -> Response:
    return Response(answer.der, 200, mimetype=OCSP_RESPONSE)


def _crl(signed: SignedList) -> Response:
    is_pem = request.accept_mimetypes.best_match([CRL, PEM], default=CRL) == PEM
    # A weak tag: another process signs the same list with other octets.
    tag = f"{signed.edition.number:x}{'-pem' if is_pem else ''}"
    if request.if_none_match.contains_weak(tag):
        response = Response(status=304)
    elif is_pem:
        response = Response(_pem(signed.der), 200, mimetype=PEM)
    else:
        response = Response(signed.der, 200, mimetype=CRL)
    response.set_etag(tag, weak=True)
    response.vary.add("Accept")
    response.headers["Cache-Control"] = f"public, max-age={CRL_MAX_AGE_SECONDS}, must-revalidate"
    # Told, and not asked for: two lists may be of one second, and one would then hide the other.
    response.headers["Last-Modified"] = http_date(signed.this_update)
    return response


def _pem(der: bytes) -> str:
    encoded = base64.b64encode(der).decode("ascii")
    lines = "\n".join(encoded[start : start + _LINE] for start in range(0, len(encoded), _LINE))
    return f"-----BEGIN X509 CRL-----\n{lines}\n-----END X509 CRL-----\n"
