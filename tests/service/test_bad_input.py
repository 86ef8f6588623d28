"""Bad input: a clear problem, a record where something was judged, and a service that goes on."""

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from csrs import BAD_CSRS, BadCsr, good_csr, pem
from kubemint.authentication.tokens import load_tokens, new_token, save_tokens
from running_service import Answer, RunningService
from service.clients import CSR, ask
from service.record import read_ledger

_PEM, _DER, _JSON, _YAML = "application/x-pem-file", "application/pkcs10", "application/json", "application/yaml"
_CSR_TEXT = pem(CSR).decode()


def _ours(**fields: object) -> bytes:
    return json.dumps({"csr": _CSR_TEXT} | fields).encode()


def _kubernetes(**fields: object) -> bytes:
    spec = {
        "request": b64encode(pem(CSR)).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
    }
    kind = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
    return json.dumps(kind | {"spec": spec | fields}).encode()


# What is in the body, its media type → status, the problem's code, and words that must be in the problem.
_BODIES: dict[str, tuple[bytes, str, int, str, str]] = {
    "wrong media type": (CSR, "text/plain", 415, "unsupported-media-type", _PEM),
    "no media type": (CSR, "", 415, "unsupported-media-type", _PEM),
    "form": (b"csr=x", "application/x-www-form-urlencoded", 415, "unsupported-media-type", _PEM),
    "no body as JSON": (b"", _JSON, 400, "invalid-document", "not JSON"),
    "no body as YAML": (b"", _YAML, 400, "invalid-fields", ""),
    "no JSON": (b"{", _JSON, 400, "invalid-document", "not JSON"),
    "JSON that is not UTF-8": (b'{"csr": "\xff"}', _JSON, 400, "invalid-document", "not JSON"),
    "JSON without end of depth": (b"[" * 60_000, _JSON, 400, "invalid-document", "not JSON"),
    "a list": (b"[]", _JSON, 400, "invalid-fields", ""),
    "duplicate JSON keys": (b'{"csr": "a", "csr": "b"}', _JSON, 400, "invalid-document", "'csr' is repeated"),
    "duplicate YAML keys": (b"kind: a\nkind: b\n", _YAML, 400, "invalid-document", "line 2"),
    "YAML alias": (b"kind: &a x\nspec: *a\n", _YAML, 400, "invalid-document", "aliases"),
    "unknown field": (_ours(isCA=True), _JSON, 400, "invalid-fields", "isCA"),
    "unknown field of Kubernetes": (_kubernetes(isCA=True), _JSON, 400, "invalid-fields", "spec.isCA"),
    "CSR missing": (b"{}", _JSON, 400, "invalid-fields", "csr"),
    "CSR is a number": (_ours(csr=1), _JSON, 400, "invalid-fields", "csr"),
    "expirationSeconds 0": (_ours(expirationSeconds=0), _JSON, 400, "invalid-fields", "expirationSeconds"),
    "expirationSeconds -1": (_ours(expirationSeconds=-1), _JSON, 400, "invalid-fields", "expirationSeconds"),
    "expirationSeconds 1e9": (_ours(expirationSeconds=1e9), _JSON, 400, "invalid-fields", "expirationSeconds"),
    "expirationSeconds 1e30": (_ours(expirationSeconds=10**30), _JSON, 400, "invalid-fields", "expirationSeconds"),
    'expirationSeconds "600"': (_ours(expirationSeconds="600"), _JSON, 400, "invalid-fields", "expirationSeconds"),
    "expirationSeconds true": (_ours(expirationSeconds=True), _JSON, 400, "invalid-fields", "expirationSeconds"),
    "spec.expirationSeconds 0": (
        _kubernetes(expirationSeconds=0),
        _JSON,
        400,
        "invalid-fields",
        "spec.expirationSeconds",
    ),
    "spec.expirationSeconds -1": (
        _kubernetes(expirationSeconds=-1),
        _JSON,
        400,
        "invalid-fields",
        "spec.expirationSeconds",
    ),
    "spec.expirationSeconds below Kubernetes' 600": (
        _kubernetes(expirationSeconds=599),
        _JSON,
        400,
        "invalid-fields",
        "spec.expirationSeconds",
    ),
    'spec.expirationSeconds "600"': (
        _kubernetes(expirationSeconds="600"),
        _JSON,
        400,
        "invalid-fields",
        "spec.expirationSeconds",
    ),
    "another signer": (_kubernetes(signerName="x.io/y"), _JSON, 400, "invalid-fields", "spec.signerName"),
    "usage of a server": (_kubernetes(usages=["server auth"]), _JSON, 400, "invalid-fields", "spec.usages"),
}

