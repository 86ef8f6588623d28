"""A ledger that cannot be written: no certificate, 503, and no restart needed when it is well again."""

import contextlib
import errno
import math
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kubemint import config as settings
from running_service import RunningService
from service.clients import Load, ask
from service.record import check_received, read_ledger
from service.workspaces import make_workspace


def test_a_ledger_locked_by_another_process(impatient: RunningService) -> None:
    """While another process holds the lock there is 503 with Retry-After, and nothing is handed out unlogged."""
    assert ask(impatient).status == 201
    with contextlib.closing(sqlite3.connect(impatient.ledger_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        answer = ask(impatient, timeout=10)
        assert time.monotonic() - began < 3
        assert answer.status == 503, answer.text
        assert answer.headers["Retry-After"]
        assert answer.json()["code"] == "ledger-unavailable"
        time.sleep(3.1)  # what readiness has found is good for three seconds
        assert impatient.call("GET", "/readyz").status == 503
        assert impatient.call("GET", "/livez").status == 200
        assert impatient.call("GET", "/v1/certificates", token="operator").status == 200
        other.execute("ROLLBACK")
    assert ask(impatient).status == 201
    time.sleep(3.1)
    assert impatient.call("GET", "/readyz").status == 200
    record = read_ledger(impatient.ledger_file)
    record.check()
    assert record.kinds == ("policy-changed", "issued", "issued")


def test_a_locked_ledger_holds_up_nothing_else(impatient: RunningService) -> None:
    """Who waits for a locked ledger waits about lockWait for each round of threads, and probes wait for less."""
    clients = 16
    with contextlib.closing(sqlite3.connect(impatient.ledger_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(clients) as pool:
            began = time.monotonic()
            waits = [pool.submit(ask, impatient, timeout=14) for _ in range(clients)]
            time.sleep(0.3)
            probed = time.monotonic()
            assert impatient.call("GET", "/livez").status == 200
            probe_seconds = time.monotonic() - probed
            assert {wait.result().status for wait in waits} == {503}
            seconds = time.monotonic() - began
    assert ask(impatient).status == 201
    assert probe_seconds < 1
    assert seconds < _longest_wait(impatient, clients)


def _longest_wait(service: RunningService, clients: int) -> float:
    """Give the seconds in which all clients should have given up: lockWait for each round of threads, and one.

    A round is counted by the threads of one worker, because one worker may have got all the clients; and
    there may be one more, for those who came just when another round had been given up.
    """
    config = settings.load(service.directory / "kubemint.yaml")
    rounds = math.ceil(clients / config.server.threads) + 1
    return rounds * config.ledger.lock_wait.total_seconds() + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give the folder of a disk of four mebibytes."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    if shutil.which("mount") is None:
        pytest.skip("this machine has no mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk))
    done = subprocess.run(mount, capture_output=True, text=True, timeout=10, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(("umount", "--lazy", str(disk)), check=True, timeout=10)


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """While the ledger's disk is full there is 503; with room again the service goes on, and all is on record."""
    directory = make_workspace(tmp_path / "kubemint").parent
    ledger = directory / "ledger.db"
    shutil.move(ledger, small_disk / "ledger.db")
    ledger.symlink_to(small_disk / "ledger.db")
    with RunningService(directory) as service:
        with Load(service, size=4) as load:
            load.wait_for(40)
            ballast = _fill(small_disk)
            _wait_for_refusals(load)
            issued = len(load.received)
            answer = ask(service)
            assert (answer.status, answer.json()["code"]) == (503, "ledger-unavailable")
            assert "disk" not in answer.text
            assert service.call("GET", "/livez").status == 200
            assert len(load.received) == issued
            ballast.unlink()
            load.wait_for(issued + 40)
        assert set(load.statuses) == {503}
        assert (load.unanswered, load.cut) == (0, 0)
        record = check_received(service, load.received)
        assert record.kinds.count("issued") == len(load.received)  # nor is there one that nobody has
        assert len(service.decisions()) == len(load.received)


def _fill(disk: Path) -> Path:
    """Write until nothing more fits; give the file."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        for _ in range(4096):
            try:
                stream.write(bytes(4096))
            except OSError as fault:
                if fault.errno != errno.ENOSPC:
                    raise
                return ballast
    raise AssertionError("the disk is not small")


def _wait_for_refusals(load: Load, count: int = 20, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while len(load.statuses) < count:
        assert time.monotonic() < end, "the disk is full and nobody says so"
        time.sleep(0.02)
