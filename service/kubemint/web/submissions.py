"""From an HTTP body to what it says: a `Submission` by one reader for each media type, and nothing guessed."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from flask import request
from gunicorn.http.errors import ParseException
from marshmallow import ValidationError
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from kubemint.documents import parse_json, parse_yaml
from kubemint.errors import InvalidDocument
from kubemint.fields import StrictSchema
from kubemint.kubernetes.signing_request import is_signing_request, read_signing_request
from kubemint.web.arrival import BODY_MAX_OCTETS
from kubemint.web.schemas import (
    CertificateQuerySchema,
    CertificateRequestSchema,
    NothingSchema,
    ProfileQuerySchema,
)
from kubemint.x509.request import CsrEncoding, Submission

FLOW_MAX: Final = 100  # a CertificateSigningRequest needs two

_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_REQUEST: Final = CertificateRequestSchema()
_QUERY: Final = CertificateQuerySchema()
_PROFILE_QUERY: Final = ProfileQuerySchema()
_NOTHING: Final = NothingSchema()


def idempotency_key() -> str | None:
    """Give the key under which the current request is done once; None if it has none.

    Raises:
        marshmallow.ValidationError: it is no key.
    """
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise ValidationError({"Idempotency-Key": ["Must be 1 to 255 visible ASCII characters."]})
    return key


def read_submission() -> Submission:
    """Read the body of the current request by its media type.

    Raises:
        UnsupportedMediaType, InvalidDocument, marshmallow.ValidationError: it is not what it should be.
    """
    reader = _READERS.get(request.mimetype)
    if reader is None:
        raise UnsupportedMediaType(f"Send one of: {', '.join(_READERS)}.")
    try:
        return reader(_read_body())
    except ParseException:
        raise BadRequest("The body is not in the form that its head announces.") from None


def read_json(schema: StrictSchema) -> dict[str, Any]:
    """Read a JSON body of one shape, beside which there is no query. Raises as `read_submission` does."""
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("Send one of: application/json.")
    try:
        document = parse_json(_read_body())
    except ParseException:
        raise BadRequest("The body is not in the form that its head announces.") from None
    query_of(_NOTHING)
    fields: dict[str, Any] = schema.load(document)
    return fields


def read_document() -> object:
    """Read a JSON body of whatever shape; the query, which an API server adds to, is not looked at.

    Raises:
        UnsupportedMediaType, InvalidDocument, RequestEntityTooLarge: it is none.
    """
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("Send one of: application/json.")
    return parse_json(read_body())


def read_body() -> bytes:
    """Read the body, which is bounded.

    Raises:
        RequestEntityTooLarge, BadRequest: it is too large, or not in the form that its head announces.
    """
    try:
        return _read_body()
    except ParseException:
        raise BadRequest("The body is not in the form that its head announces.") from None


def _read_body() -> bytes:
    if (request.content_length or 0) <= BODY_MAX_OCTETS:
        body: bytes = request.environ["wsgi.input"].read(BODY_MAX_OCTETS + 1)
        if len(body) <= BODY_MAX_OCTETS:
            return body
    raise RequestEntityTooLarge  # never cut off in silence


def query_of(schema: StrictSchema) -> dict[str, Any]:
    """Read the query string; a parameter that is unknown or repeated is refused."""
    values: Mapping[str, list[str]] = request.args.to_dict(flat=False)
    single = {name: found[0] if len(found) == 1 else found for name, found in values.items()}
    query: dict[str, Any] = schema.load(single)
    return query


def _from_json(body: bytes) -> Submission:
    document = parse_json(body)
    if is_signing_request(document):
        return _from_kubernetes(document)
    if request.query_string:
        query_of(_NOTHING)
    fields: dict[str, Any] = _REQUEST.load(document)
    return Submission(
        csr=fields["csr"].encode("utf-8", "surrogatepass"),
        encoding=CsrEncoding.PEM,
        expiration_seconds=fields.get("expiration_seconds"),
        profile=fields.get("profile"),
    )


def _from_yaml(body: bytes) -> Submission:
    if body.count(b"[") + body.count(b"{") > FLOW_MAX:  # each level of them costs the YAML reader more
        raise InvalidDocument(f"more than {FLOW_MAX} brackets and braces")
    return _from_kubernetes(parse_yaml(body))


def _from_kubernetes(document: object) -> Submission:
    return read_signing_request(document, query_of(_PROFILE_QUERY).get("profile"))


def _from_pem(body: bytes) -> Submission:
    return Submission(csr=body, encoding=CsrEncoding.PEM, **query_of(_QUERY))


def _from_der(body: bytes) -> Submission:
    return Submission(csr=body, encoding=CsrEncoding.DER, **query_of(_QUERY))


_READERS: Final[dict[str, Callable[[bytes], Submission]]] = {
    "application/json": _from_json,
    "application/x-pem-file": _from_pem,
    "application/pkcs10": _from_der,  # RFC 5967
    "application/yaml": _from_yaml,  # RFC 9512
}
