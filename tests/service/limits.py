"""The number of files that this process, and those that it starts, may have open."""

import contextlib
import resource
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def open_files(count: int) -> Iterator[None]:
    """Set the limit for a while; a machine that forbids it skips the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in (resource.RLIM_INFINITY, -1) and hard < count:
        pytest.skip(f"this machine allows no more than {hard} open files; {count} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
