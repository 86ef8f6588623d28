"""What the running service answers about revocation is what the contract says, to those who may ask and others."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from commands.cli import kubemint
from contract.contract_file import check_answer, operation
from contract.csrs import csr_pem, key_pem
from running_service import Answer, RunningService, free_port

REVOKE = "/v1/revocations"
BY_KEY = "/v1/revocations/by-key"
AUTHORIZE = "/kubernetes/authorize"
OCSP = "/v1/ocsp"
JSON = {"Content-Type": "application/json"}
OCSP_REQUEST = {"Content-Type": "application/ocsp-request"}
STATEMENT = "kubemint:revoke-this-key"
NOBODY = "0" * 32
REVIEW = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {}}
CONFLICT = "revocation-conflict"

# what is wrong: path, who asks, what is sent, status, code
REFUSALS = {
    "everything": (REVOKE, "operator", {"json_body": {"select": {}}}, 409, CONFLICT),
    "a suspension of nobody": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"profile": "x"}, "suspendUntil": "2100-01-01T00:00:00Z"}},
        409,
        CONFLICT,
    ),
    "a suspension in the past": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"user": "x"}, "suspendUntil": "2000-01-01T00:00:00Z"}},
        409,
        CONFLICT,
    ),
    "nothing selected": (REVOKE, "operator", {"json_body": {}}, 400, "invalid-fields"),
    "an unknown selection": (REVOKE, "operator", {"json_body": {"select": {"name": "x"}}}, 400, "invalid-fields"),
    "an unknown reason": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"user": "x"}, "reason": "removeFromCRL"}},
        400,
        "invalid-fields",
    ),
    "a preview of 1": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"user": "x"}, "preview": 1}},
        400,
        "invalid-fields",
    ),
    "an empty note": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"user": "x"}, "note": ""}},
        400,
        "invalid-fields",
    ),
    "a moment before the first year": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"issuedSince": "0001-01-01T00:00:00+01:00"}}},
        400,
        "invalid-fields",
    ),
    "a moment after the last year": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"user": "x"}, "suspendUntil": "9999-12-31T23:59:59-01:00"}},
        400,
        "invalid-fields",
    ),
    "a query": (
        f"{REVOKE}?preview=true",
        "operator",
        {"json_body": {"select": {"user": "x"}}},
        400,
        "invalid-fields",
    ),
    "no JSON": (REVOKE, "operator", {"headers": JSON, "body": "{"}, 400, "invalid-document"),
    "no media type": (REVOKE, "operator", {"body": b"{}"}, 415, "unsupported-media-type"),
    "64 KiB and 1": (REVOKE, "operator", {"headers": JSON, "body": "x" * 65537}, 413, "body-too-large"),
    "what others asked for": (
        REVOKE,
        "requester",
        {"json_body": {"select": {"requester": "token:operator"}}},
        403,
        "not-permitted",
    ),
    "a suspension by a requester": (
        REVOKE,
        "requester",
        {"json_body": {"select": {"user": "x"}, "suspendUntil": "2100-01-01T00:00:00Z"}},
        403,
        "not-permitted",
    ),
    "a stranger": (REVOKE, None, {"json_body": {"select": {"user": "x"}}}, 401, "not-authenticated"),
    "lifting by a requester": (f"{REVOKE}/{NOBODY}/lift", "requester", {"json_body": {}}, 403, "not-permitted"),
    "lifting nothing": (f"{REVOKE}/{NOBODY}/lift", "operator", {"json_body": {}}, 404, "not-found"),
    "lifting no name": (f"{REVOKE}/ann/lift", "operator", {"json_body": {}}, 404, "no-such-path"),
    "lifting with a word more": (
        f"{REVOKE}/{NOBODY}/lift",
        "operator",
        {"json_body": {"x": 1}},
        400,
        "invalid-fields",
    ),
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
    "a question too long": (AUTHORIZE, "webhook", {"headers": JSON, "body": "x" * 65537}, 413, "body-too-large"),
    "an OCSP request too long": (
        OCSP,
        None,
        {"headers": OCSP_REQUEST, "body": b"x" * 65537},
        413,
        "body-too-large",
    ),
}
# what is wrong with the word of a key: what is sent, status, code
BAD_STATEMENTS = {
    "another subject": ({"json_body": {"csr": csr_pem("jane")}}, 422, "unacceptable-request"),
    "a group": ({"json_body": {"csr": csr_pem(STATEMENT, "x")}}, 422, "unacceptable-request"),
    "the key itself": ({"json_body": {"csr": key_pem()}}, 400, "malformed-request"),
    "no CSR": ({"json_body": {"note": "x"}}, 400, "invalid-fields"),
    "no JSON": ({"headers": JSON, "body": "{"}, 400, "invalid-document"),
    "a CSR in PEM": (
        {"headers": {"Content-Type": "application/x-pem-file"}, "body": "x"},
        415,
        "unsupported-media-type",
    ),
    "64 KiB and 1": ({"headers": JSON, "body": "x" * 65537}, 413, "body-too-large"),
    "a key of nobody": ({"json_body": {"csr": csr_pem(STATEMENT)}}, 404, "not-found"),
}
NO_PARTS = ("3/0", "4/4", "1024/0", "0/0", "1/1")


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Give a service that publishes parts of its list, and in which others' tests revoke nothing."""
    directory: Path = tmp_path_factory.mktemp("listing") / "kubemint"
    assert kubemint("init", "--directory", directory, "--port", str(free_port()), cwd=directory.parent).code == 0
    config = directory / "kubemint.yaml"
    settings = yaml.safe_load(config.read_text()) | {"crl": {"url": "https://kubemint.example"}}
    config.write_text(yaml.safe_dump(settings))
    with RunningService(directory, config=config) as running:
        yield running


