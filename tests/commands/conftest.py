"""One running service for the commands that read its ledger or its configuration."""

from collections.abc import Iterator

import pytest

from client.revoking import Terminal
from running_service import RunningService


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Give a terminal beside a service with a record of its own for each module."""
    place = tmp_path_factory.mktemp("serving")
    with RunningService(place / "made") as running:
        yield Terminal(running, place)
