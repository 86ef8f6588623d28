"""A ledger for each test, on every database: whoever verifies does not know which one it is."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kubemint.ledger.writer import LedgerWriter
from ledger.adapters import ADAPTERS, Adapter, PostgresAdapter, SqliteAdapter
from log.record import EVENTS
from postgres import postgres_cluster


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """Give a database with an empty ledger."""
    made = ADAPTERS[request.param](tmp_path)
    yield made
    made.close()


@pytest.fixture(params=sorted(ADAPTERS))
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """Give a ledger that holds `EVENTS`: a copy of one that was written once."""
    copy: Callable[[Path], Adapter] = request.getfixturevalue(f"copy_of_{request.param}")
    made = copy(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def copy_of_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Adapter]:
    """Give what makes a copy of the record on SQLite."""
    file, key = tmp_path_factory.mktemp("record") / "ledger.db", Ed25519PrivateKey.generate().private_bytes_raw()
    original = SqliteAdapter(file, key)
    _fill(original)
    original.close()

    def copy(directory: Path) -> Adapter:
        shutil.copy(file, directory / "ledger.db")
        return SqliteAdapter(directory / "ledger.db", key)

    return copy


@pytest.fixture(scope="session")
def copy_of_postgres() -> Callable[[Path], Adapter]:
    """Give what makes a copy of the record on PostgreSQL."""
    url, key = postgres_cluster().create_database(), Ed25519PrivateKey.generate().private_bytes_raw()
    original = PostgresAdapter(url, key)
    _fill(original)
    original.engine.dispose()  # a database that somebody is connected to cannot be copied

    def copy(_: Path) -> Adapter:
        return PostgresAdapter(postgres_cluster().create_database(template=str(url.database)), key)

    return copy


def _fill(adapter: Adapter) -> None:
    database = adapter.database()
    writer = LedgerWriter(database, adapter.keys, lambda _: None)
    for start in range(0, len(EVENTS), 100):
        writer.append(*EVENTS[start : start + 100])
    database.close()