def test_the_request_examples_work(listing: RunningService) -> None:
    """Each order that the contract shows must be served as it stands there, and be told as it describes."""
    issue(listing, "ann")
    examples = operation("POST", REVOKE).document["requestBody"]["content"]["application/json"]["examples"]
    answers = [call(listing, REVOKE, "operator", json_body=example["value"]) for example in examples.values()]
    shown = listing.call("GET", answers[2].headers["Location"], token="operator")
    page = listing.call("GET", f"{REVOKE}?limit=1", token="operator")

    assert [answer.status for answer in answers] == [201, 200, 201]
    check_answer(shown, "GET", answers[2].headers["Location"])
    check_answer(page, "GET", REVOKE)
    assert (page.json()["items"], "nextCursor" in page.json()) == ([answers[2].json()], True)
    assert shown.json() == answers[2].json()
    path = f"{answers[2].headers['Location']}/lift"
    lifted = call(listing, path, "operator", json_body={"note": "new laptop"})
    again = call(listing, path, "operator", json_body={})
    assert (lifted.json()["state"], lifted.json()["lifted"]["note"]) == ("lifted", "new laptop")
    assert (again.status, again.json()["code"]) == (409, CONFLICT)


def test_a_revoked_certificate_is_shown_as_such(listing: RunningService) -> None:
    """Its record must say by which revocation, alone and in lists; who may not see that one learns of none."""
    path = f"/v1/certificates/{issue(listing, 'bea')}"
    revoked = call(listing, REVOKE, "operator", json_body={"select": {"user": "bea"}}).json()
    record = listing.call("GET", path, token="requester")
    page = listing.call("GET", "/v1/certificates?state=revoked&user=bea", token="operator")
    hidden = listing.call("GET", f"{REVOKE}/{revoked['revocation']}", token="requester")

    check_answer(record, "GET", path)
    check_answer(page, "GET", "/v1/certificates")
    check_answer(hidden, "GET", f"{REVOKE}/{revoked['revocation']}")
    assert (record.json()["state"], record.json()["revocation"]["revocation"]) == (
        "revoked",
        revoked["revocation"],
    )
    assert page.json()["items"] == [record.json()]
    assert hidden.status == 404


def test_a_key_is_taken_back_by_whoever_has_it(listing: RunningService) -> None:
    """The key's word must be enough, twice be the same, and be told to operators as what it is."""
    issue(listing, "cleo")
    answers = [state(listing, json_body={"csr": statement_of("cleo"), "note": "found"}) for _ in range(2)]
    path = f"{REVOKE}/{answers[0].json()['revocation']}"
    shown = listing.call("GET", path, token="operator")

    check_answer(shown, "GET", path)
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert (shown.json()["method"], shown.json()["requester"].partition(":")[0]) == ("key", "key")
    assert shown.json()["blocksKeys"]
    refused = listing.call(
        "POST",
        "/v1/certificates",
        headers={"Content-Type": "application/x-pem-file"},
        body=csr_pem("cleo"),
        token="requester",
    )
    check_answer(refused, "POST", "/v1/certificates")
    assert [reason["code"] for reason in refused.json()["reasons"]] == ["key-revoked"]


