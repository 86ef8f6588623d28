"""Standard output that nobody reads, and a client that sends its requests in a row."""

import os
import subprocess
import sys
import time
from pathlib import Path

from csrs import bad_csr
from running_service import RunningService, free_port
from service.clients import slowest_good_client, tls_client

REFUSALS = 150  # of some 700 octets: more than the 64 KiB that a pipe holds


def test_output_that_nobody_reads_holds_up_nobody(tmp_path: Path) -> None:
    """A full pipe costs lines, which are counted, and never an answer."""
    service = RunningService(tmp_path / "kubemint", port=free_port())
    reading, writing = os.pipe()
    command = (
        sys.executable,
        "-m",
        "kubemint",
        "dev",
        "--directory",
        str(service.directory),
        "--port",
        str(service.port),
    )
    with service.log_file.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writing, stderr=log)
    try:
        _wait_until_ready(service)
        headers = {"Authorization": f"Bearer {service.token()}", "Content-Type": "application/pkcs10"}
        for _ in range(REFUSALS):
            answer = service.call("POST", "/v1/certificates", body=bad_csr("SAN"), headers=headers)
            assert answer.status == 422
        assert slowest_good_client(service, 1.0) < 1
        metrics = service.call("GET", "/metrics").text
        (lost,) = [line for line in metrics.splitlines() if line.startswith("kubemint_audit_line_faults_total")]
        assert float(lost.split()[-1]) > 0
    finally:
        process.terminate()
        assert process.wait(15) == 0
        os.close(reading)
        os.close(writing)


def test_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    """SIGINT to the whole group, as a terminal sends it, stops the service within seconds."""
    with RunningService(tmp_path / "kubemint") as service:
        began = time.monotonic()
        os.killpg(service.pid, 2)
        assert service.stop() == 0
        assert time.monotonic() - began < 8


def _wait_until_ready(service: RunningService) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if service.call("GET", "/readyz").status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("not ready")


def test_requests_in_a_row_let_others_in_between(tmp_path: Path) -> None:
    """Clients that send hundreds of requests without waiting do not keep the threads to themselves."""
    burst = b"GET /v1/ca HTTP/1.1\r\nHost: a\r\n\r\n" * 300
    with RunningService(tmp_path / "kubemint") as service:
        greedy = [tls_client(service) for _ in range(16)]
        try:
            for client in greedy:
                client.sendall(burst)
            assert slowest_good_client(service, 1.0) < 2
        finally:
            for client in greedy:
                client.close()
