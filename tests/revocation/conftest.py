"""What the tests of revocation share: a clock that stands still, CAs that may sign lists, openssl as a reader."""

import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from csrs import KEY_TYPES
from kubemint.x509.issuer import Issuer
from revocation.records import LISTING_USAGES
from x509.authorities import issuer_of


@pytest.fixture(scope="session")
def now() -> datetime:
    """Give the time of every test."""
    return datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def openssl() -> Callable[..., str]:
    """Give the openssl program: called with arguments, it answers all that it printed, of good and of bad."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not on this machine")

    def run(*arguments: object) -> str:
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, check=False)
        return (done.stdout + done.stderr).decode()

    return run


@pytest.fixture(params=KEY_TYPES, ids=lambda key_type: f"under-{key_type}", scope="session")
def issuer(request: pytest.FixtureRequest, now: datetime) -> Issuer:
    """Give a root CA of each type of key that may sign revocation lists."""
    return issuer_of(request.param, now, usages=LISTING_USAGES)


@pytest.fixture(scope="session")
def small_issuer(now: datetime) -> Issuer:
    """Give one CA where its type of key does not matter."""
    return issuer_of("ecdsa-p256", now, usages=LISTING_USAGES)
