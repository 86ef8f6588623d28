"""A process whose files may not grow, as on a full disk: `python -m ledger.limited ADDRESS`.

It prints how many of five appends worked before the limit, of three under it, and of five after it.
"""

import resource
import signal
import sys

from kubemint.errors import LedgerUnavailable
from ledger.adapters import SHORT_WAIT, Ledger, open_address
from ledger.events import issued

LIMIT_OCTETS = 4096  # a page: an entry takes several, in whichever file


def main(address: str) -> None:
    """Append before, under and after the limit."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write past the limit is an error, as on a full disk
    ledger = open_address(address, SHORT_WAIT)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = _count(ledger, range(1, 6))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_OCTETS, most))
    under = _count(ledger, range(10, 13))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    print(before, under, _count(ledger, range(20, 25)))


def _count(ledger: Ledger, serials: range) -> int:
    count = 0
    for serial in serials:
        try:
            ledger.append(issued(serial))
            count += 1
        except LedgerUnavailable:
            continue
    return count


main(sys.argv[1])
