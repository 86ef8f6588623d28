"""What the running service answers is what the contract says, member by member."""

import pytest
import yaml

from contract.contract_file import (
    check_answer,
    check_response,
    contract,
    operation,
    operations,
)
from contract.csrs import csr_der, csr_pem, key_pem
from running_service import Answer, RunningService

PEM = {"Content-Type": "application/x-pem-file"}
DER = {"Content-Type": "application/pkcs10"}
JSON = {"Content-Type": "application/json"}
YAML = {"Content-Type": "application/yaml"}
AS_PEM = {"Accept": "application/pem-certificate-chain"}
SUBMITTING = ("/v1/certificates", "/v1/decisions")
JANE = csr_pem("jane", "developers", "team-a")
OWN = {"csr": JANE}
UNSUPPORTED = "unsupported-media-type"

REQUEST_EXAMPLES = [
    pytest.param(found.path, media_type, example["value"], id=f"{found.path} {media_type} {name}")
    for found in operations()
    if found.path in SUBMITTING  # the others need what must be there before, and are tried with it
    for media_type, content in found.document.get("requestBody", {}).get("content", {}).items()
    for name, example in content.get("examples", {}).items()
]

CREATE = ("POST", "/v1/certificates")
DECIDE = ("POST", "/v1/decisions")
LIST = ("GET", "/v1/certificates")


def pem(body: str, **headers: str) -> dict:
    """Send a body as PEM."""
    return {"headers": PEM | headers, "body": body}


# what is wrong: method and path, query, what is sent, status, code
REFUSALS = {
    "no body": (CREATE, "", {"headers": PEM}, 400, "malformed-request"),
    "two CSRs": (CREATE, "", pem(JANE + JANE), 400, "malformed-request"),
    "a private key": (DECIDE, "", pem(JANE + key_pem()), 400, "malformed-request"),
    "no JSON": (CREATE, "", {"headers": JSON, "body": "{"}, 400, "invalid-document"),
    "a member twice": (DECIDE, "", {"headers": JSON, "body": '{"csr": "", "csr": ""}'}, 400, "invalid-document"),
    "a YAML alias": (DECIDE, "", {"headers": YAML, "body": "a: &a 1\nb: *a"}, 400, "invalid-document"),
    "a list": (CREATE, "", {"json_body": []}, 400, "invalid-fields"),
    "text for a number": (
        CREATE,
        "",
        {"json_body": OWN | {"expirationSeconds": "600"}},
        400,
        "invalid-fields",
    ),
    "half a character": (CREATE, "", {"json_body": OWN | {"profile": "\ud800"}}, 400, "invalid-fields"),
    "an unknown member": (DECIDE, "", {"json_body": OWN | {"ca": True}}, 400, "invalid-fields"),
    "a query beside JSON": (CREATE, "?profile=developers", {"json_body": OWN}, 400, "invalid-fields"),
    "an unknown parameter": (DECIDE, "?ca=true", pem(JANE), 400, "invalid-fields"),
    "a lifetime twice": (CREATE, "?expirationSeconds=60&expirationSeconds=61", pem(JANE), 400, "invalid-fields"),
    "a key with a space": (CREATE, "", pem(JANE, **{"Idempotency-Key": "a b"}), 400, "invalid-fields"),
    "an unknown filter": (LIST, "?serial=1", {}, 400, "invalid-fields"),
    "a filter twice": (LIST, "?user=a&user=b", {}, 400, "invalid-fields"),
    "a limit twice": (LIST, "?limit=1&limit=2", {}, 400, "invalid-fields"),
    "a page too long": (LIST, "?limit=501", {}, 400, "invalid-fields"),
    "a wrong token": (CREATE, "", pem(JANE, Authorization="Bearer kubemint_wrong"), 401, "not-authenticated"),
    "another scheme": (CREATE, "", pem(JANE, Authorization="Basic YTpi"), 401, "not-authenticated"),
    "system:masters": (CREATE, "", pem(csr_pem("eve", "system:masters")), 403, "refused"),
    "too long a life": (CREATE, "?expirationSeconds=86401", pem(JANE), 403, "refused"),
    "others' records": (LIST, "?requester=token:operator", {}, 403, "not-permitted"),
    "an unknown serial": (("GET", "/v1/certificates/00ff"), "", {}, 404, "not-found"),
    "no serial at all": (("GET", "/v1/certificates/jane"), "", {}, 404, "not-found"),
    "no cluster": (("GET", "/v1/cluster"), "", {}, 404, "not-found"),
    "no such file": (("GET", "/docs/secret.js"), "", {}, 404, "no-such-path"),
    "1 MiB": (CREATE, "", pem("x" * 2**20), 413, "body-too-large"),
    "64 KiB and 1": (DECIDE, "", pem("x" * 65537), 413, "body-too-large"),
    "plain text": (CREATE, "", {"headers": {"Content-Type": "text/plain"}, "body": JANE}, 415, UNSUPPORTED),
    "no media type": (DECIDE, "", {"body": JANE.encode()}, 415, UNSUPPORTED),
    "an OU": (CREATE, "", pem(csr_pem("jane", unit="sales")), 422, "unacceptable-request"),
}


