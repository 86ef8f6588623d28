"""One real service for all tests of the contract."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from running_service import RunningService


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Give a running service with a new CA, tokens and an empty ledger."""
    directory: Path = tmp_path_factory.mktemp("service") / "kubemint"
    with RunningService(directory) as running:
        yield running
