"""What an answer is made of, and the two ways it is written: JSON, or bare PEM for those who ask for it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from flask import Response, request
from werkzeug.datastructures import Headers

from kubemint.record import Entry
from kubemint.transparency.receipt import Receipt

PEM_CHAIN: Final = "application/pem-certificate-chain"  # RFC 8555 9.1
_LINE: Final = 64  # RFC 7468 2
_CERTIFICATE: Final = ("serialNumber", "credentialId", "user", "groups", "notBefore", "notAfter", "profile")


class Answer(Response):
    """A response whose headers leave as the view has set them.

    Werkzeug would look through them once more, for an address that is no URI and a length that is
    missing; here every address is ASCII, and the length is known where there is a body.
    """

    def get_wsgi_headers(self, environ: dict[str, Any]) -> Headers:
        """Give the headers for the wire."""
        return self.headers if "Content-Length" in self.headers else super().get_wsgi_headers(environ)


def json_response(body: Mapping[str, Any], status: int = 200) -> Response:
    """Answer in JSON."""
    return Answer(orjson.dumps(body), status, mimetype="application/json")


def base64_to_pem(certificate: str) -> str:
    """Wrap a certificate, given as base64 of its DER, in PEM."""
    lines = "\n".join(certificate[start : start + _LINE] for start in range(0, len(certificate), _LINE))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def certificate_body(issued: Entry, chain: Sequence[str], receipt: Receipt) -> dict[str, Any]:
    """Give what the holder of a certificate gets: it, its chain in PEM, its place on record and its receipt."""
    body = {name: issued.fields[name] for name in _CERTIFICATE}
    return body | {
        "certificate": base64_to_pem(issued.fields["certificate"]),
        "chain": chain,
        "logIndex": issued.index,
        "receipt": receipt.text,
    }


def prefers_pem() -> bool:
    """Tell whether the client asked for bare PEM; without a word it gets JSON."""
    accept = request.headers.get("Accept")
    if not accept or accept == "*/*":
        return False
    return request.accept_mimetypes.best_match(["application/json", PEM_CHAIN]) == PEM_CHAIN
