"""`kubemint policy explain` against a running service."""

import json
from pathlib import Path

from commands.cli import kubemint
from csrs import good_csr
from running_service import RunningService


def test_a_running_service_explains(service: RunningService, tmp_path: Path) -> None:
    """It says what it would do for whoever asks, and its every rule; nothing is on record of it."""
    csr = tmp_path / "a.csr"
    csr.write_bytes(good_csr(user="jane", groups=["developers"]))
    options = "policy", "explain", "--csr", csr, "--output", "json"
    ran = kubemint(*options, "--expires", "2h", cwd=service.directory.parent)
    assert ran.code == 0, ran.errors
    found = json.loads(ran.output)
    assert (found["verdict"], found["profile"], found["groups"]) == ("granted", "developers", ["developers"])
    assert all(step["passed"] for step in found["trace"])
    ran = kubemint(*options, "--expires", "30d", cwd=service.directory.parent)
    assert ran.code == 1, ran.errors
    assert {reason["code"] for reason in json.loads(ran.output)["reasons"]} == {"lifetime-too-long"}
