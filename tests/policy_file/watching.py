"""What a process needs to have a policy, with everything real but the clock and the pause between two looks."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY

from issuance.desk import NOW
from kubemint.ledger import tables
from kubemint.policy_file import CurrentPolicy
from kubemint.record import Condition, Entry, Event, Recorded
from ledger.adapters import SHORT_WAIT, SqliteAdapter, stored

KNOWN: dict[str, list[str]] = {"certificate": [], "oidc": [], "kubernetes": []}


class Record:
    """Keeps `kubemint.policy_file.PolicyRecord` with a ledger that others use too."""

    def __init__(self, adapter: SqliteAdapter, lock_wait: timedelta) -> None:
        self._ledger = adapter.open(lock_wait)
        self.last_policy = adapter.reader().last_policy

    def append(self, *events: Event, conditions: Sequence[Condition] = ()) -> Recorded:
        """Keep `PolicyRecord.append`."""
        return self._ledger.append(*events, conditions=conditions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """A file and a ledger, and the processes that are made around them."""

    file: Path
    adapter: SqliteAdapter

    def process(self, lock_wait: timedelta = SHORT_WAIT) -> CurrentPolicy:
        """Give the policy of one more process, as it starts."""
        return CurrentPolicy(self.file, KNOWN, Record(self.adapter, lock_wait), lambda: NOW)

    def write(self, text: str | bytes) -> str:
        """Write the file; give the version that it has if it is good."""
        octets = text.encode() if isinstance(text, str) else text
        self.file.write_bytes(octets)
        return version_of(octets)

    def recorded(self) -> list[dict[str, Any]]:
        """Give the bodies of all entries."""
        return [json.loads(row["body"]) for row in stored(self.adapter, tables.entries)]

    def versions(self) -> list[str]:
        """Give the versions on record, in their order."""
        return [entry["version"] for entry in self.recorded()]

    def last(self) -> Entry | None:
        """Give the newest policy on record."""
        return self.adapter.reader().last_policy()


def version_of(octets: bytes) -> str:
    """Name a policy as every decision does."""
    return "sha256:" + hashlib.sha256(octets).hexdigest()


def settle(*processes: CurrentPolicy) -> None:
    """Let each process look twice, one after the other."""
    for _ in range(2):
        for process in processes:
            process.check()


def refused() -> float:
    """Tell what the metric says about the file: 1 while it is refused."""
    return REGISTRY.get_sample_value("kubemint_policy_file_refused") or 0.0


def loads(outcome: str) -> float:
    """Count the changes of files with this outcome."""
    return REGISTRY.get_sample_value("kubemint_policy_loads_total", {"outcome": outcome}) or 0.0
