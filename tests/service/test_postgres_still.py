"""A PostgreSQL that stands still, and refuses nothing: probes are answered, and who asks is told soon."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postgres import PostgresCluster
from running_service import RunningService
from service.clients import Load, ask
from service.record import check_received
from service.workspaces import change_yaml, make_workspace

pytestmark = pytest.mark.alone
CLIENTS, THREADS = 32, 16
STILL_SECONDS = 12.0  # longer than a statement may take, and than it takes to give up a connection
LIVE_SECONDS = 2.5  # 1.2 to find out that nobody is there, and a machine that does other things too
ANSWER_SECONDS = 4.0


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    """Give a server of this test's own."""
    made = PostgresCluster()
    yield made
    made.remove()


@contextmanager
def still(cluster: PostgresCluster) -> Iterator[None]:
    """Let every process of the server stand still, while a `with` lasts."""
    children = Path(f"/proc/{cluster.pid}/task/{cluster.pid}/children").read_text().split()
    stopped = [cluster.pid]
    os.kill(cluster.pid, signal.SIGSTOP)  # first, so that it has no more children
    try:
        for pid in map(int, children):
            try:
                os.kill(pid, signal.SIGSTOP)
            except ProcessLookupError:
                continue
            stopped.append(pid)
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def test_a_server_that_stands_still_under_load(cluster: PostgresCluster, tmp_path: Path) -> None:
    """With more clients than threads, probes must be answered within seconds, and all be well afterwards."""
    config = make_workspace(tmp_path / "kubemint")
    url = cluster.create_database().render_as_string()
    change_yaml(config, lambda settings: settings["ledger"].update(url=url))
    change_yaml(config, lambda settings: settings["server"].update(workers=1, threads=THREADS))
    with RunningService(config.parent, config=config) as service:
        workers = service.worker_pids
        with Load(service, size=CLIENTS) as load:
            load.wait_for(100)
            with still(cluster):
                lived, readied, answered = _probe(service, time.monotonic() + STILL_SECONDS)
            load.wait_for(len(load.received) + 100)
        assert max(lived) < LIVE_SECONDS
        assert max(readied) < ANSWER_SECONDS
        assert max(answered) < ANSWER_SECONDS
        assert set(load.statuses) == {503}
        assert (load.unanswered, load.cut) == (0, 0)
        assert service.worker_pids == workers
        check_received(service, load.received)


def _probe(service: RunningService, end: float) -> tuple[list[float], list[float], list[float]]:
    """Give the seconds of each /livez, /readyz and request for a certificate until the end."""
    lived, readied, answered = [], [], []
    while time.monotonic() < end:
        began = time.monotonic()
        assert service.call("GET", "/livez").status == 200
        lived.append(time.monotonic() - began)
        began = time.monotonic()
        service.call("GET", "/readyz")
        readied.append(time.monotonic() - began)
        began = time.monotonic()
        assert ask(service, timeout=14).status == 503
        answered.append(time.monotonic() - began)
    return lived, readied, answered
