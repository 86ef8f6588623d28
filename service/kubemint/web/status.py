"""Revocation lists and OCSP: for proxies and other services, open to all as RFC 5280 and RFC 6960 have them."""

import base64
from typing import Final

from flask import Blueprint, Response, request

from kubemint.errors import LedgerUnavailable, SigningFailed
from kubemint.web.request_context import current_service
from kubemint.web.submissions import read_body
from kubemint.x509.ocsp import INTERNAL_ERROR, TRY_LATER, request_from_path

blueprint: Final = Blueprint("status", __name__)

CRL: Final = "application/pkix-crl"  # RFC 5280 4.2.1.13
PEM: Final = "application/x-pem-file"
OCSP_REQUEST: Final = "application/ocsp-request"  # RFC 6960 A.1
OCSP_RESPONSE: Final = "application/ocsp-response"
_LINE: Final = 64  # RFC 7468 2


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
    return _ocsp(read_body() if request.mimetype == OCSP_REQUEST else b"")


@blueprint.get("/v1/ocsp/<path:encoded>")
def ocsp_by_get(encoded: str) -> Response:
    """Answer the same, where the question stands in the path."""
    return _ocsp(request_from_path(encoded) or b"")


def _ocsp(request_der: bytes) -> Response:
    """Give an answer to whatever was asked: of a fault the client learns that it was one (RFC 6960 2.3)."""
    try:
        answer = current_service().revocation_lists.answer(request_der)
    except LedgerUnavailable:
        answer = TRY_LATER
    except SigningFailed:
        answer = INTERNAL_ERROR
    return Response(answer, 200, mimetype=OCSP_RESPONSE)


def _crl(der: bytes) -> Response:
    if request.accept_mimetypes.best_match([CRL, PEM], default=CRL) == PEM:
        encoded = base64.b64encode(der).decode("ascii")
        lines = "\n".join(encoded[start : start + _LINE] for start in range(0, len(encoded), _LINE))
        return Response(f"-----BEGIN X509 CRL-----\n{lines}\n-----END X509 CRL-----\n", 200, mimetype=PEM)
    return Response(der, 200, mimetype=CRL)
