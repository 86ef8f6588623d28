"""Ledgers that are written once and copied for each test: to make the tables takes longer than most tests do."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kubemint.ledger.writer import LedgerWriter
from kubemint.record import Event
from ledger.adapters import Adapter, PostgresAdapter, SqliteAdapter
from postgres import postgres_cluster

Copy = Callable[[Path], Adapter]  # into an empty folder


def sqlite_copies(folder: Path, events: Sequence[Event]) -> Copy:
    """Write events to a SQLite file, and give what copies it."""
    file, key = folder / "ledger.db", Ed25519PrivateKey.generate().private_bytes_raw()
    original = SqliteAdapter(file, key)
    _fill(original, events)
    original.close()

    def copy(directory: Path) -> Adapter:
        shutil.copy(file, directory / "ledger.db")
        return SqliteAdapter(directory / "ledger.db", key)

    return copy


def postgres_copies(events: Sequence[Event]) -> Copy:
    """Write events to a database of PostgreSQL, and give what copies it."""
    url, key = postgres_cluster().create_database(), Ed25519PrivateKey.generate().private_bytes_raw()
    original = PostgresAdapter(url, key)
    _fill(original, events)
    original.engine.dispose()  # a database that somebody is connected to cannot be copied

    def copy(_: Path) -> Adapter:
        return PostgresAdapter(postgres_cluster().create_database(template=str(url.database)), key)

    return copy


def _fill(adapter: Adapter, events: Sequence[Event]) -> None:
    database = adapter.database()
    writer = LedgerWriter(database, adapter.keys, lambda _: None)
    for start in range(0, len(events), 100):
        writer.append(*events[start : start + 100])
    database.close()
