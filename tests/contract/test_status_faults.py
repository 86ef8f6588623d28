"""What an OCSP client and a reader of lists meet in a fault is what the contract says, and it leaves a trace."""

import base64
import dataclasses
import logging
from collections.abc import Iterator
from email.message import Message
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.x509 import ocsp
from flask.testing import FlaskClient

from contract.contract_file import check_answer
from contract.revoking import OCSP, OCSP_REQUEST
from csrs import private_key
from issuance.faulty_keys import Raises
from kubemint import config
from kubemint.errors import LedgerUnavailable
from kubemint.metrics import OCSP_ANSWERS
from kubemint.revocation_lists import RevocationLists
from kubemint.web.app import create_app
from kubemint.wiring import Service, open_service
from kubemint.x509.issuer import Issuer
from revocation.ledgers import MemoryLedger
from revocation.records import DAY, LISTING_USAGES, question
from running_service import Answer, RunningService
from x509.authorities import issuer_of


class LedgerAway(MemoryLedger):
    """A ledger that knows of no certificate whether it is there."""

    def of_serial(self, serial_number: str) -> None:
        """Fail."""
        raise LedgerUnavailable("away")


@pytest.fixture(scope="module")
def opened(service: RunningService) -> Iterator[Service]:
    """Give what serves over the configuration of the running service."""
    made = open_service(config.load(service.directory / "kubemint.yaml"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def listing_issuer(opened: Service) -> Issuer:
    """Give a CA that may sign lists."""
    return issuer_of("ecdsa-p256", opened.clock(), usages=LISTING_USAGES)


def counted() -> dict[str, float]:
    """Give how many answers came to what."""
    (family,) = OCSP_ANSWERS.collect()
    return {each.labels["outcome"]: each.value for each in family.samples if each.name.endswith("_total")}


def client_of(opened: Service, issuer: Issuer, ledger: MemoryLedger) -> FlaskClient:
    lists = RevocationLists(issuer, ledger, DAY, "https://kubemint.test", opened.clock)
    return create_app(dataclasses.replace(opened, revocation_lists=lists)).test_client()


# what fails: the key signs, the ledger is there, what the client is told, the code in the log
FAULTS: dict[str, tuple[bool, bool, str, str]] = {
    "the ledger": (True, False, "TRY_LATER", "ledger-unavailable"),
    "the key": (False, True, "INTERNAL_ERROR", "signing-failed"),
}


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(("key_signs", "ledger_is_there", "status", "code"), FAULTS.values(), ids=FAULTS)
def test_an_ocsp_question_in_a_fault(
    opened: Service,
    listing_issuer: Issuer,
    caplog: pytest.LogCaptureFixture,
    method: str,
    key_signs: bool,
    ledger_is_there: bool,
    status: str,
    code: str,
) -> None:
    """The client is told with 200, which nobody may keep; an error with the request's id and a code is written."""
    issuer = listing_issuer
    if not key_signs:
        issuer = dataclasses.replace(issuer, key=Raises(private_key("ecdsa-p256", "issuer")))
    client = client_of(opened, issuer, MemoryLedger() if ledger_is_there else LedgerAway())
    outcome, before = status.lower().replace("_", "-"), counted()
    sent: dict[str, Any] = {"data": question(issuer), "headers": OCSP_REQUEST | {"X-Request-Id": "a-question"}}
    path = OCSP
    if method == "GET":
        path = f"{OCSP}/{quote(base64.b64encode(sent.pop('data')).decode(), safe='')}"
    with caplog.at_level(logging.ERROR):
        answer = client.open(path, method=method, **sent)
    told = ocsp.load_der_ocsp_response(answer.data).response_status
    assert (answer.status_code, told.name, answer.headers["Cache-Control"]) == (200, status, "no-store")
    (line,) = [vars(record) for record in caplog.records]
    assert (line["msg"], line["levelno"]) == ("OCSP question not answered", logging.ERROR)
    assert (line["requestId"], line["code"]) == ("a-question", code)
    assert line["exc_info"] is not None
    assert counted() == before | {outcome: before.get(outcome, 0) + 1}


def got(client: FlaskClient, path: str) -> Answer:
    """GET something, and hold the answer to the contract."""
    response = client.get(path, headers={"X-Request-Id": "a-question"})
    headers = Message()
    for name, value in response.headers:
        headers[name] = value
    answer = Answer(status=response.status_code, headers=headers, body=response.data)
    check_answer(answer, "GET", path)
    return answer


@pytest.mark.parametrize("path", ["/v1/crl", "/v1/crl/2/1"])
def test_a_list_that_is_being_signed(
    opened: Service, listing_issuer: Issuer, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """The reader is told so and when to ask again, which is no error in the log; then the list is there."""
    ledger = MemoryLedger()
    client = client_of(opened, listing_issuer, ledger)
    ledger.open.clear()
    with caplog.at_level(logging.ERROR):
        answer = got(client, path)
    ledger.open.set()
    assert (answer.status, answer.json()["code"], answer.headers["Retry-After"]) == (503, "list-not-ready", "1")
    assert "being signed" in answer.json()["detail"]
    assert caplog.records == []
    assert got(client, path).status == 200


@pytest.mark.parametrize(
    ("what", "status", "code"), [("ledger", 503, "ledger-unavailable"), ("mistake", 500, "internal")]
)
def test_a_list_in_a_fault(
    opened: Service, listing_issuer: Issuer, caplog: pytest.LogCaptureFixture, what: str, status: int, code: str
) -> None:
    """Each who asks is told what it is, a mistake as one of the service, and has a line with the request's id."""
    ledger = MemoryLedger(is_away=what == "ledger")
    client = client_of(opened, listing_issuer, ledger)
    if what == "mistake":
        del ledger.open
    with caplog.at_level(logging.ERROR):
        answers = [got(client, "/v1/crl") for _ in range(2)]
    assert [(answer.status, answer.json()["code"]) for answer in answers] == [(status, code)] * 2
    lines = [vars(record) for record in caplog.records]
    assert [line["code"] for line in lines] == [code] * 3
    assert [line["message"] for line in lines] == ["revocation list not renewed", *["request failed"] * 2]
    assert {line["requestId"] for line in lines[1:]} == {"a-question"}


def test_ocsp_answers_are_counted(opened: Service, listing_issuer: Issuer) -> None:
    """Each answer is counted once, by what it comes to."""
    client, before = client_of(opened, listing_issuer, MemoryLedger()), counted()
    for body in (question(listing_issuer), b"no request"):
        assert client.post(OCSP, data=body, headers=OCSP_REQUEST).status_code == 200
    more = {name: number - before.get(name, 0) for name, number in counted().items()}
    assert {name: number for name, number in more.items() if number} == {"unknown": 1, "malformed-request": 1}