@pytest.mark.parametrize(("sent", "status", "code"), BAD_STATEMENTS.values(), ids=BAD_STATEMENTS)
def test_a_word_of_a_key_that_does_not_count(listing: RunningService, sent: dict, status: int, code: str) -> None:
    """A CSR that does not say it, and a key that is in no certificate, must be told apart as the contract does."""
    answer = state(listing, **sent)

    assert (answer.status, answer.json()["code"]) == (status, code)


def test_strangers_are_paced(listing: RunningService) -> None:
    """Who asks too often must be told so, and when to come again."""
    answers = [call(listing, BY_KEY, None, json_body={}) for _ in range(40)]
    paced = [answer for answer in answers if answer.status == 429]

    assert {answer.status for answer in answers} == {400, 429}
    assert [reason["code"] for reason in paced[0].json()["reasons"]] == ["calls-too-many"]


@pytest.mark.parametrize(("path", "token", "sent", "status", "code"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal(
    listing: RunningService, path: str, token: str | None, sent: dict, status: int, code: str
) -> None:
    """Each way of asking wrongly must get the status, code and document that the contract says."""
    answer = call(listing, path, token, **sent)

    assert (answer.status, answer.json()["code"]) == (status, code)


def test_the_question_of_an_api_server(listing: RunningService) -> None:
    """A revoked credential must be denied, and nothing known of others; whatever an API server adds is let be."""
    serial_number = issue(listing, "dora")
    record = listing.call("GET", f"/v1/certificates/{serial_number}", token="operator").json()
    example = operation("POST", AUTHORIZE).document["requestBody"]["content"]["application/json"]["examples"]
    question = example["certificate"]["value"]
    question["spec"]["extra"] = {"authentication.kubernetes.io/credential-id": [record["credentialId"]]}
    before = call(listing, f"{AUTHORIZE}?timeout=30s", "webhook", json_body=question | {"added": {"later": [1]}})
    call(listing, REVOKE, "operator", json_body={"select": {"user": "dora"}})
    time.sleep(1)  # docs/revocation.md: known to each process within a second
    after = call(listing, AUTHORIZE, "webhook", json_body=question)

    assert before.json()["status"] == {"allowed": False, "denied": False}
    assert (after.json()["status"]["allowed"], after.json()["status"]["denied"]) == (False, True)
    assert "this certificate was revoked at" in after.json()["status"]["reason"]


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


def call(service: RunningService, path: str, token: str | None, **sent) -> Answer:
    """POST something, and hold the answer to the contract."""
    answer = service.call("POST", path, token=token, **sent)
    check_answer(answer, "POST", path.partition("?")[0])
    return answer


def state(service: RunningService, **sent) -> Answer:
    """Let a key speak, when it is a stranger's turn."""
    deadline = time.monotonic() + 15
    while (answer := call(service, BY_KEY, None, **sent)).status == 429 and time.monotonic() < deadline:
        time.sleep(int(answer.headers["Retry-After"]))
    return answer


def statement_of(user: str) -> str:
    """Make the word of the key that a user has."""
    return csr_pem(STATEMENT, key_of=user)


def issue(service: RunningService, user: str) -> str:
    """Get a certificate; give its serial number."""
    headers = {"Content-Type": "application/x-pem-file"}
    answer = service.call("POST", "/v1/certificates", headers=headers, body=csr_pem(user), token="requester")
    assert answer.status == 201, answer.text
    serial_number: str = answer.json()["serialNumber"]
    return serial_number


def ask(service: RunningService, method: str, serial_number: int) -> ocsp.OCSPResponse:
    """Ask about a certificate of the service's CA, and verify the answer."""
    authority = ca(service)
    names = ocsp.OCSPRequestBuilder().add_certificate(authority, authority, hashes.SHA1()).build()
    request = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        names.issuer_name_hash, names.issuer_key_hash, serial_number, hashes.SHA1()
    )
    request_der = request.build().public_bytes(Encoding.DER)
    if method == "POST":
        answer = call(service, OCSP, None, headers=OCSP_REQUEST, body=request_der)
    else:
        path = f"{OCSP}/{quote(base64.b64encode(request_der).decode(), safe='')}"
        answer = service.call("GET", path)
        check_answer(answer, "GET", path)
    response = ocsp.load_der_ocsp_response(answer.body)
    assert response.signature_hash_algorithm is not None
    authority.public_key().verify(
        response.signature, response.tbs_response_bytes, ec.ECDSA(response.signature_hash_algorithm)
    )
    return response


def ca(service: RunningService) -> x509.Certificate:
    """Give the CA of a service."""
    return x509.load_pem_x509_certificate(service.ca_file.read_bytes())
