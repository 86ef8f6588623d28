"""What API servers, readers of lists and OCSP clients are told is what the contract says."""

import copy

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from contract.contract_file import check_answer, operation
from contract.revoking import AUTHORIZE, JSON, OCSP, OCSP_REQUEST, REVOKE, ask, ca, call, denial, issue
from running_service import RunningService

REVIEW = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {}}

# what is wrong: path, who asks, what is sent, status, code
REFUSALS = {
    "a question of a requester": (AUTHORIZE, "requester", {"json_body": REVIEW}, 403, "not-permitted"),
    "a question of an operator": (AUTHORIZE, "operator", {"json_body": REVIEW}, 403, "not-permitted"),
    "a question of a stranger": (AUTHORIZE, None, {"json_body": REVIEW}, 401, "not-authenticated"),
    "a question of another kind": (AUTHORIZE, "webhook", {"json_body": {"kind": "Pod"}}, 400, "invalid-document"),
    "a question without spec": (
        AUTHORIZE,
        "webhook",
        {"json_body": {name: REVIEW[name] for name in ("apiVersion", "kind")}},
        400,
        "invalid-document",
    ),
    "a question in a list": (AUTHORIZE, "webhook", {"json_body": [REVIEW]}, 400, "invalid-document"),
    "a question in YAML": (
        AUTHORIZE,
        "webhook",
        {"headers": {"Content-Type": "application/yaml"}, "body": "kind: x"},
        415,
        "unsupported-media-type",
    ),
    "an OCSP request too long": (
        OCSP,
        None,
        {"headers": OCSP_REQUEST, "body": b"x" * 65537},
        413,
        "body-too-large",
    ),
}
NO_PARTS = ("3/0", "4/4", "1024/0", "0/0", "1/1")


@pytest.mark.parametrize("octets", [65537, 2**20])
def test_a_question_that_is_too_long(listing: RunningService, octets: int) -> None:
    """A question that is not read must be answered with a denial, and only to who may ask."""
    answers = [
        call(listing, AUTHORIZE, token, headers=JSON, body="x" * octets)
        for token in ("webhook", "requester", None)
    ]

    assert [answer.status for answer in answers] == [200, 403, 401]
    assert (answers[0].json()["status"]["allowed"], answers[0].json()["status"]["denied"]) == (False, True)
    assert "too large" in answers[0].json()["status"]["reason"]


def test_the_question_of_an_api_server(listing: RunningService) -> None:
    """A revoked credential must be denied, and nothing known of others; whatever an API server adds is let be."""
    serial_number = issue(listing, "dora")
    record = listing.call("GET", f"/v1/certificates/{serial_number}", token="operator").json()
    example = operation("POST", AUTHORIZE).document["requestBody"]["content"]["application/json"]["examples"]
    question = copy.deepcopy(example["certificate"]["value"])
    question["spec"]["extra"] = {"authentication.kubernetes.io/credential-id": [record["credentialId"]]}
    before = call(listing, f"{AUTHORIZE}?timeout=30s", "webhook", json_body=question | {"added": {"later": [1]}})
    call(listing, REVOKE, "operator", json_body={"select": {"user": "dora"}})
    after = denial(listing, question)

    assert before.json()["status"] == {"allowed": False, "denied": False}
    assert (after.json()["status"]["allowed"], after.json()["status"]["denied"]) == (False, True)
    assert "this certificate was revoked at" in after.json()["status"]["reason"]


