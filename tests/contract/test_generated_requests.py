"""The service meets requests that nobody wrote: made from the contract, allowed ones and others."""

import os
import subprocess
import sys
from pathlib import Path

from contract.contract_file import CONTRACT_FILE, operations
from running_service import RunningService

HERE = Path(__file__).parent
SECONDS = 240.0  # some twenty on a machine of its own


def test_generated_requests_are_answered_as_the_contract_says(service: RunningService, tmp_path: Path) -> None:
    """Whatever is sent, allowed or not, the answer must be one that the contract describes, and never a fault."""
    assert f"Tested: {len(operations())}" in _run(service, "requester", tmp_path)


def test_generated_requests_of_an_operator(service: RunningService, tmp_path: Path) -> None:
    """So must it be for who may read the log, which is closed to others."""
    of_log = [found for found in operations() if "Log" in found.document["tags"]]

    assert f"Tested: {len(of_log)}" in _run(service, "operator", tmp_path, "--include-tag", "Log")


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
