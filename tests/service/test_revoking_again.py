"""Idempotency-Key over HTTP, where something is taken back: a retry is answered, and not recorded."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from running_service import Answer, RunningService
from service.record import read_ledger
from service.revoking import Office, make_office

REPLAYED = "Idempotency-Replayed"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Serve those who take back."""
    config = make_office(tmp_path_factory.mktemp("again") / "kubemint")
    with RunningService(config.parent, config=config) as service:
        yield Office(service=service)


def _post(office: Office, path: str, key: str, body: dict[str, Any], token: str = "operator") -> Answer:
    headers = {"Idempotency-Key": key}
    return office.service.call("POST", path, json_body=body, headers=headers, token=token)


def _size(office: Office) -> int:
    return read_ledger(office.service.ledger_file).size


def test_a_revocation_and_its_end(office: Office) -> None:
    """The same call again gives the same answer, says so, and leaves neither an entry nor a line."""
    wish = {"select": {"user": "jane"}, "reason": "certificateHold"}
    first = _post(office, "/v1/revocations", "r", wish)
    size = _size(office)
    again = _post(office, "/v1/revocations", "r", wish)
    assert (first.status, first.headers[REPLAYED]) == (201, None)
    assert (again.status, again.headers[REPLAYED]) == (201, "true")
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    name = first.json()["revocation"]
    path = f"/v1/revocations/{name}/lift"
    lifted, lifted_again = (_post(office, path, "l", {"note": "found"}) for _ in range(2))
    assert (lifted.status, lifted.headers[REPLAYED]) == (200, None)
    assert (lifted_again.status, lifted_again.headers[REPLAYED]) == (200, "true")
    assert lifted_again.json() == lifted.json()
    assert _size(office) == size + 1
    lines = map(json.loads, office.service.output_file.read_text().splitlines())
    assert sorted(line["kind"] for line in lines if line.get("revocation") == name) == ["reinstated", "revoked"]


def test_a_requester_whose_answer_was_lost(office: Office) -> None:
    """A requester's retry gets what it was to get; the same under another key, 404, for nothing is left."""
    office.issue("joan", token="other")
    wish = {"select": {"user": "joan"}}
    first, again = (_post(office, "/v1/revocations", "q", wish, "other") for _ in range(2))
    assert (first.status, again.status, again.headers[REPLAYED]) == (201, 201, "true")
    assert again.json() == first.json()
    size = _size(office)
    answer = _post(office, "/v1/revocations", "p", wish, "other")
    assert (answer.status, answer.json()["code"]) == (404, "not-found")
    assert _size(office) == size


def test_another_call(office: Office) -> None:
    """Another call under the key gets 409, and nothing is recorded."""
    assert _post(office, "/v1/revocations", "o", {"select": {"user": "jane"}}).status == 201
    size = _size(office)
    answer = _post(office, "/v1/revocations", "o", {"select": {"user": "joe"}})
    assert (answer.status, answer.json()["code"]) == (409, "idempotency-conflict")
    assert _size(office) == size


@pytest.mark.parametrize("key", ["", "two words", "a" * 256], ids=repr)
def test_a_key_that_is_none(office: Office, key: str) -> None:
    """A key that is none is refused, and nothing is recorded."""
    size = _size(office)
    for path in ("/v1/revocations", f"/v1/revocations/{'0' * 32}/lift"):
        answer = _post(office, path, key, {} if path.endswith("lift") else {"select": {"user": "jane"}})
        assert (answer.status, answer.json()["code"]) == (400, "invalid-fields")
    assert _size(office) == size


def test_after_kill_9(office: Office) -> None:
    """A key outlives the service."""
    first = _post(office, "/v1/revocations", "k", {"select": {"user": "jim"}})
    office.service.kill()
    office.service.start()
    again = _post(office, "/v1/revocations", "k", {"select": {"user": "jim"}})
    assert again.json() == first.json()
