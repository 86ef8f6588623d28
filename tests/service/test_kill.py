"""kill -9 under load: whoever holds a certificate finds it in the ledger (promise P1)."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from running_service import RunningService
from service.clients import Load, Record, pages, read_ledger


def _check_received(service: RunningService, received: list[dict[str, Any]]) -> Record:
    """Fail unless every certificate that came is on record, in the file and through the API."""
    record = read_ledger(service.ledger_file)
    record.check()
    serials = {body["serialNumber"] for body in received}
    credentials = {body["credentialId"] for body in received}
    assert len(serials) == len(credentials) == len(received)
    assert serials <= {f["serialNumber"] for f in record.fields if f["kind"] == "issued"}
    assert {serial.lstrip("0") for serial in serials} <= set(record.serial_numbers)
    assert credentials <= set(record.credential_ids)
    listed = {item["serialNumber"]: item for item in pages(service)}
    for body in received:
        assert listed[body["serialNumber"]]["credentialId"] == body["credentialId"]
        assert listed[body["serialNumber"]]["logIndex"] == body["logIndex"]
    for body in received[:: max(1, len(received) // 10)]:
        for identifier in (body["serialNumber"], body["credentialId"]):
            answer = service.call("GET", f"/v1/certificates/{identifier}", token="operator")
            assert answer.json()["certificate"] == body["certificate"]
    return record


def test_kill_of_workers(tmp_path: Path) -> None:
    """When workers are killed one after the other the service goes on, and no certificate is off the record."""
    with RunningService(tmp_path / "kubemint") as service:
        first = set(service.worker_pids)
        with Load(service) as load:
            for victim in sorted(first):
                load.wait_for(len(load.received) + 60)
                os.kill(victim, signal.SIGKILL)
                _wait_until_replaced(service, victim)
            load.wait_for(len(load.received) + 60)
        assert load.statuses == []
        assert not first & set(service.worker_pids)
        record = _check_received(service, load.received)
        # What is on record and was not received is what the killed workers had under way.
        assert 0 <= len(record.indexes) - len(load.received) <= load.unanswered + load.cut


@pytest.mark.parametrize("after", [40, 150])
def test_kill_of_the_whole_service(tmp_path: Path, after: int) -> None:
    """When the whole service is killed and started again every certificate received is on record, once."""
    service = RunningService(tmp_path / "kubemint").start()
    try:
        with Load(service) as load:
            load.wait_for(after)
            service.kill()
        service.start()
        record = _check_received(service, load.received)
        assert 0 <= len(record.indexes) - len(load.received) <= load.unanswered + load.cut
        with Load(service, requests=5) as again:
            again.join()
        assert len(again.received) == 80
        _check_received(service, load.received + again.received)
    finally:
        service.stop()


def test_two_workers_and_sixteen_clients(tmp_path: Path) -> None:
    """Sixteen clients that ask two workers at once see no error, and the ledger no gap and no duplicate."""
    with RunningService(tmp_path / "kubemint") as service:
        with Load(service, requests=30) as load:
            load.join()
        assert (load.statuses, load.unanswered, load.cut) == ([], 0, 0)
        assert len(load.received) == 480
        record = _check_received(service, load.received)
        assert sorted(body["logIndex"] for body in load.received) == list(range(480))
        assert len(record.indexes) == 480
        assert sorted(line["logIndex"] for line in service.decisions()) == list(range(480))
        assert len({line["requestId"] for line in service.decisions()}) == 480


def _wait_until_replaced(service: RunningService, victim: int, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while victim in service.worker_pids or len(service.worker_pids) < 2:
        assert time.monotonic() < end, "no new worker"
        time.sleep(0.05)
