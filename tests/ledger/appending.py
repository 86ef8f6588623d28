"""A process that appends, for tests that need several: `python -m ledger.appending ADDRESS NAME COUNT`.

It prints the index of each entry once it has it, and begins when its standard input ends.
"""

import sys

from ledger.adapters import open_address
from ledger.events import issued


def main(address: str, name: str, count: str) -> None:
    """Append certificates with serial numbers of this process' own."""
    ledger = open_address(address)
    first = int(name) * 1_000_000
    print("ready", flush=True)
    sys.stdin.read()
    for serial in range(first + 1, first + 1 + int(count)):
        entry = ledger.append(issued(serial, by=f"ci-{name}")).entry
        sys.stdout.write(f"{entry.index} {serial}\n")
        sys.stdout.flush()


main(*sys.argv[1:])