@pytest.mark.parametrize(("path", "media_type", "example"), REQUEST_EXAMPLES)
def test_a_request_example_works(service: RunningService, path: str, media_type: str, example) -> None:
    """Each request that the contract shows must be served as it stands there."""
    write = {"application/json": None, "application/yaml": yaml.safe_dump}.get(media_type, str)
    sent = {"json_body": example} if write is None else {"body": write(example)}

    answer = service.call("POST", path, headers={"Content-Type": media_type}, token="requester", **sent)

    assert answer.status in {200, 201}
    check_answer(answer, "POST", path)


def test_the_parameter_examples_of_the_list_work(service: RunningService) -> None:
    """The filters that the contract shows must be accepted together."""
    parameters = operation("GET", "/v1/certificates").parameters("query").values()
    query = "&".join(f"{parameter['name']}={parameter['example']}" for parameter in parameters)

    answer = service.call("GET", f"/v1/certificates?{query}", token="operator")

    assert answer.status == 200
    check_answer(answer, "GET", "/v1/certificates")


@pytest.mark.parametrize("path", SUBMITTING)
def test_the_parameter_examples_beside_a_csr_work(service: RunningService, path: str) -> None:
    """The query and headers that the contract shows must be accepted beside a CSR."""
    posted = operation("POST", path)
    query = "&".join(f"{name}={found['example']}" for name, found in posted.parameters("query").items())
    headers = {name: found["example"] for name, found in posted.parameters("header").items()}

    answer = service.call("POST", f"{path}?{query}", headers=PEM | headers, body=JANE, token="requester")

    assert answer.status in {200, 201}
    check_answer(answer, "POST", path)


@pytest.mark.parametrize("path", SUBMITTING)
def test_a_der_csr_works(service: RunningService, path: str) -> None:
    """A CSR in DER, which no example can hold, must be served too."""
    answer = service.call("POST", path, headers=DER, body=csr_der("jane", "viewers"), token="requester")

    assert answer.status in {200, 201}
    check_answer(answer, "POST", path)


@pytest.mark.parametrize("path", ["/v1/certificates", "/v1/ca"])
def test_bare_pem_on_request(service: RunningService, path: str) -> None:
    """Who accepts PEM alone must get PEM alone."""
    method, body = ("POST", JANE) if path == "/v1/certificates" else ("GET", None)

    answer = service.call(method, path, headers=PEM | AS_PEM, body=body, token="requester")

    assert answer.headers.get_content_type() == "application/pem-certificate-chain"
    check_answer(answer, method, path)


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/ca", "/v1/policy", "/livez", "/readyz", "/metrics", "/openapi.yaml"),
        *("/docs", "/docs/docs.js", "/docs/swagger-ui.css", "/docs/docs.html", "/docs/VENDORED.md"),
    ],
)
def test_what_can_be_read(service: RunningService, path: str) -> None:
    """Each document of the service must be what the contract says."""
    answer = service.call("GET", path, token="requester")

    assert answer.status == 200
    check_answer(answer, "GET", path)


def test_a_record_is_found_where_the_answer_says(service: RunningService) -> None:
    """Location, serial number and credential id must lead to one record, as the contract describes it."""
    issued = service.call("POST", "/v1/certificates", headers=PEM, body=JANE, token="requester")
    names = [issued.json()["serialNumber"], issued.json()["serialNumber"].upper(), issued.json()["credentialId"]]

    answers = [service.call("GET", issued.headers["Location"], token="requester")]
    answers += [service.call("GET", f"/v1/certificates/{name}", token="operator") for name in names]

    for answer in answers:
        check_answer(answer, "GET", issued.headers["Location"])
        assert answer.json()["certificate"] == issued.json()["certificate"]


