"""Keys that are fetched from an issuer of the tests, and ways to watch it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from prometheus_client import REGISTRY

from authentication.issuers import IssuerServer
from kubemint.authentication.remote_keys import FetchTimes, RemoteKeys
from kubemint.errors import IdentityUnavailable

HURRIED = FetchTimes(refresh=300.0, pause=0.2, retry_max=0.4, wait=2.0, deadline=1.0)


@contextmanager
def keys_of(server: IssuerServer, times: FetchTimes | None = None, **settings: Any) -> Iterator[RemoteKeys]:
    """Fetch the keys of an issuer, with the service's times unless others are given."""
    told = {"name": "corp", "issuer": server.issuer, "jwks_uri": None, "ca_file": server.ca_file}
    keys = RemoteKeys(**{**told, "max_stale": timedelta(hours=1), "times": times, **settings})
    try:
        yield keys
    finally:
        keys.close()


def has(keys: RemoteKeys, key_id: str | None) -> bool:
    """Tell whether a key is found; without any keys that count there is nothing to find it in."""
    try:
        return keys.find(key_id, "ES256") is not None
    except IdentityUnavailable:
        return False


def took(call: Callable[[], object]) -> float:
    """Measure a call in seconds."""
    start = time.monotonic()
    call()
    return time.monotonic() - start


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def fetches(outcome: str) -> float:
    """Read the metric."""
    return REGISTRY.get_sample_value("kubemint_oidc_fetches_total", {"issuer": "corp", "outcome": outcome}) or 0.0
