"""A policy file, a ledger on disk, and processes that look at both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from issuance.desk import POLICY
from ledger.adapters import SqliteAdapter
from policy_file.watching import Watching


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Watching]:
    """Give a good policy file and an empty ledger."""
    adapter = SqliteAdapter(tmp_path / "ledger.db")
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    yield Watching(file=file, adapter=adapter)
    adapter.close()
