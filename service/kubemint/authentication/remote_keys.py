"""The keys of an issuer on the network, fetched by a thread of its own, so that no request ever fetches.

An issuer may rotate its keys, be away, hang, or be asked for keys that it never had. So: an unknown key id
starts a fetch, at most one a second, and waits for it half a second at most; nobody waits for an issuer
whose last fetch failed or whose fetch takes long, and few wait at a time; and the keys of the last good
fetch go on until they are too old.
"""

import logging
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from kubemint.authentication.discovery import (
    IssuerMisbehaved,
    IssuerUnreachable,
    discover_keys_uri,
    get_https,
)
from kubemint.authentication.jwks import NO_KEYS, KeySet, PublicKey, parse_key_set
from kubemint.errors import IdentityUnavailable, InvalidDocument
from kubemint.metrics import OIDC_FETCHES, OIDC_LAST_GOOD_FETCH

WAITING_MAX: Final = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchTimes:
    """How often and how long, in seconds: the defaults are the service's, others are for trying it out."""

    refresh: float = 300.0
    pause: float = 1.0  # between the starts of two fetches
    retry_max: float = 60.0  # a failing issuer is asked at 1, 2, 4 ... seconds, up to this
    wait: float = 0.5
    deadline: float = 5.0


class RemoteKeys:
    """The keys of one issuer. One for a process, first used after the fork; threads share it."""

    def __init__(  # noqa: PLR0913 - what is told of an issuer, each by name
        self,
        *,
        name: str,
        issuer: str,
        jwks_uri: str | None,
        ca_file: Path | None,
        max_stale: timedelta,
        times: FetchTimes | None = None,
    ) -> None:
        self._name = name
        self._times = times or FetchTimes()
        self._max_stale = max_stale.total_seconds()
        self._fetch = _Fetch(issuer=issuer, jwks_uri=jwks_uri, ca_file=ca_file)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        # All below: read and written under self._changed.
        self._closed = False
        self._keys = NO_KEYS
        self._good_at: float | None = None
        self._started_at = float("-inf")  # of the last fetch, and whether it still runs
        self._running = False
        self._failures = 0
        self._wanted = True  # a fetch as soon as the pause allows
        self._finished = 0  # fetches so far
        self._waiting = 0

    def find(self, key_id: str | None, algorithm: str, *, refused: PublicKey | None = None) -> PublicKey | None:
        """Keep `KeySource.find`; waits as the module says."""
        self.start()
        with self._changed:
            key = self._usable(key_id, algorithm, refused)
            if key is not None:
                return key
            self._wanted = True
            self._changed.notify_all()
            self._wait_for_fetch()
            if self._are_over():
                raise IdentityUnavailable(f"the keys of {self._name} cannot be fetched")
            return self._usable(key_id, algorithm, refused)

    def start(self) -> None:
        """Keep `KeySource.start`."""
        with self._changed:
            # After a fork the thread of the parent is not alive here.
            if self._closed or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, name=f"keys of {self._name}", daemon=True)
            self._thread.start()

    def await_first(self, deadline: float) -> None:
        """Keep `KeySource.await_first`."""
        with self._changed:
            left = max(0.0, deadline - time.monotonic())
            self._changed.wait_for(lambda: self._finished > 0 or self._closed, left)

    def close(self) -> None:
        """Keep `KeySource.close`. A fetch that runs is not cut short: it ends at its deadline, with its thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _are_over(self) -> bool:
        """Tell whether there are no keys that count: none were fetched yet, or too long ago."""
        return self._good_at is None or time.monotonic() > self._good_at + self._max_stale

    def _usable(self, key_id: str | None, algorithm: str, refused: PublicKey | None) -> PublicKey | None:
        if self._are_over():
            return None
        key = self._keys.find(key_id, algorithm)
        return None if key == refused else key

    def _wait_for_fetch(self) -> None:
        """Wait for a fetch that starts after now, or that runs and may yet bring the key."""
        asked_at = time.monotonic()
        starts_at = self._started_at if self._running else max(asked_at, self._started_at + self._times.pause)
        # Counted from the start of the fetch: an issuer that hangs delays its own callers once, not for as long.
        until = min(starts_at, asked_at) + self._times.wait
        if self._failures or starts_at >= until or self._waiting >= WAITING_MAX:
            return
        before = self._finished
        self._waiting += 1
        try:
            self._changed.wait_for(lambda: self._finished != before or self._closed, until - asked_at)
        finally:
            self._waiting -= 1

    def _run(self) -> None:
        while self._sleep_until_due():
            self._report(*self._fetch_once())

    def _sleep_until_due(self) -> bool:
        """Sleep until a fetch is due and mark it as running; False if there is nothing more to do."""
        with self._changed:
            while not self._closed:
                left = self._due_at() - time.monotonic()
                if left <= 0:
                    self._started_at = time.monotonic()
                    self._running, self._wanted = True, False
                    return True
                self._changed.wait(left)
            return False

    def _due_at(self) -> float:
        if self._wanted:
            return self._started_at + self._times.pause
        if self._failures:
            return self._started_at + min(
                self._times.pause * 2.0 ** min(self._failures, 16), self._times.retry_max
            )
        return self._started_at + self._times.refresh

    def _fetch_once(self) -> tuple[KeySet | None, str]:
        """Give the keys and how it went; the outcomes are the label values of the metric."""
        try:
            return self._fetch(time.monotonic() + self._times.deadline), "good"
        except IssuerUnreachable as fault:
            outcome, problem = "unreachable", str(fault)
        except (IssuerMisbehaved, InvalidDocument) as fault:
            outcome, problem = "misbehaved", str(fault)
        except Exception as fault:  # noqa: BLE001 - the thread is the outermost shell: it must outlive anything
            outcome, problem = "fault", type(fault).__name__
        _log.warning("keys not fetched, the last good ones stay", extra={"issuer": self._name, "problem": problem})
        return None, outcome

    def _report(self, keys: KeySet | None, outcome: str) -> None:
        OIDC_FETCHES.labels(self._name, outcome).inc()
        if keys is not None:
            OIDC_LAST_GOOD_FETCH.labels(self._name).set_to_current_time()
        with self._changed:
            self._running = False
            self._finished += 1
            self._failures = 0 if keys is not None else self._failures + 1
            if keys is not None:
                self._keys, self._good_at = keys, time.monotonic()
            self._changed.notify_all()


class _Fetch:
    """Fetches a key set; the address that was discovered is kept from one good fetch to the next."""

    REDISCOVER_SECONDS: Final = 240.0

    def __init__(self, *, issuer: str, jwks_uri: str | None, ca_file: Path | None) -> None:
        self._issuer = issuer
        self._configured_uri = jwks_uri
        self._ca_file = ca_file
        self._discovered: tuple[str, float] | None = None

    def __call__(self, deadline: float) -> KeySet:
        uri = self._configured_uri or self._discovered_uri(deadline)
        discovered, self._discovered = self._discovered, None  # a fetch that fails asks for the address again
        keys = parse_key_set(get_https(uri, self._ca_file, deadline))
        self._discovered = discovered
        return keys

    def _discovered_uri(self, deadline: float) -> str:
        if self._discovered is None or time.monotonic() > self._discovered[1] + self.REDISCOVER_SECONDS:
            uri = discover_keys_uri(self._issuer, self._ca_file, deadline)
            self._discovered = (uri, time.monotonic())
        return self._discovered[0]
