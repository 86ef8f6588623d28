"""A ledger to back up, and an empty one to restore into: each on both stores."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.adapters import ADAPTERS, Adapter
from ledger.conftest import adapter

__all__ = ["adapter", "target"]


@pytest.fixture(params=sorted(ADAPTERS), ids="into-{}".format)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """Give a database with an empty ledger, beside that of `adapter`."""
    (tmp_path / "target").mkdir()
    made = ADAPTERS[request.param](tmp_path / "target")
    yield made
    made.close()
