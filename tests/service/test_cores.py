"""Workers and cores: a worker stays on one, and no two share one while there are enough."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from kubemint.web.cores import choose_core
from running_service import RunningService
from service.clients import wait_until_replaced
from service.workspaces import change_yaml, make_workspace

CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 0

pytestmark = pytest.mark.skipif(CORES < 2, reason="this machine has no two cores that a process may be bound to")


def _cores(service: RunningService) -> list[set[int]]:
    """Give the cores of every thread of every worker."""
    return [
        set().union(*(os.sched_getaffinity(int(task.name)) for task in Path(f"/proc/{worker}/task").iterdir()))
        for worker in service.worker_pids
    ]


def test_each_worker_has_a_core_of_its_own(tmp_path: Path) -> None:
    """All threads of a worker are on its core, and a worker that takes another's place takes its core."""
    with RunningService(tmp_path / "kubemint") as service:
        before = _cores(service)
        assert [len(cores) for cores in before] == [1, 1]
        assert before[0] != before[1]
        victim = service.worker_pids[0]
        os.kill(victim, 9)
        wait_until_replaced(service, victim)
        assert service.call("GET", "/readyz").status == 200
        assert sorted(map(sorted, _cores(service))) == sorted(map(sorted, before))


def test_not_bound(tmp_path: Path) -> None:
    """Where the configuration says so, workers go where the system puts them."""
    config = make_workspace(tmp_path / "kubemint")
    change_yaml(config, lambda settings: settings["server"].update(pinWorkers=False))
    with RunningService(config.parent, config=config) as service:
        assert _cores(service) == [os.sched_getaffinity(0)] * 2


def test_more_workers_than_cores() -> None:
    """Workers are spread evenly when there are not enough cores."""
    arbiter = SimpleNamespace(WORKERS={})
    for number in range(3 * CORES):
        worker = SimpleNamespace()
        choose_core(arbiter, worker)
        arbiter.WORKERS[number] = worker
    taken = [worker.core for worker in arbiter.WORKERS.values()]
    assert {taken.count(core) for core in os.sched_getaffinity(0)} == {3}
