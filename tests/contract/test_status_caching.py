"""Lists and answers may be kept for as long as the contract says, and no longer."""

import base64
import time
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from contract.contract_file import check_answer, header_faults, operation
from contract.revoking import OCSP, OCSP_REQUEST, REVOKE, ca, call, issue
from kubemint.revocation_lists import PACE_SECONDS
from running_service import Answer, RunningService

PEM = {"Accept": "application/x-pem-file"}


def ocsp_request(service: RunningService, nonce: bytes | None = None) -> bytes:
    authority = ca(service)
    builder = ocsp.OCSPRequestBuilder().add_certificate(authority, authority, hashes.SHA1())
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def ask_by_path(service: RunningService, request_der: bytes) -> Answer:
    path = f"{OCSP}/{quote(base64.b64encode(request_der).decode(), safe='')}"
    answer = service.call("GET", path)
    check_answer(answer, "GET", path)
    return answer


@pytest.mark.parametrize("path", ["/v1/crl", "/v1/crl/2/1"])
@pytest.mark.parametrize("accept", [{}, PEM], ids=["DER", "PEM"])
def test_a_list_that_the_reader_has(listing: RunningService, path: str, accept: dict) -> None:
    """Who names the list's tag must get 304 and no list, from each process; any other tag must get the list."""
    tag = listing.call("GET", path, headers=accept).headers["ETag"]
    for _ in range(6):
        same = listing.call("GET", path, headers={**accept, "If-None-Match": f'"x", {tag}'})
        assert (same.status, same.body, same.headers["ETag"]) == (304, b"", tag)
        assert header_faults(same.headers, operation("GET", path).document["responses"]["304"]["headers"]) == []
    for other in ('W/"0"', "x", tag[:-1], ""):
        answer = listing.call("GET", path, headers={**accept, "If-None-Match": other})
        check_answer(answer, "GET", path)
        assert answer.status == 200


def test_the_tag_of_another_form(listing: RunningService) -> None:
    """A reader of PEM that names the DER must get the PEM."""
    tag = listing.call("GET", "/v1/crl").headers["ETag"]
    answer = listing.call("GET", "/v1/crl", headers={**PEM, "If-None-Match": tag})
    assert (answer.status, answer.headers.get_content_type()) == (200, PEM["Accept"])


def test_a_list_after_a_revocation(listing: RunningService) -> None:
    """A revocation must make another tag and a greater number; its time alone must hide no list."""
    before = listing.call("GET", "/v1/crl")
    serial_number = int(issue(listing, "gil"), 16)
    call(listing, REVOKE, "operator", json_body={"select": {"user": "gil"}})
    headers = {"If-None-Match": before.headers["ETag"], "If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}
    deadline = time.monotonic() + 3 * PACE_SECONDS
    while (after := listing.call("GET", "/v1/crl", headers=headers)).status == 304:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    check_answer(after, "GET", "/v1/crl")
    lists = [x509.load_der_x509_crl(answer.body) for answer in (before, after)]
    numbers = [each.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for each in lists]
    assert numbers[0] < numbers[1]
    assert lists[1].get_revoked_certificate_by_serial_number(serial_number) is not None
    assert after.headers["ETag"] == f'W/"{numbers[1]:x}"'
    assert parsedate_to_datetime(after.headers["Last-Modified"]) == lists[1].last_update_utc


def test_an_answer_without_a_nonce_may_be_kept(listing: RunningService) -> None:
    """The answer to a GET may be kept until the next is due, and for five minutes at most (RFC 5019, 6.2)."""
    answer = ask_by_path(listing, ocsp_request(listing))
    said = ocsp.load_der_ocsp_response(answer.body)
    seconds = int(answer.headers["Cache-Control"].partition(",")[0].removeprefix("max-age="))
    assert 0 < seconds <= 300
    assert parsedate_to_datetime(answer.headers["Last-Modified"]) == said.this_update_utc
    assert parsedate_to_datetime(answer.headers["Expires"]) == said.next_update_utc


def test_what_may_not_be_kept(listing: RunningService) -> None:
    """An answer with a nonce, one to a POST, and what is none must be kept by nobody."""
    answers = [
        ask_by_path(listing, ocsp_request(listing, b"0123456789abcdef")),
        ask_by_path(listing, b"no request"),
        call(listing, OCSP, None, headers=OCSP_REQUEST, body=ocsp_request(listing)),
        listing.call("GET", "/v1/crl/3/0"),
    ]
    assert [answer.headers["Cache-Control"] for answer in answers] == ["no-store"] * 4
    assert [answer.headers["Expires"] for answer in answers] == [None] * 4