_QUERIES = ("0", "-1", "1e9", "%22600%22", "600.0", "+600", "", "600&expirationSeconds=601")

# What is in the body, its media type → the reason's code.
_NOT_ONE_CSR: dict[str, tuple[bytes, str, str]] = {
    "no body as PEM": (b"", _PEM, "csr-not-one"),
    "no body as DER": (b"", _DER, "csr-missing"),
    "two CSRs in one file": (pem(CSR) + pem(good_csr(user="eve")), _PEM, "csr-not-one"),
    "DER as PEM": (CSR, _PEM, "csr-not-one"),
    "PEM as DER": (pem(CSR), _DER, "csr-undecodable"),
    "a private key": (pem(b"secret", "PRIVATE KEY") + pem(CSR), _PEM, "private-key-sent"),
    "empty text in JSON": (_ours(csr="x"), _JSON, "csr-not-one"),
    "no CSR in a Kubernetes object": (_kubernetes(request=""), _JSON, "csr-not-one"),
}


@pytest.fixture
def unharmed(service: RunningService) -> Iterator[RunningService]:
    """Give the service; afterwards it still issues, its ledger is whole, and nothing was its own fault."""
    yield service
    assert ask(service).status == 201
    read_ledger(service.ledger_file).check()
    assert [line for line in service.log_lines() if line["level"] == "error" or line.get("status", 0) >= 500] == []


@pytest.mark.parametrize("name", _BODIES)
def test_a_body_that_is_no_request(unharmed: RunningService, name: str) -> None:
    """What cannot be read as a request gets a problem that names the place, and nothing is decided."""
    body, media_type, status, code, words = _BODIES[name]
    before = read_ledger(unharmed.ledger_file).size
    answer = ask(unharmed, body=body, headers={"Content-Type": media_type})
    problem = _problem(answer, status, code)
    assert words in json.dumps(problem)
    assert read_ledger(unharmed.ledger_file).size == before


@pytest.mark.parametrize("seconds", _QUERIES)
def test_a_lifetime_in_the_query_that_is_none(unharmed: RunningService, seconds: str) -> None:
    """A lifetime beside a CSR must be digits, once, and in range."""
    answer = ask(unharmed, path=f"/v1/certificates?expirationSeconds={seconds}")
    errors = _problem(answer, 400, "invalid-fields")["errors"]
    assert [error["path"].partition(".")[0] for error in errors] == ["expirationSeconds"]


def test_a_lifetime_beyond_the_policy(unharmed: RunningService) -> None:
    """A lifetime of a thousand million seconds is refused by the policy; it is never cut to what is allowed."""
    answer = ask(unharmed, path="/v1/certificates?expirationSeconds=1000000000")
    reasons = _problem(answer, 403, "refused")["reasons"]
    assert {reason["code"] for reason in reasons} == {"lifetime-too-long"}
    _assert_on_record(unharmed, reasons)


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with its length", "in chunks"])
def test_a_body_of_a_mebibyte(unharmed: RunningService, is_chunked: bool) -> None:
    """A body that is larger than any CSR gets 413, however it is sent."""
    octets = bytes(1024 * 1024)
    connection = unharmed.connect()
    headers = {"Content-Type": _PEM, "Authorization": f"Bearer {unharmed.token()}"}
    body: Any = (octets[at : at + 8192] for at in range(0, len(octets), 8192)) if is_chunked else octets
    try:
        connection.request("POST", "/v1/certificates", body=body, headers=headers, encode_chunked=is_chunked)
        response = connection.getresponse()
        answer = Answer(status=response.status, headers=response.headers, body=response.read())
    finally:
        connection.close()
    _problem(answer, 413, "body-too-large")


@pytest.mark.parametrize("name", _NOT_ONE_CSR)
def test_what_is_not_one_csr(unharmed: RunningService, name: str) -> None:
    """A body that is not exactly one CSR is refused with the reason, on record."""
    body, media_type, code = _NOT_ONE_CSR[name]
    answer = ask(unharmed, body=body, headers={"Content-Type": media_type})
    reasons = _problem(answer, 400, "malformed-request")["reasons"]
    assert [reason["code"] for reason in reasons] == [code]
    _assert_on_record(unharmed, reasons)


