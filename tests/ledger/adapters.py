"""The databases that the contract of the ledger is held to: one class for each, all of one shape.

What a test may do to a database from outside (hold its lock, take a table away, look at its rows) is
here, so that a test of the contract is written once.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, Table, create_engine, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from kubemint.ledger import tables
from kubemint.ledger.batch import Added
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.log import LedgerLog
from kubemint.ledger.reader import LedgerReader
from kubemint.ledger.schema import migrate
from kubemint.ledger.stores import PostgresStore, SqliteStore, Store, open_store
from kubemint.ledger.writer import LedgerWriter, WritableDatabase
from kubemint.record import Entry
from kubemint.transparency.checkpoint import NoteSigner
from kubemint.transparency.tree import Frontier, grow, leaf_hash
from postgres import postgres_cluster

READERS = 16  # threads at once
SHORT_WAIT = timedelta(milliseconds=400)
BREAK = "ALTER TABLE entry_groups RENAME TO away"  # the last table that a batch is written to
MEND = "ALTER TABLE away RENAME TO entry_groups"


EntryRow = tuple[int, str, str, bytes, bytes]  # the columns of `entries`


class Ledger:
    """What a writer and a reader give together: `kubemint.issuance.Ledger`."""

    def __init__(self, writer: LedgerWriter, reader: LedgerReader) -> None:
        self.append = writer.append
        self.preparing = writer.preparing
        self.check_writable = writer.check_writable
        self.find_by_key = reader.find_by_key


class Adapter(Protocol):
    """A database with an empty ledger in it, and what its owner could do to it.

    `announced` is what those who opened it have told; `readers` are the engines of those who read.
    """

    engine: Engine
    keys: LogKeys
    announced: list[Entry]
    readers: list[Engine]
    has_open_readers: bool  # a read keeps a connection, which a stopped server would end

    @property
    def address(self) -> str:
        """Give what another process needs to open the ledger: `open_address` reads it."""

    def open(self, lock_wait: timedelta = ...) -> Ledger:
        """Open the ledger as a process of its own would; nothing is shared with others that are open."""

    def reader(self) -> LedgerReader:
        """Open the ledger for reading."""

    def log(self) -> LedgerLog:
        """Open the ledger as a transparency log."""

    def database(self) -> WritableDatabase:
        """Open what a writer writes to."""

    def held(self) -> Any:
        """Hold the lock that writers need, from another connection, while a `with` lasts."""

    def count_commits(self) -> None:
        """Begin to count the transactions that add entries."""

    def commits(self) -> int:
        """Give how many there were."""

    def intruding(self) -> Any:
        """Let the head move by itself with each entry, while a `with` lasts."""

    def load(self, rows: Iterable[EntryRow]) -> None:
        """Put entries into their table, fast, and nothing anywhere else."""

    def execute(self, statement: str) -> None:
        """Run a statement as the database's owner could."""

    def close(self) -> None:
        """Close what was opened."""


class _StoreAdapter:
    """What is the same for every store."""

    def __init__(self, url: str, keys: LogKeys, private_key: bytes) -> None:
        self.url = url
        self.keys = keys
        self._private_key = private_key
        self._open: list[Engine] = []
        self._writable: list[WritableDatabase] = []
        self.readers: list[Engine] = []
        self.announced: list[Entry] = []

    @property
    def address(self) -> str:
        """Keep `Adapter.address`."""
        return json.dumps({"url": self.url, "key": self._private_key.hex()})

    def open(self, lock_wait: timedelta = timedelta(seconds=20)) -> Ledger:
        """Keep `Adapter.open`; the wait is long because a machine that runs tests is slow."""
        store = open_store(make_url(self.url), lock_wait=lock_wait)
        database = store.writable()
        self._writable.append(database)
        return Ledger(LedgerWriter(database, self.keys, self._announce), self.reader())

    def reader(self) -> LedgerReader:
        """Keep `Adapter.reader`."""
        return LedgerReader(self._for_reading())

    def log(self) -> LedgerLog:
        """Keep `Adapter.log`."""
        return LedgerLog(self._for_reading(), self.keys)

    def database(self) -> WritableDatabase:
        """Keep `Adapter.database`."""
        database = open_store(make_url(self.url)).writable()
        self._writable.append(database)
        return database

    def close(self) -> None:
        """Keep `Adapter.close`."""
        for database in self._writable:
            database.close()
        for engine in self._open:
            engine.dispose()

    def _announce(self, added: Sequence[Added]) -> None:
        self.announced.extend(entry for entry, _ in added)

    def _for_reading(self) -> Engine:
        engine = open_store(make_url(self.url)).for_reading(READERS)
        self._open.append(engine)
        self.readers.append(engine)
        return engine

    def _migrate(self) -> None:
        database = open_store(make_url(self.url)).writable()
        migrate(database, self.keys, sign_existing=True)  # for those that an earlier version has left
        database.close()


