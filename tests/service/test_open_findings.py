"""What the service does not do yet. A test that passes moves to the module that it names."""

import contextlib
import os
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from running_service import RunningService
from service.clients import PATIENCE_SECONDS, Crowd, ask, slowest_good_client
from service.hostile import BEHAVIOURS, FEW, OPEN
from service.limits import open_files


@pytest.mark.parametrize("name", OPEN)
def test_a_crowd_keeps_nobody_waiting(service: RunningService, name: str) -> None:
    """While many clients behave badly a new client gets its certificate at once. (test_slow_clients)"""
    with Crowd(service, BEHAVIOURS[name], FEW.get(name, 60)):
        assert slowest_good_client(service) < PATIENCE_SECONDS


def test_idle_connections_within_a_usual_limit_of_open_files(tmp_path: Path) -> None:
    """With 1,024 open files, a usual limit, idle clients keep nobody out. (test_slow_clients)"""
    with open_files(1024):
        service = RunningService(tmp_path / "kubemint").start()
    try:
        with open_files(8192), Crowd(service, _opens_forty, size=64):
            time.sleep(1.5)
            assert slowest_good_client(service) < PATIENCE_SECONDS
    finally:
        service.stop()


def test_a_worker_that_ends_takes_nothing_with_it(tmp_path: Path) -> None:
    """A worker that ends by itself or is told to end is replaced by one that issues. (test_kill)"""
    with RunningService(tmp_path / "kubemint") as service:
        os.kill(service.worker_pids[0], signal.SIGTERM)
        time.sleep(3)
        statuses = [ask(service).status for _ in range(8)]
        assert statuses == [201] * 8
        assert service.call("GET", "/metrics").status == 200


def test_tls_files_that_do_not_match_for_a_moment(tmp_path: Path) -> None:
    """While a certificate is replaced before its key the service goes on with the old pair. (test_tls)"""
    with RunningService(tmp_path / "kubemint") as service:
        workers = set(service.worker_pids)
        service.tls_context()
        good = service.tls_ca_file.read_bytes()
        service.tls_ca_file.write_bytes(service.ca_file.read_bytes())
        try:
            slowest = slowest_good_client(service, 1.0)
        finally:
            service.tls_ca_file.write_bytes(good)
        assert slowest < PATIENCE_SECONDS
        assert set(service.worker_pids) == workers


def test_a_locked_ledger_holds_up_nothing_else(impatient: RunningService) -> None:
    """Who waits for a locked ledger waits about lockWait, and probes wait for nothing. (test_ledger_trouble)"""
    with contextlib.closing(sqlite3.connect(impatient.ledger_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(16) as clients:
            began = time.monotonic()
            waits = [clients.submit(ask, impatient, timeout=14) for _ in range(16)]
            time.sleep(0.3)
            probed = time.monotonic()
            assert impatient.call("GET", "/livez").status == 200
            probe_seconds = time.monotonic() - probed
            assert {wait.result().status for wait in waits} == {503}
            seconds = time.monotonic() - began
    assert ask(impatient).status == 201
    assert probe_seconds < 1
    assert seconds < 3  # lockWait is one second


def _opens_forty(crowd: Crowd) -> None:
    for _ in range(40):
        crowd.tcp()
    crowd.hold()
