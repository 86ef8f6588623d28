"""The database's own structures: an index that has lost a row is found by whoever looks for it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from kubemint.ledger.stores import open_store
from kubemint.ledger.verify_findings import Finding, NotChecked
from kubemint.ledger.verify_indexes import index_findings
from ledger.adapters import ADAPTERS, PostgresAdapter, SqliteAdapter
from ledger.events import policy_changed
from log.issuing import issued


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresAdapter]:
    """Give a ledger on PostgreSQL with an entry in it."""
    made = ADAPTERS["postgres"](tmp_path)
    assert isinstance(made, PostgresAdapter)
    made.open().append(policy_changed("v1"))
    yield made
    made.close()


def test_an_index_of_sqlite(tmp_path: Path) -> None:
    """A row that an index does not have is found by SQLite's own check."""
    adapter = SqliteAdapter(tmp_path / "ledger.db")
    adapter.open().append(*(issued(serial) for serial in range(1, 4)))
    assert list(index_findings(adapter.engine)) == []
    name, columns = "ix_certificates_user_name", "certificates (user_name, entry_index)"
    with closing(sqlite3.connect(adapter.file, isolation_level=None)) as connection:
        connection.execute(f"DROP INDEX {name}")
        connection.execute(f"CREATE INDEX {name} ON {columns} WHERE entry_index < 1")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            f"UPDATE sqlite_schema SET sql = 'CREATE INDEX {name} ON {columns}' WHERE name = '{name}'"
        )
    found = list(index_findings(adapter.engine))
    assert {one.code.value for one in found if isinstance(one, Finding)} == {"index-damaged"}
    assert any(name in one.message for one in found)
    adapter.close()


def test_a_file_of_sqlite_that_is_damaged(tmp_path: Path) -> None:
    """Pages that were written over are found, whatever SQLite says of them."""
    adapter = SqliteAdapter(tmp_path / "ledger.db")
    adapter.open().append(*(issued(serial) for serial in range(1, 200)))
    adapter.close()
    octets = bytearray(adapter.file.read_bytes())
    octets[len(octets) // 2 : len(octets) // 2 + 4096] = b"\xff" * 4096
    adapter.file.write_bytes(octets)
    found = list(index_findings(adapter.engine))
    assert {one.code.value for one in found if isinstance(one, Finding)} == {"index-damaged"}
    adapter.close()


def test_an_index_of_postgres(postgres: PostgresAdapter) -> None:
    """A row that an index does not have is found by PostgreSQL's own check, where that is installed."""
    (skipped,) = index_findings(postgres.engine)
    assert isinstance(skipped, NotChecked)
    postgres.execute("CREATE EXTENSION amcheck")
    assert list(index_findings(postgres.engine)) == []
    change = "UPDATE pg_index SET indisready = {} WHERE indexrelid = 'policies_pkey'::regclass"
    postgres.execute(change.format("false"))
    postgres.open().append(policy_changed("v2"))
    postgres.execute(change.format("true"))
    found = list(index_findings(postgres.engine))
    assert [one.code.value for one in found if isinstance(one, Finding)] == ["index-damaged"]
    assert "policies_pkey" in found[0].message


def test_who_may_not_check(postgres: PostgresAdapter) -> None:
    """Where a role may not check indexes, that is told, and is no finding."""
    postgres.execute("CREATE EXTENSION amcheck")
    postgres.execute("CREATE ROLE stranger LOGIN")
    engine = open_store(make_url(postgres.url).set(username="stranger")).for_reading(1)
    try:
        outcomes = list(index_findings(engine))
    finally:
        engine.dispose()
        postgres.execute("DROP ROLE stranger")
    (skipped,) = outcomes
    assert isinstance(skipped, NotChecked)
    assert "permission denied" in skipped.message