class SqliteAdapter(_StoreAdapter):
    """A ledger in a SQLite file; without tables, if it is not migrated."""

    has_open_readers = False

    def __init__(self, file: Path, private_key: bytes | None = None, *, is_migrated: bool = True) -> None:
        is_copy = is_migrated and private_key is None and not file.exists()
        super().__init__(f"sqlite:///{file}", *(process_keys() if is_copy else new_keys(private_key)))
        self.file = file
        self.engine = create_engine(self.url, poolclass=NullPool)
        self._open.append(self.engine)
        SqliteStore(file).prepare()
        if is_copy:
            file.write_bytes(_sqlite_template())
        elif is_migrated:
            self._migrate()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep `Adapter.held`."""
        with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def count_commits(self) -> None:
        """Keep `Adapter.count_commits`: the head moves once in each transaction that adds entries."""
        self.execute("CREATE TABLE moves (size INTEGER)")
        self.execute(
            "CREATE TRIGGER head_moves AFTER UPDATE ON head BEGIN INSERT INTO moves VALUES (NEW.size); END"
        )

    def commits(self) -> int:
        """Keep `Adapter.commits`."""
        with closing(sqlite3.connect(self.file)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM moves").fetchone()
            return int(count)

    @contextmanager
    def intruding(self) -> Iterator[None]:
        """Keep `Adapter.intruding`."""
        self.execute("CREATE TRIGGER intrude AFTER INSERT ON entries BEGIN UPDATE head SET size = size + 1; END")
        yield
        self.execute("DROP TRIGGER intrude")

    def load(self, rows: Iterable[EntryRow]) -> None:
        """Keep `Adapter.load`."""
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", rows)

    def execute(self, statement: str) -> None:
        """Keep `Adapter.execute`."""
        with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            connection.execute(statement)


class PostgresAdapter(_StoreAdapter):
    """A ledger in a database of a real PostgreSQL; without tables, if it is not migrated."""

    has_open_readers = True

    def __init__(
        self, url: URL | None = None, private_key: bytes | None = None, *, is_migrated: bool = True
    ) -> None:
        self._cluster = postgres_cluster()
        is_copy = is_migrated and private_key is None and url is None
        self._url = url or self._cluster.create_database(_postgres_template() if is_copy else "template1")
        super().__init__(self._url.render_as_string(), *(process_keys() if is_copy else new_keys(private_key)))
        store = open_store(self._url)
        assert isinstance(store, PostgresStore)
        self.engine = store.server.engine(pool_size=1)
        self._open.append(self.engine)
        store.prepare()
        if is_migrated and not is_copy:
            self._migrate()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep `Adapter.held`."""
        with psycopg.connect(self.url) as connection:
            connection.execute("SELECT size FROM head FOR UPDATE")
            yield
            connection.rollback()

    def count_commits(self) -> None:
        """Keep `Adapter.count_commits`."""
        self.execute("CREATE TABLE moves (size BIGINT)")
        self.execute(
            "CREATE FUNCTION head_moves() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO moves VALUES (NEW.size); RETURN NULL; END $$"
        )
        self.execute("CREATE TRIGGER head_moves AFTER UPDATE ON head FOR EACH ROW EXECUTE FUNCTION head_moves()")

    def commits(self) -> int:
        """Keep `Adapter.commits`."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute("SELECT count(*) FROM moves").fetchone()
            assert row is not None
            return int(row[0])

    @contextmanager
    def intruding(self) -> Iterator[None]:
        """Keep `Adapter.intruding`."""
        self.execute(
            "CREATE FUNCTION intrude() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN UPDATE head SET size = size + 1; RETURN NULL; END $$"
        )
        self.execute("CREATE TRIGGER intrude AFTER INSERT ON entries EXECUTE FUNCTION intrude()")
        yield
        self.execute("DROP FUNCTION intrude CASCADE")

    def load(self, rows: Iterable[EntryRow]) -> None:
        """Keep `Adapter.load`."""
        command = "COPY entries FROM STDIN (FORMAT BINARY)"
        with psycopg.connect(self.url) as connection, connection.cursor().copy(command) as copy:
            copy.set_types(["int8", "text", "text", "bytea", "bytea"])
            for row in rows:
                copy.write_row(row)

    def execute(self, statement: str) -> None:
        """Keep `Adapter.execute`."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def close(self) -> None:
        """Keep `Adapter.close`, and remove the database."""
        super().close()
        self._cluster.drop_database(self._url)


