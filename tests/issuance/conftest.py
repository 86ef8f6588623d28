"""A ledger and a desk for each test, and one running service for those that come over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from issuance.desk import Desk
from ledger.adapters import SqliteAdapter
from running_service import RunningService


@pytest.fixture
def record(tmp_path: Path) -> Iterator[SqliteAdapter]:
    """Give an empty ledger on disk."""
    adapter = SqliteAdapter(tmp_path / "ledger.db")
    yield adapter
    adapter.close()


@pytest.fixture
def desk(record: SqliteAdapter) -> Desk:
    """Give a desk where everything works."""
    return Desk(record.open())


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Give a running service with a new CA."""
    with RunningService(tmp_path_factory.mktemp("service") / "kubemint") as running:
        yield running