@pytest.mark.parametrize(("path", "token", "sent", "status", "code"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal(
    listing: RunningService, path: str, token: str | None, sent: dict, status: int, code: str
) -> None:
    """Each way of asking wrongly must get the status, code and document that the contract says."""
    answer = call(listing, path, token, **sent)

    assert (answer.status, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("path", ["/v1/crl", "/v1/crl/1/0", "/v1/crl/4/3"])
@pytest.mark.parametrize(
    ("accept", "media_type"), [("*/*", "application/pkix-crl"), ("application/x-pem-file",) * 2]
)
def test_the_list(listing: RunningService, path: str, accept: str, media_type: str) -> None:
    """The list and its parts must be open to all, in both forms."""
    answer = listing.call("GET", path, headers={"Accept": accept})

    check_answer(answer, "GET", path)
    assert answer.headers.get_content_type() == media_type
    read = x509.load_der_x509_crl if media_type == "application/pkix-crl" else x509.load_pem_x509_crl
    assert read(answer.body).is_signature_valid(ca(listing).public_key())


@pytest.mark.parametrize("part", [*NO_PARTS, "4/x", "-4/0", "4/3/2"])
def test_a_part_that_there_is_not(listing: RunningService, part: str) -> None:
    """What is no part of the list must be told so, and what is no number is no path."""
    answer = listing.call("GET", f"/v1/crl/{part}")

    assert (answer.status, answer.json()["code"]) == (404, "not-found" if part in NO_PARTS else "no-such-path")
    check_answer(answer, "GET", "/v1/crl/4/0")


def test_no_parts_without_an_address(service: RunningService) -> None:
    """Where the configuration has no crl.url, there must be the whole list, and no part."""
    whole, part = (service.call("GET", path) for path in ("/v1/crl", "/v1/crl/1/0"))

    check_answer(whole, "GET", "/v1/crl")
    check_answer(part, "GET", "/v1/crl/1/0")
    assert (whole.status, part.status) == (200, 404)


@pytest.mark.parametrize("path", ["/v1/crl", "/v1/crl/1/0"])
def test_a_ca_that_signs_no_lists(kubeadm: RunningService, path: str) -> None:
    """Where the CA's key usage has no cRLSign there must be no list, and the answer must say why."""
    answer = kubeadm.call("GET", path)

    check_answer(answer, "GET", path)
    assert (answer.status, answer.json()["code"]) == (404, "not-found")
    assert "cRLSign" in answer.json()["detail"] or path != "/v1/crl"


def test_the_group_with_the_serial_number(kubeadm: RunningService) -> None:
    """Who asks must be told of it beforehand, and find it in the certificate; a revoked one is denied by it."""
    serial_number = issue(kubeadm, "gus")
    group = f"kubemint:serial:{serial_number}"
    policy = kubeadm.call("GET", "/v1/policy", token="requester")
    record = kubeadm.call("GET", f"/v1/certificates/{serial_number}", token="requester")
    call(kubeadm, REVOKE, "requester", json_body={"select": {"serialNumber": serial_number}})
    answer = denial(kubeadm, REVIEW | {"spec": {"groups": ["x", group]}})

    check_answer(policy, "GET", "/v1/policy")
    check_answer(record, "GET", f"/v1/certificates/{serial_number}")
    assert policy.json()["profiles"][0]["credentialGroup"] is True
    assert record.json()["groups"] == [group]
    assert answer.json()["status"]["denied"] is True


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_the_status_of_a_certificate(listing: RunningService, method: str) -> None:
    """Both ways of asking must be answered, signed, for what counts and for what does not."""
    good, bad = issue(listing, "eve"), issue(listing, f"fay-{method}")
    call(listing, REVOKE, "operator", json_body={"select": {"serialNumber": bad}})
    found = [ask(listing, method, int(serial_number, 16)) for serial_number in (good, bad, "01")]

    assert [answer.certificate_status for answer in found] == [
        ocsp.OCSPCertStatus.GOOD,
        ocsp.OCSPCertStatus.REVOKED,
        ocsp.OCSPCertStatus.UNKNOWN,
    ]


@pytest.mark.parametrize("body", [b"", b"x", b"0\x00", b"x" * 65536])
def test_what_is_no_ocsp_request(listing: RunningService, body: bytes) -> None:
    """What cannot be read must be answered in the protocol's own words, whatever its type is."""
    for headers in (OCSP_REQUEST, {"Content-Type": "text/plain"}):
        answer = call(listing, OCSP, None, headers=headers, body=body)
        status = ocsp.load_der_ocsp_response(answer.body).response_status
        assert (answer.status, status) == (200, ocsp.OCSPResponseStatus.MALFORMED_REQUEST)


@pytest.mark.parametrize("encoded", ["x", "%00", "====", "a/b/c", "a%2F%2F", "%FF", "AAAA"])
def test_what_is_no_ocsp_request_in_a_path(listing: RunningService, encoded: str) -> None:
    """So must it be where the question stands in the path."""
    answer = listing.call("GET", f"{OCSP}/{encoded}")

    check_answer(answer, "GET", f"{OCSP}/{encoded}")
    assert ocsp.load_der_ocsp_response(answer.body).response_status == ocsp.OCSPResponseStatus.MALFORMED_REQUEST
