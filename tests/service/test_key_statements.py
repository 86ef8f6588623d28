"""Revoking a key over HTTP by its possession: strangers may, at a measured pace, and learn nothing."""

from collections.abc import Iterator
from typing import Any

import pytest

from csrs import KEY_TYPES, good_csr, pem, private_key
from running_service import Answer, RunningService
from service.record import read_ledger
from service.revoking import Office, make_office

STATEMENT = "kubemint:revoke-this-key"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Serve developers, an operator and an auditor."""
    config = make_office(tmp_path_factory.mktemp("revocation") / "kubemint")
    with RunningService(config.parent, config=config) as service:
        yield Office(service=service)


def _codes(answer: Answer) -> list[str]:
    return [reason["code"] for reason in answer.json().get("reasons", [])]


def _size(office: Office) -> int:
    return read_ledger(office.service.ledger_file).size


def _state_key(office: Office, key: Any, user: str = STATEMENT, **said: Any) -> Answer:
    body = {"csr": pem(good_csr(key, user, ())).decode(), **said}
    return office.service.call("POST", "/v1/revocations/by-key", json_body=body)


def test_a_stranger_with_a_key(office: Office) -> None:
    """Who proves a key needs no token, learns that it is revoked and since when, and nothing else, ever again."""
    key = private_key("ecdsa-p256", "found")
    body = office.issue("mallory", key="found")
    first = _state_key(office, key, note="in a bucket")
    assert first.status == 201, first.text
    assert first.json().keys() == {"revocation", "time", "state"}
    assert "Location" not in first.headers
    size = _size(office)
    again = _state_key(office, key, note="in another bucket")
    assert (again.status, again.json()) == (201, first.json())
    assert _size(office) == size
    record = office.service.call("GET", f"/v1/certificates/{body['serialNumber']}", token="siem").json()
    assert record["state"] == "revoked"
    assert office.service.call("GET", f"/v1/revocations/{first.json()['revocation']}").status == 401


def test_a_stranger_and_what_an_operator_said(office: Office) -> None:
    """What an operator wrote when it revoked the key is not told to a stranger who has it."""
    key = private_key("ecdsa-p256", "known")
    body = office.issue("mike", key="known")
    record = office.service.call("GET", f"/v1/certificates/{body['serialNumber']}", token="siem").json()
    office.revoked(publicKeySha256=record["publicKeySha256"], note="stolen from mike's laptop")
    answer = _state_key(office, key)
    assert answer.status == 201, answer.text
    assert "mike" not in answer.text
    assert "operator" not in answer.text


@pytest.fixture
def calm_office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Serve strangers who have not asked yet, by one worker: each counts by itself."""
    config = make_office(
        tmp_path_factory.mktemp("calm") / "kubemint", lambda settings: settings["server"].update(workers=1)
    )
    with RunningService(config.parent, config=config) as service:
        yield Office(service=service)


def test_statements_that_are_refused(calm_office: Office) -> None:
    """A key of nobody is 404, a CSR for something else 422, no CSR 400; nothing is recorded; too many are 429."""
    key, size = private_key("ecdsa-p256"), _size(calm_office)
    calm_office.issue("jane")
    assert _state_key(calm_office, private_key("ecdsa-p256", "nobody")).status == 404
    other = _state_key(calm_office, key, "jane")
    assert (other.status, _codes(other)) == (422, ["key-statement-missing"])
    for body, status in (
        ({"csr": "garbage"}, 400),
        ({}, 400),
        ({"csr": "\ud800"}, 400),
        ({"csr": "x", "why": ""}, 400),
    ):
        answer = calm_office.service.call("POST", "/v1/revocations/by-key", json_body=body)
        assert answer.status == status, answer.text
    assert _size(calm_office) == size + 1
    answers = [_state_key(calm_office, key, "jane") for _ in range(25)]
    slowed = [answer for answer in answers if answer.status == 429]
    assert slowed
    assert _codes(slowed[0]) == ["calls-too-many"]
    assert int(slowed[0].headers["Retry-After"]) >= 1
    assert calm_office.ask("joe").status == 201


def test_statements_of_every_kind_of_key(calm_office: Office) -> None:
    """A key of any kind that gets certificates may be revoked by who holds it."""
    for kind in sorted(KEY_TYPES):
        key = private_key(kind)
        csr = good_csr(key, "jane", ())
        headers = {"Content-Type": "application/pkcs10"}
        answer = calm_office.service.call("POST", "/v1/certificates", body=csr, headers=headers, token="requester")
        assert answer.status == 201, answer.text
        assert _state_key(calm_office, key).status == 201
