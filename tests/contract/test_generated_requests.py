"""The service meets requests that nobody wrote: made from the contract, allowed ones and others."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.contract_file import CONTRACT_FILE, Operation, operations
from running_service import RunningService

HERE = Path(__file__).parent
SECONDS = 240.0  # some twenty on a machine of its own


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Give a service of its own: what is made up may revoke the keys of all other tests."""
    with RunningService(tmp_path_factory.mktemp("generated") / "kubemint") as running:
        yield running


def test_generated_requests_are_answered_as_the_contract_says(service: RunningService, tmp_path: Path) -> None:
    """Whatever is sent, allowed or not, the answer must be one that the contract describes, and never a fault."""
    count = len(operations()) - len(_of("Revocation"))

    assert f"Tested: {count}" in _run(service, "requester", tmp_path, "--exclude-tag", "Revocation")


def test_generated_requests_of_an_operator(service: RunningService, tmp_path: Path) -> None:
    """So must it be for who may read the log, which is closed to others."""
    assert f"Tested: {len(_of('Log'))}" in _run(service, "operator", tmp_path, "--include-tag", "Log")


@pytest.mark.parametrize("token", ["requester", "operator", "webhook"])
def test_generated_requests_that_revoke(service: RunningService, tmp_path: Path, token: str) -> None:
    """So must it be for revocation, whoever asks; it comes last, as it revokes what the others need."""
    assert f"Tested: {len(_of('Revocation'))}" in _run(service, token, tmp_path, "--include-tag", "Revocation")


def _of(tag: str) -> list[Operation]:
    return [found for found in operations() if tag in found.document["tags"]]


def _run(service: RunningService, token: str, folder: Path, *options: str) -> str:
    """Let schemathesis ask as somebody; give what it says."""
    command = (
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"),
        *("--url", service.url, "--tls-verify", str(service.tls_ca_file)),
        *("--header", f"Authorization: Bearer {service.token(token)}"),
        *("--checks", "all", "--continue-on-failure", *options, str(CONTRACT_FILE)),
    )
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "HYPOTHESIS_STORAGE_DIRECTORY": str(folder)}

    run = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )

    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-5_000:]
    assert [line for line in service.log_lines() if line["level"] == "error"] == []
    return run.stdout
