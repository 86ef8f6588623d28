"""What the tests of signing share."""

from datetime import UTC, datetime

import pytest


@pytest.fixture(scope="session")
def now() -> datetime:
    """Give the time of every test."""
    return datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
