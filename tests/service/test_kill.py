"""kill -9 under load: whoever holds a certificate finds it in the ledger (promise P1)."""

import os
import signal
from pathlib import Path

import pytest

from running_service import RunningService
from service.clients import Load, ask, wait_until_replaced
from service.record import check_received


def test_kill_of_workers(tmp_path: Path) -> None:
    """When workers are killed one after the other the service goes on, and no certificate is off the record."""
    with RunningService(tmp_path / "kubemint") as service:
        first = set(service.worker_pids)
        with Load(service) as load:
            for victim in sorted(first):
                load.wait_for(len(load.received) + 60)
                os.kill(victim, signal.SIGKILL)
                wait_until_replaced(service, victim)
            load.wait_for(len(load.received) + 60)
        assert load.statuses == []
        assert not first & set(service.worker_pids)
        record = check_received(service, load.received)
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
        record = check_received(service, load.received)
        assert 0 <= len(record.indexes) - len(load.received) <= load.unanswered + load.cut
        with Load(service, requests=5) as again:
            again.join()
        assert len(again.received) == 80
        check_received(service, load.received + again.received)
    finally:
        service.stop()


def test_two_workers_and_sixteen_clients(tmp_path: Path) -> None:
    """Sixteen clients that ask two workers at once see no error, and the ledger no gap and no duplicate."""
    with RunningService(tmp_path / "kubemint") as service:
        with Load(service, requests=30) as load:
            load.join()
        assert (load.statuses, load.unanswered, load.cut) == ([], 0, 0)
        assert len(load.received) == 480
        record = check_received(service, load.received)
        # The first entry tells of the policy.
        assert sorted(body["logIndex"] for body in load.received) == list(range(1, 481))
        assert record.kinds == ("policy-changed", *["issued"] * 480)
        assert sorted(line["logIndex"] for line in service.decisions()) == list(range(1, 481))
        assert len({line["requestId"] for line in service.decisions()}) == 480


def test_a_worker_that_is_told_to_end(tmp_path: Path) -> None:
    """A worker that ends is replaced by one that issues, and takes nothing of the others' with it."""
    with RunningService(tmp_path / "kubemint") as service:
        victim = service.worker_pids[0]
        os.kill(victim, signal.SIGTERM)
        wait_until_replaced(service, victim)
        assert [ask(service).status for _ in range(8)] == [201] * 8
        assert service.call("GET", "/metrics").status == 200
