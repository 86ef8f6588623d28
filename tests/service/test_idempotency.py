"""Idempotency-Key: who asks again, because no answer came, gets the certificate that there is already."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from csrs import good_csr, pem
from running_service import Answer, RunningService
from service.clients import CSR, ask
from service.record import read_ledger
from service.workspaces import change_yaml, make_workspace

REPLAYED = "Idempotency-Replayed"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve two requesters of one profile."""
    config = make_workspace(tmp_path_factory.mktemp("idempotency") / "kubemint")
    requesters = [{"token": "requester"}, {"token": "operator"}]
    change_yaml(
        config.with_name("policy.yaml"),
        lambda policy: policy["profiles"]["developers"].update(requesters=requesters),
    )
    with RunningService(config.parent, config=config) as running:
        yield running


def _ask(service: RunningService, key: str, **options: object) -> Answer:
    headers = {"Idempotency-Key": key, **options.pop("headers", {})}  # type: ignore[dict-item]  # always a mapping
    return ask(service, headers=headers, **options)  # type: ignore[arg-type]  # as `ask` has them


def _size(service: RunningService) -> int:
    record = read_ledger(service.ledger_file)
    record.check()
    return record.size


def test_the_same_request_again(service: RunningService) -> None:
    """The same request under the same key gives the same certificate, and says that it is not a new one."""
    first, size = _ask(service, "again"), _size(service)
    second = _ask(service, "again")
    assert (first.status, first.headers[REPLAYED]) == (201, None)
    assert (second.status, second.headers[REPLAYED]) == (201, "true")
    assert second.json() == first.json()
    assert second.headers["Location"] == first.headers["Location"]
    assert _size(service) == size


def test_without_a_key(service: RunningService) -> None:
    """The same request without a key is another request, and gets another certificate."""
    assert ask(service).json()["serialNumber"] != ask(service).json()["serialNumber"]


def test_eight_at_once(service: RunningService) -> None:
    """Eight that ask at once under one key get one certificate, which one of them is told is new."""
    before, start = _size(service), Barrier(8)

    def ask_with_the_others() -> Answer:
        start.wait(10)
        return _ask(service, "at-once")

    with ThreadPoolExecutor(8) as clients:
        answers = [each.result() for each in [clients.submit(ask_with_the_others) for _ in range(8)]]
    assert [answer.status for answer in answers] == [201] * 8
    assert len({answer.body for answer in answers}) == 1
    assert sorted(str(answer.headers[REPLAYED]) for answer in answers) == ["None"] + ["true"] * 7
    assert _size(service) == before + 1
    serial_number = answers[0].json()["serialNumber"]
    assert [line.get("serialNumber") for line in service.decisions()].count(serial_number) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"body": good_csr(user="mary")},
        {"body": pem(CSR), "headers": {"Content-Type": "application/x-pem-file"}},
        {"path": "/v1/certificates?expirationSeconds=600"},
        {"path": "/v1/certificates?profile=developers"},
    ],
    ids=["another CSR", "another form", "another lifetime", "another profile"],
)
def test_another_request(service: RunningService, other: dict[str, object]) -> None:
    """Another request under a key that was used gets 409 and no certificate; the first keeps its own."""
    key = f"other-{_size(service)}"
    first, size = _ask(service, key), _size(service)
    conflict = _ask(service, key, **other)
    assert (conflict.status, conflict.json()["code"]) == (409, "idempotency-conflict")
    assert first.json()["serialNumber"] not in conflict.text
    assert _size(service) == size
    assert _ask(service, key).json() == first.json()


def test_another_requester(service: RunningService) -> None:
    """The same key of another requester is another key: nobody gets what somebody else asked for."""
    mine = _ask(service, "shared")
    theirs = _ask(service, "shared", headers={"Authorization": f"Bearer {service.token('operator')}"})
    assert (theirs.status, theirs.headers[REPLAYED]) == (201, None)
    assert theirs.json()["serialNumber"] != mine.json()["serialNumber"]


def test_after_a_refusal(service: RunningService) -> None:
    """A key whose request was refused stands for nothing: the request that is put right gets its certificate."""
    assert _ask(service, "mended", body=good_csr(groups=["admins"])).status == 403
    assert _ask(service, "mended").status == 201


@pytest.mark.parametrize("key", ["", " ", "two words", "a" * 256, "k\xe9y"], ids=repr)
def test_a_key_that_is_none(service: RunningService, key: str) -> None:
    """A key that is empty, too long or has other characters is refused, and nothing is issued."""
    before = _size(service)
    answer = _ask(service, key)
    assert (answer.status, answer.json()["code"]) == (400, "invalid-fields")
    assert _size(service) == before


def test_after_kill_9(service: RunningService) -> None:
    """A key outlives the service: who asks again after the service was killed gets the same certificate."""
    first = _ask(service, "killed")
    service.kill()
    service.start()
    assert _ask(service, "killed").json() == first.json()