def new_keys(private_key: bytes | None = None) -> tuple[LogKeys, bytes]:
    """Make the key of a log, or take one, and give it as another process needs it too."""
    octets = private_key or Ed25519PrivateKey.generate().private_bytes_raw()
    return _keys(Ed25519PrivateKey.from_private_bytes(octets)), octets


@cache
def process_keys() -> tuple[LogKeys, bytes]:
    """Make the key of the log in each empty ledger that this process copies: as `new_keys`."""
    return new_keys()


@cache
def _sqlite_template() -> bytes:
    """Migrate an empty ledger once for this process; give the file."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "ledger.db")
        adapter = SqliteAdapter(file, process_keys()[1])
        adapter.close()
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return file.read_bytes()


@cache
def _postgres_template() -> str:
    """Migrate an empty ledger once for this process; give the name of its database."""
    url = postgres_cluster().create_database()
    adapter = PostgresAdapter(url, process_keys()[1])
    _StoreAdapter.close(adapter)  # the database stays
    return str(url.database)


def open_address(address: str, lock_wait: timedelta = timedelta(seconds=20)) -> Ledger:
    """Open the ledger at an `Adapter.address`, as the service does."""
    store, keys = open_parts(address, lock_wait)
    return Ledger(LedgerWriter(store.writable(), keys, lambda _: None), LedgerReader(store.for_reading(READERS)))


def open_parts(address: str, lock_wait: timedelta = timedelta(seconds=20)) -> tuple[Store, LogKeys]:
    """Give what the ledger at an `Adapter.address` is opened by."""
    said = json.loads(address)
    keys = _keys(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(said["key"])))
    return open_store(make_url(said["url"]), lock_wait=lock_wait), keys


def _keys(private_key: Ed25519PrivateKey) -> LogKeys:
    return LogKeys(NoteSigner("log.test/ledger", private_key))


ADAPTERS: dict[str, Callable[[Path], Adapter]] = {
    "sqlite": lambda directory: SqliteAdapter(directory / "ledger.db"),
    "postgres": lambda _: PostgresAdapter(),
}
UNMIGRATED: dict[str, Callable[[Path], Adapter]] = {
    "sqlite": lambda directory: SqliteAdapter(directory / "ledger.db", is_migrated=False),
    "postgres": lambda _: PostgresAdapter(is_migrated=False),
}


def stored(adapter: Adapter, table: Table) -> Sequence[Mapping[str, Any]]:
    """Give the rows of a table, in the order of its key."""
    with adapter.engine.connect() as connection:
        return connection.execute(select(table).order_by(*table.primary_key.columns)).mappings().all()


def head_size(adapter: Adapter) -> int:
    """Give the size that the head tells."""
    return int(stored(adapter, tables.head)[0]["size"])


def indexes(adapter: Adapter) -> list[int]:
    """Give the indexes of all entries."""
    return [row["index"] for row in stored(adapter, tables.entries)]


def assert_sound(adapter: Adapter, entries: Sequence[Entry] = ()) -> None:
    """Check that the record has no gap and no duplicate, one tree over it, and these entries in their places."""
    rows = stored(adapter, tables.entries)
    assert [row["index"] for row in rows] == list(range(len(rows)))
    assert head_size(adapter) == len(rows)
    for entry in entries:
        assert Entry(index=entry.index, kind=entry.kind, fields=json.loads(rows[entry.index]["body"])) == entry
    assert_tree(adapter, [bytes(row["body"]) for row in rows])


def assert_tree(adapter: Adapter, bodies: Sequence[bytes]) -> None:
    """Check that frontier, checkpoint and tiles are those of these entries."""
    (head,) = stored(adapter, tables.head)
    hashes = [leaf_hash(body) for body in bodies]
    assert [bytes(row["leaf_hash"]) for row in stored(adapter, tables.entries)] == hashes
    frontier = grow(Frontier.empty(), hashes).frontier
    assert bytes(head["frontier"]) == frontier.encode()
    signed = adapter.keys.open(head["checkpoint"])
    assert (signed.size, signed.root) == (len(bodies), frontier.root())
    tiles = {(row["level"], row["index"]): bytes(row["hashes"]) for row in stored(adapter, tables.tiles)}
    assert {place for place in tiles if place[0] == 0} == {(0, number) for number in range(len(bodies) // 256)}
    for (level, number), tile in tiles.items():
        if level == 0:
            assert tile == b"".join(hashes[number * 256 : number * 256 + 256])
