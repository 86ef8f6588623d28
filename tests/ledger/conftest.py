"""A ledger for each test of it: the same test runs on every database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.adapters import ADAPTERS, Adapter, SqliteAdapter


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """Give a database with an empty ledger."""
    made = ADAPTERS[request.param](tmp_path)
    yield made
    made.close()


@pytest.fixture
def sqlite_adapter(tmp_path: Path) -> Iterator[SqliteAdapter]:
    """Give an empty ledger in a SQLite file, for what is true of SQLite alone."""
    made = SqliteAdapter(tmp_path / "ledger.db")
    yield made
    made.close()
