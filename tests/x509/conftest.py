"""What the tests of X.509 share: a clock that stands still, decisions, issuers, and openssl as a second reader."""

import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from csrs import KEY_TYPES
from kubemint.x509.issuer import Issuer
from kubemint.x509.profile import CertificateTerms
from x509.authorities import issuer_of
from x509.terms import terms_for


@pytest.fixture(scope="session")
def now() -> datetime:
    """Give the time of every test."""
    return datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def openssl() -> Callable[..., str]:
    """Give the openssl program: called with arguments, it answers what it printed."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not on this machine")

    def run(*arguments: str) -> str:
        done = subprocess.run([program, *arguments], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    return run


@pytest.fixture(params=KEY_TYPES, ids=lambda key_type: f"under-{key_type}", scope="session")
def issuer(request: pytest.FixtureRequest, now: datetime) -> Issuer:
    """Give a root CA of each type of key."""
    return issuer_of(request.param, now)


@pytest.fixture(params=KEY_TYPES, scope="session")
def terms(request: pytest.FixtureRequest, now: datetime) -> CertificateTerms:
    """Give a decision about each type of key."""
    return terms_for(request.param, now)