def test_pages_and_refusals_are_listed(service: RunningService) -> None:
    """Both kinds of records, and the cursor between pages, must be as the contract describes them."""
    for csr in (JANE, JANE, csr_pem("eve", "system:masters"), csr_pem("jane", unit="sales"), "no CSR"):
        service.call("POST", "/v1/certificates", headers=PEM, body=csr, token="requester")

    first = service.call("GET", "/v1/certificates?limit=1", token="requester")
    cursor = first.json()["nextCursor"]
    second = service.call("GET", f"/v1/certificates?limit=1&cursor={cursor}", token="requester")
    refused = service.call("GET", "/v1/certificates?state=refused&limit=3", token="operator")

    for answer in (first, second, refused):
        check_answer(answer, "GET", "/v1/certificates")
    assert first.json()["items"][0]["logIndex"] > second.json()["items"][0]["logIndex"]
    assert ["subject" in record for record in refused.json()["items"]] == [False, True, False]


def test_decisions_of_both_kinds(service: RunningService) -> None:
    """A granted and a refused dry run must both be answers, as the contract describes them."""
    granted = service.call("POST", "/v1/decisions", headers=PEM, body=JANE, token="requester")
    refused = service.call("POST", "/v1/decisions", headers=PEM, body=JANE, token="operator")

    for answer in (granted, refused):
        check_answer(answer, "POST", "/v1/decisions")
    assert [granted.json()["verdict"], refused.json()["verdict"]] == ["granted", "refused"]


def test_an_idempotency_key_repeats_and_conflicts(service: RunningService) -> None:
    """A retry must get the same certificate and say so; another request under the key must be a conflict."""
    first, again = (_with_key(service, "one-request", JANE) for _ in range(2))
    other = _with_key(service, "one-request", csr_pem("joe"))

    for answer in (first, again, other):
        check_answer(answer, "POST", "/v1/certificates")
    assert first.json() == again.json()
    assert [answer.headers["Idempotency-Replayed"] for answer in (first, again)] == [None, "true"]
    assert (other.status, other.json()["code"]) == (409, "idempotency-conflict")


@pytest.mark.parametrize(("call", "query", "sent", "status", "code"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal(service: RunningService, call: tuple, query: str, sent: dict, status: int, code: str) -> None:
    """Each way of asking wrongly must get the status, code and document that the contract says."""
    method, path = call

    answer = service.call(method, path + query, token="requester", **sent)

    assert (answer.status, answer.json()["code"]) == (status, code)
    check_answer(answer, method, path)
    assert answer.json()["requestId"] == answer.headers["X-Request-Id"]
    assert answer.json()["type"] == f"urn:kubemint:problem:{code}"


def test_a_stranger_is_refused(service: RunningService) -> None:
    """Without any proof of identity, the answer must be the 401 of the contract."""
    answer = service.call("POST", "/v1/certificates", headers=PEM, body=JANE)

    assert (answer.status, answer.json()["code"]) == (401, "not-authenticated")
    check_answer(answer, "POST", "/v1/certificates")


def test_a_body_sent_in_chunks_is_bounded_too(service: RunningService) -> None:
    """A body without a Content-Length must be refused when it is too large, never cut."""
    connection = service.connect()
    headers = PEM | {"Authorization": f"Bearer {service.token()}"}
    pieces = [JANE.encode(), b"\n" * 70_000, JANE.encode()]
    try:
        connection.request("POST", "/v1/certificates", body=iter(pieces), headers=headers, encode_chunked=True)
        response = connection.getresponse()
        answer = Answer(status=response.status, headers=response.headers, body=response.read())
    finally:
        connection.close()

    assert (answer.status, answer.json()["code"]) == (413, "body-too-large")


@pytest.mark.parametrize("path", ["/", "/v1", "/livez/", "/v1/certificates/", "/v1//certificates", "/docs/../x"])
def test_an_unknown_path(service: RunningService, path: str) -> None:
    """A path that the contract does not have must be a problem document too, not a redirection."""
    answer = service.call("GET", path, token="requester")

    assert (answer.status, answer.json()["code"]) == (404, "no-such-path")
    check_response(answer, contract()["components"]["responses"]["NoSuchPath"])


@pytest.mark.parametrize("path", sorted({found.sample_path for found in operations()}))
@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE"])
def test_another_method(service: RunningService, method: str, path: str) -> None:
    """A method that a path does not have must be a problem document with Allow."""
    answer = service.call(method, path, token="requester")

    assert (answer.status, answer.json()["code"]) == (405, "method-not-allowed")
    check_response(answer, contract()["components"]["responses"]["MethodNotAllowed"])


def _with_key(service: RunningService, key: str, csr: str) -> Answer:
    headers = PEM | {"Idempotency-Key": key}
    return service.call("POST", "/v1/certificates", headers=headers, body=csr, token="requester")
