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
    command = (
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"),
        *("--url", service.url, "--tls-verify", str(service.tls_ca_file)),
        *("--header", f"Authorization: Bearer {service.token()}"),
        *("--checks", "all", "--continue-on-failure", str(CONTRACT_FILE)),
    )
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)}

    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )

    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-5_000:]
    assert f"Tested: {len(operations())}" in run.stdout
    assert [line for line in service.log_lines() if line["level"] == "error"] == []
