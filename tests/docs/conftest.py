"""What the steps of the pages need: programs, and for some the real API server of the cluster tests.

Without the API server the tests that need it skip, as those of tests/cluster do.
"""

import shutil

import pytest

from cluster.conftest import admin, cluster, kubectl
from peers import missing

__all__ = ["admin", "cluster", "kubectl"]

PROGRAMS = ("bash", "curl", "jq", "openssl")


@pytest.fixture(scope="session", autouse=True)
def _programs() -> None:
    """Name the programs that are missing, before a step fails for want of one."""
    if absent := [name for name in PROGRAMS if shutil.which(name) is None]:
        missing(f"on the PATH: {', '.join(absent)}")
