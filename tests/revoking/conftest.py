"""A ledger for each test, on every database, and the desks that write to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.adapters import ADAPTERS, Adapter
from revoking.bureau import Bureau


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """Give a database with an empty ledger."""
    made = ADAPTERS[request.param](tmp_path)
    yield made
    made.close()


@pytest.fixture
def bureau(adapter: Adapter) -> Bureau:
    """Give the desks of one process."""
    return Bureau(adapter)