def test_a_certificate_in_place_of_a_csr(unharmed: RunningService) -> None:
    """A certificate is no CSR, and the problem says that it is one."""
    answer = ask(unharmed, body=unharmed.ca_file.read_bytes(), headers={"Content-Type": _PEM})
    reasons = _problem(answer, 400, "malformed-request")["reasons"]
    assert [reason["code"] for reason in reasons] == ["csr-wrong-pem"]
    assert "CERTIFICATE" in reasons[0]["message"]
    _assert_on_record(unharmed, reasons)


@pytest.mark.parametrize("bad", BAD_CSRS, ids=lambda bad: bad.name)
def test_a_csr_that_nobody_should_sign(unharmed: RunningService, bad: BadCsr) -> None:
    """A bad CSR is refused with all the reasons against it, and they are on record."""
    answer = ask(unharmed, body=bad.build())
    status, code = (400, "malformed-request") if bad.malformed else (422, "unacceptable-request")
    reasons = _problem(answer, status, code)["reasons"]
    assert {reason["code"] for reason in reasons} == bad.codes
    _assert_on_record(unharmed, reasons)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Bearer kubemint_wrong",
        "Basic {token}",
        "{token}",
        "Bearer {token}x",
        "Bearer {token}, Bearer {token}",
        "Bearer \xe9",
        f"Bearer {'a' * 7000}",
    ],
    ids=lambda value: repr(value)[:30],
)
def test_no_proof(unharmed: RunningService, authorization: str | None) -> None:
    """Without a token that is right there is 401, which says how to prove oneself, and nothing is decided."""
    before = read_ledger(unharmed.ledger_file).size
    value = None if authorization is None else authorization.replace("{token}", unharmed.token())
    headers = {"Content-Type": _DER} | ({} if value is None else {"Authorization": value})
    answer = unharmed.call("POST", "/v1/certificates", body=CSR, headers=headers)
    _problem(answer, 401, "not-authenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert read_ledger(unharmed.ledger_file).size == before


def test_a_token_that_expires(unharmed: RunningService) -> None:
    """A token works until it expires, and then no more."""
    file = unharmed.directory / "tokens.yaml"
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
    unverified_token, record = new_token("brief", expires)
    save_tokens(file, (*load_tokens(file), record))
    headers = {"Authorization": f"Bearer {unverified_token}"}
    statuses: list[int] = []
    while datetime.now(UTC) < expires + timedelta(seconds=0.5):
        status = unharmed.call("GET", "/v1/policy", headers=headers).status
        assert (status == 401) or datetime.now(UTC) < expires + timedelta(seconds=0.3)
        statuses.append(status)
        time.sleep(0.1)
    assert (200 in statuses, statuses[-1]) == (True, 401)


def test_system_masters(unharmed: RunningService) -> None:
    """Who asks for system:masters is refused by name: in the answer, the log, the ledger, on standard output."""
    answer = ask(unharmed, body=good_csr(user="eve", groups=["system:masters"]))
    reasons = _problem(answer, 403, "refused")["reasons"]
    forbidden = next(reason for reason in reasons if reason["code"] == "name-forbidden")
    assert "system:masters" in forbidden["message"]
    assert forbidden["path"] == "hard-rules.forbidden"
    _assert_on_record(unharmed, reasons)
    logged = unharmed.call("GET", "/v1/certificates?state=refused&user=eve", token="operator").json()["items"][0]
    line = json.loads(unharmed.output_file.read_bytes().splitlines()[-1])
    for told in (logged, line):
        assert (told["user"], told["groups"], told["reasons"]) == ("eve", ["system:masters"], reasons)
        assert told["requester"] == "token:requester"
    assert (logged["state"], line["kind"]) == ("refused", "refused")
    assert line["requestId"] == answer.headers["X-Request-Id"]


def _problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """Fail unless the answer is this problem; give it."""
    assert answer.status == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:kubemint:problem:{code}"
    assert problem["requestId"] == answer.headers["X-Request-Id"]
    assert problem["detail"]
    return problem


def _assert_on_record(service: RunningService, reasons: list[dict[str, str]]) -> None:
    """Fail unless the last entry of the ledger is this refusal."""
    record = read_ledger(service.ledger_file)
    assert record.kinds[-1] == "refused"
    assert record.fields[-1]["reasons"] == reasons
    assert "certificate" not in record.fields[-1]
