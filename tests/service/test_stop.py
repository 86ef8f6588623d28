"""SIGTERM: what was begun is finished, and then the service is gone."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from running_service import RunningService
from service.clients import Load, ask, request_head, tls_client
from service.record import read_ledger


def _stop(service: RunningService, times: int = 1) -> tuple[int, float]:
    """Send SIGTERM and wait; give the exit code and the seconds it took."""
    process, began = service.pid, time.monotonic()
    for _ in range(times):
        os.kill(process, signal.SIGTERM)
        time.sleep(0.1)
    code = service.stop()
    assert code is not None
    return code, time.monotonic() - began


@pytest.mark.parametrize("times", [1, 2])
def test_stop_under_load(tmp_path: Path, times: int) -> None:
    """Every request that was issued for is answered whole, and the exit code is 0, however often it is told."""
    with RunningService(tmp_path / "kubemint") as service:
        with Load(service) as load:
            load.wait_for(100)
            code, seconds = _stop(service, times)
        assert (code, load.cut, load.statuses) == (0, 0, [])
        assert seconds < 10
        record = read_ledger(service.ledger_file)
        record.check()
        issued = {fields["serialNumber"] for fields in record.fields if fields["kind"] == "issued"}
        assert issued == {body["serialNumber"] for body in load.received}  # none was issued for nobody


def test_stop_when_idle(tmp_path: Path) -> None:
    """A service that has nothing to do stops within a few seconds, kept-alive connections or not."""
    with RunningService(tmp_path / "kubemint") as service:
        with tls_client(service) as client:
            client.sendall(request_head(method="GET", path="/livez") + b"\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
            code, seconds = _stop(service)
        assert (code, seconds < 5) == (0, True)


def test_stop_waits_for_a_request_that_has_begun(tmp_path: Path) -> None:
    """A request whose first half came before SIGTERM is answered when its second half comes."""
    with RunningService(tmp_path / "kubemint") as service, tls_client(service) as client:
        client.sendall(request_head(method="GET", path="/v1/ca"))
        time.sleep(0.3)
        os.kill(service.pid, signal.SIGTERM)
        time.sleep(1)
        client.sendall(b"\r\n")
        answer = client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"\r\nConnection: close\r\n" in answer
        assert service.stop() == 0


def test_a_port_in_use(tmp_path: Path) -> None:
    """A service whose port is taken says so and ends with an exit code that is not 0."""
    with RunningService(tmp_path / "one") as first:
        second = RunningService(tmp_path / "two", port=first.port).start(wait=False)
        try:
            code = second._process.wait(30)  # type: ignore[union-attr]
        except subprocess.TimeoutExpired:
            second.kill()
            pytest.fail("it is still trying")
        assert code != 0
        assert "in use" in second.log_file.read_text()
        assert ask(first).status == 201
