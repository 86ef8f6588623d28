"""A ledger for each test, on every database: whoever verifies does not know which one it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.adapters import ADAPTERS, Adapter
from log.copies import Copy, postgres_copies, sqlite_copies
from log.record import EVENTS


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """Give a database with an empty ledger."""
    made = ADAPTERS[request.param](tmp_path)
    yield made
    made.close()


@pytest.fixture(params=sorted(ADAPTERS))
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """Give a ledger that holds `EVENTS`: a copy of one that was written once."""
    copy: Copy = request.getfixturevalue(f"copy_of_{request.param}")
    made = copy(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def copy_of_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Give what makes a copy of the record on SQLite."""
    return sqlite_copies(tmp_path_factory.mktemp("record"), EVENTS)


@pytest.fixture(scope="session")
def copy_of_postgres() -> Copy:
    """Give what makes a copy of the record on PostgreSQL."""
    return postgres_copies(EVENTS)
