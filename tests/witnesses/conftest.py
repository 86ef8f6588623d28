"""Ledgers of both kinds, and witnesses of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.adapters import ADAPTERS, Adapter, SqliteAdapter
from witnesses.witness import TestWitness, witness


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """Give a database with an empty ledger."""
    made = ADAPTERS[request.param](tmp_path)
    yield made
    made.close()


@pytest.fixture
def sqlite_adapter(tmp_path: Path) -> Iterator[SqliteAdapter]:
    """Give an empty ledger in a SQLite file, for what has nothing to do with the store."""
    made = SqliteAdapter(tmp_path / "ledger.db")
    yield made
    made.close()


@pytest.fixture
def w1(tmp_path: Path) -> Iterator[TestWitness]:
    """Give a witness that knows the log of the adapters."""
    with witness(tmp_path) as running:
        yield running


@pytest.fixture
def w2(tmp_path: Path) -> Iterator[TestWitness]:
    """Give another."""
    with witness(tmp_path, "witness.test/w2") as running:
        yield running
