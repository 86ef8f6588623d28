"""A process that brings a ledger up to date when its standard input ends: `python -m ledger.migrating ADDRESS`."""

import sys

from kubemint.ledger.schema import migrate
from ledger.adapters import open_parts


def main(address: str) -> None:
    """Migrate."""
    store, keys = open_parts(address)
    print("ready", flush=True)
    sys.stdin.read()
    migrate(store.writable(), keys, sign_existing=True)


main(*sys.argv[1:])
