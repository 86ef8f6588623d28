"""Problem documents for what is no request: written where there is no application to write them."""

import json
from http import HTTPStatus
from typing import Final

from gunicorn.http import errors

from kubemint.web.problems import PROBLEM_MEDIA_TYPE, PROBLEM_TYPE_PREFIX

_STATUS: Final[dict[type[Exception], HTTPStatus]] = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.InvalidHTTPVersion: HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
}


def bad_request(fault: errors.ParseException) -> bytes:
    """Answer what the parser could not read."""
    status = _STATUS.get(type(fault), HTTPStatus.BAD_REQUEST)
    return _answer(status, "bad-request", "This is not an HTTP request that can be served.")


def internal_error() -> bytes:
    """Answer where the application could not."""
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The service made a mistake.")


def head_too_long() -> bytes:
    """Answer a head without an end."""
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    return _answer(status, "bad-request", "The head of the request is too long.")


def _answer(status: HTTPStatus, code: str, detail: str) -> bytes:
    document = {
        "type": PROBLEM_TYPE_PREFIX + code,
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "code": code,
        "requestId": "none",
    }
    body = json.dumps(document).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {PROBLEM_MEDIA_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
