"""One running service for each module; a test that needs another makes its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from running_service import RunningService
from service.workspaces import change_yaml, make_workspace


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve from a new folder, with the settings of `kubemint dev`."""
    with RunningService(tmp_path_factory.mktemp("service") / "kubemint") as running:
        yield running


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[RunningService]:
    """Serve with a ledger that waits one second for its lock."""
    config = make_workspace(tmp_path / "kubemint")
    change_yaml(config, lambda settings: settings["ledger"].update(lockWait="1s"))
    with RunningService(config.parent, config=config) as running:
        yield running
