"""What the service answers when it cannot do its work, and what it tells of its cluster."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from contract.contract_file import check_answer
from contract.csrs import csr_pem
from running_service import Answer, RunningService, free_port


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Give a service that waits one second for its ledger, and knows a cluster."""
    directory: Path = tmp_path_factory.mktemp("impatient") / "kubemint"
    options = ("--port", str(free_port()), "--cluster-server", "https://10.0.0.10:6443")
    subprocess.run((sys.executable, "-m", "kubemint", "init", "--directory", directory, *options), check=True)
    config = directory / "kubemint.yaml"
    settings = yaml.safe_load(config.read_text())
    settings["ledger"]["lockWait"] = "1s"
    config.write_text(yaml.safe_dump(settings))
    with RunningService(directory, config=config) as running:
        yield running


def test_a_ledger_that_takes_no_write(impatient: RunningService) -> None:
    """While another process holds the ledger, asking must be a 503 to be retried, and the service not ready."""
    with closing(sqlite3.connect(impatient.ledger_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        headers = {"Content-Type": "application/x-pem-file"}
        asked = impatient.call("POST", "/v1/certificates", headers=headers, body=csr_pem(), token="requester")
        ready = _ready_answer(impatient, 503)

    assert (asked.status, asked.json()["code"]) == (503, "ledger-unavailable")
    assert ready.json()["code"] == "not-ready"
    check_answer(asked, "POST", "/v1/certificates")
    check_answer(ready, "GET", "/readyz")
    assert _ready_answer(impatient, 200).json() == {"status": "ok"}


def test_the_cluster(impatient: RunningService) -> None:
    """A configured cluster must be told as the contract describes it."""
    answer = impatient.call("GET", "/v1/cluster", token="requester")

    assert (answer.status, answer.json()["server"]) == (200, "https://10.0.0.10:6443")
    check_answer(answer, "GET", "/v1/cluster")


def _ready_answer(service: RunningService, status: int) -> Answer:
    """Ask for readiness until the answer has a status: each process remembers its last one for three seconds."""
    deadline = time.monotonic() + 15
    while (answer := service.call("GET", "/readyz")).status != status and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer
