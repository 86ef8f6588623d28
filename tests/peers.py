"""Programs and packages that tests need beside Python: found, or named as missing."""

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip for want of `what`; fail where CI is set, which promises to have it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing in CI: {what}")
    pytest.skip(f"missing: {what}")
