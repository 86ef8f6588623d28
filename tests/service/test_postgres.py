"""The service with its record in PostgreSQL: replicas that share it, and a server that goes away under load."""

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL, make_url

from postgres import PostgresCluster
from running_service import RunningService, free_port
from service.clients import Load, ask
from service.record import check_received, read_record
from service.workspaces import change_yaml, make_workspace, refusal_to_start

READINESS_SECONDS = 3.1  # what readiness has found is good for three


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    """Give a server of this module's own, which may be stopped."""
    made = PostgresCluster()
    yield made
    made.remove()


@pytest.fixture
def config(cluster: PostgresCluster, tmp_path: Path) -> Iterator[Path]:
    """Give the configuration of a service with a database of its own."""
    made = make_workspace(tmp_path / "kubemint")
    url = cluster.create_database()
    _keep_record_in(made, url)
    yield made
    cluster.drop_database(url)


def test_two_services_on_one_database(config: Path, tmp_path: Path) -> None:
    """Two services of two workers each, on one database, give no index twice and leave none out: one tree."""
    other = tmp_path / "other"
    shutil.copytree(config.parent, other)
    change_yaml(other / config.name, lambda settings: settings["server"].update(listen=f"127.0.0.1:{free_port()}"))
    first = RunningService(config.parent, config=config)
    second = RunningService(other, config=other / config.name)
    try:
        first.start(wait=False)  # both bring the tables up to date at once
        second.start()
        first.stop()
        first.start()
        with Load(first, size=8, requests=20) as one, Load(second, size=8, requests=20) as two:
            one.join()
            two.join()
        assert [(load.statuses, load.unanswered, load.cut) for load in (one, two)] == [([], 0, 0)] * 2
        received = one.received + two.received
        assert sorted(body["logIndex"] for body in received) == list(range(1, 321))
        record = check_received(second, received)
        assert record.kinds == ("policy-changed", *["issued"] * 320)
        # What one of them issued, the other one proves.
        path = f"/v1/certificates/{one.received[0]['serialNumber']}/receipt"
        assert second.call("GET", path, token="operator").status == 200
    finally:
        first.stop()
        second.stop()


def test_a_server_that_crashes_under_load(config: Path, cluster: PostgresCluster) -> None:
    """While the server is away there is 503; when it is back it goes on, and every certificate is on record."""
    with RunningService(config.parent, config=config) as service:
        workers = service.worker_pids
        with Load(service, size=8) as load:
            load.wait_for(40)
            cluster.stop("immediate")
            try:
                _wait_for_refusals(load)
                issued = len(load.received)
                answer = ask(service)
                assert (answer.status, answer.json()["code"]) == (503, "ledger-unavailable")
                assert answer.headers["Retry-After"]
                assert "postgres" not in answer.text.lower()
                time.sleep(READINESS_SECONDS)
                assert service.call("GET", "/readyz").status == 503
                assert service.call("GET", "/livez").status == 200
                assert service.call("GET", "/v1/certificates", token="operator").status == 503
                assert len(load.received) == issued
            finally:
                cluster.start()
            load.wait_for(issued + 40)
        time.sleep(READINESS_SECONDS)
        assert service.call("GET", "/readyz").status == 200
        assert service.worker_pids == workers
        assert set(load.statuses) == {503}
        assert (load.unanswered, load.cut) == (0, 0)
        record = check_received(service, load.received)
        # What is on record and was not received was committed when the server crashed, unheard, and answered 503.
        assert 0 <= record.kinds.count("issued") - len(load.received) <= 8


def test_workers_that_begin_while_the_server_is_away(config: Path, cluster: PostgresCluster) -> None:
    """A worker that takes another's place without a ledger stops nobody, and serves once the ledger is there."""
    with RunningService(config.parent, config=config) as service:
        assert ask(service).status == 201
        victim, other = service.worker_pids
        _wait(lambda: all(_has_begun(worker) for worker in (victim, other)))
        cluster.stop("immediate")
        try:
            os.kill(victim, signal.SIGKILL)
            _wait(lambda: "a worker cannot begin yet" in service.log_file.read_text())
            assert other in service.worker_pids
            assert service.call("GET", "/livez").status == 200
            os.kill(other, signal.SIGKILL)  # now there is none
            _wait(lambda: service.log_file.read_text().count("a worker cannot begin yet") >= 3)
            assert service.is_running
        finally:
            cluster.start()
        _wait(service.is_ready)
        assert ask(service).status == 201
        read_record(service).check()


def test_a_server_that_is_not_there_at_the_start(config: Path, cluster: PostgresCluster) -> None:
    """A start without the server ends with one line that says so; once it is there the same command serves."""
    service = RunningService(config.parent, config=config)
    cluster.stop("fast")
    try:
        assert "the ledger cannot be opened: " in refusal_to_start(service)
    finally:
        cluster.start()
    service.log_file.unlink()
    with service:
        assert ask(service).status == 201
        read_record(service).check()


def test_a_server_that_loses_commits_at_the_start(config: Path, cluster: PostgresCluster) -> None:
    """A server that says that commits are on its disk when they are not stops the start."""
    cluster.reload({"fsync": "off"})
    try:
        said = refusal_to_start(RunningService(config.parent, config=config))
        assert "ledger.url: the server has fsync switched off" in said
    finally:
        cluster.reload({"fsync": "on"})


def test_a_server_that_accepts_and_says_nothing(config: Path, cluster: PostgresCluster, tmp_path: Path) -> None:
    """Where another takes the server's place and never answers, there is 503 in bounded time."""
    folder = tmp_path / "place"
    folder.mkdir()
    place = folder / ".s.PGSQL.5432"
    place.symlink_to(cluster.socket)
    settings = make_url(str(_settings_url(config)))
    _keep_record_in(config, settings.set(query={"host": str(folder)}))
    with RunningService(config.parent, config=config) as service, socket.socket(socket.AF_UNIX) as silent:
        assert ask(service).status == 201
        place.unlink()
        silent.bind(str(place))
        silent.listen(100)
        cluster.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            f"WHERE datname = '{settings.database}' AND pid <> pg_backend_pid()"
        )
        began = time.monotonic()
        answer = ask(service, timeout=14)
        assert (answer.status, answer.json()["code"]) == (503, "ledger-unavailable")
        assert time.monotonic() - began < 13
        assert service.call("GET", "/livez").status == 200
        place.unlink()
        place.symlink_to(cluster.socket)
        _wait(lambda: ask(service, timeout=14).status == 201)  # who is waiting for the silent one gives up first


def _settings_url(config: Path) -> str:
    found: list[str] = []
    change_yaml(config, lambda settings: found.append(settings["ledger"]["url"]))
    return found[0]


def _keep_record_in(config: Path, url: URL) -> None:
    change_yaml(config, lambda settings: settings["ledger"].update(url=url.render_as_string()))


def _has_begun(worker: int) -> bool:
    """Tell whether a worker has opened the service, by the threads that watch policy, revocations and tables."""
    return len([*Path(f"/proc/{worker}/task").iterdir()]) >= 4


def _wait(until: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.1)


def _wait_for_refusals(load: Load, count: int = 20, seconds: float = 20.0) -> None:
    end, known = time.monotonic() + seconds, len(load.statuses)
    while len(load.statuses) < known + count:
        assert time.monotonic() < end, "the server is away and nobody says so"
        time.sleep(0.02)
