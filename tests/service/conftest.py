"""One running service for each module; a test that needs another makes its own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from running_service import RunningService, free_port


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve from a new folder, with the settings of `kubemint dev`."""
    with RunningService(tmp_path_factory.mktemp("service") / "kubemint") as running:
        yield running


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[RunningService]:
    """Serve with a ledger that waits one second for its lock."""
    directory = tmp_path / "kubemint"
    command = (sys.executable, "-m", "kubemint", "init", "--directory", str(directory), "--port", str(free_port()))
    subprocess.run(command, check=True, capture_output=True)
    config = directory / "kubemint.yaml"
    settings = yaml.safe_load(config.read_text())
    settings["ledger"]["lockWait"] = "1s"
    config.write_text(yaml.safe_dump(settings))
    with RunningService(directory, config=config) as running:
        yield running
