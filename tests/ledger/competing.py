"""A process whose threads want the same at once: `python -m ledger.competing ADDRESS NAME WHAT THREADS`.

It begins when its standard input ends, and prints the index of each entry for which its condition held.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from kubemint.record import Condition, Event, PolicyDiffers, RequestOpen, TokenUnused, WithinQuota
from ledger.adapters import open_address
from ledger.events import NOW, approved, issued, policy_changed, refused, single_use

HOUR = timedelta(hours=1)
QUOTA = 5
TRIES = 3  # of each thread

WANTED: dict[str, tuple[Condition, Callable[[int], Event]]] = {
    "quota": (
        WithinQuota(requester="token:ci", profile="developers", certificates=QUOTA, since=NOW - HOUR, per=HOUR),
        issued,
    ),
    "token": (TokenUnused(authority="github", token_id="t1"), lambda serial: single_use(issued(serial), "t1")),
    "approval": (RequestOpen(request="r1", approvals=0), lambda serial: approved("r1", by=f"boss-{serial}")),
    "policy": (PolicyDiffers(version="v1"), lambda _: policy_changed("v1")),
}


def main(address: str, name: str, what: str, threads: str) -> None:
    """Append what is wanted in every thread at once, several times."""
    ledger = open_address(address)
    condition, make = WANTED[what]

    def compete(serial: int) -> int | None:
        with ledger.preparing():
            recorded = ledger.append(make(serial), conditions=[condition], otherwise=lambda _: refused())
        return recorded.entry.index if recorded.unmet is None else None

    print("ready", flush=True)
    sys.stdin.read()
    first = int(name) * 1_000_000
    with ThreadPoolExecutor(int(threads)) as pool:
        for index in pool.map(compete, range(first + 1, first + 1 + TRIES * int(threads))):
            if index is not None:
                print(index)


if __name__ == "__main__":
    main(*sys.argv[1:])
