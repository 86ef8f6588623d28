"""The databases that the contract of the ledger is held to: one class for each, all of one shape.

What a test may do to a database from outside (hold its lock, take a table away, look at its rows) is
here, so that a test of the contract is written once.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Engine, Table, create_engine, select
from sqlalchemy.pool import NullPool

from kubemint.ledger import sqlite, tables
from kubemint.ledger.batch import Added
from kubemint.ledger.reader import LedgerReader
from kubemint.ledger.schema import migrate
from kubemint.ledger.writer import LedgerWriter, WritableDatabase
from kubemint.record import Entry

READERS = 16  # threads at once
SHORT_WAIT = timedelta(milliseconds=400)
BREAK = "ALTER TABLE entry_groups RENAME TO away"  # the last table that a batch is written to
MEND = "ALTER TABLE away RENAME TO entry_groups"


class Ledger:
    """What a writer and a reader give together: `kubemint.issuance.Ledger`."""

    def __init__(self, writer: LedgerWriter, reader: LedgerReader) -> None:
        self.append = writer.append
        self.preparing = writer.preparing
        self.find_by_key = reader.find_by_key


class Adapter(Protocol):
    """A database with an empty ledger in it, and what its owner could do to it."""

    engine: Engine
    address: str

    def open(self, lock_wait: timedelta = ...) -> Ledger:
        """Open the ledger as a process of its own would; nothing is shared with others that are open."""

    def reader(self) -> LedgerReader:
        """Open the ledger for reading."""

    def database(self) -> WritableDatabase:
        """Open what a writer writes to."""

    def held(self) -> Any:
        """Hold the lock that writers need, from another connection, while a `with` lasts."""

    def count_commits(self) -> None:
        """Begin to count the transactions that add entries."""

    def commits(self) -> int:
        """Give how many there were."""

    def execute(self, statement: str) -> None:
        """Run a statement as the database's owner could."""


class SqliteAdapter:
    """A ledger in a SQLite file.

    `announced` is what those who opened it have told; `readers` are the engines of those who read.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.address = str(file)
        self.engine = create_engine(f"sqlite:///{file}", poolclass=NullPool)
        self._open: list[Engine] = []
        self.readers: list[Engine] = []
        self.announced: list[Entry] = []
        sqlite.create_file(file)
        database = sqlite.SqliteFile(file)
        migrate(database)
        database.engine.dispose()

    def open(self, lock_wait: timedelta = timedelta(seconds=20)) -> Ledger:
        """Keep `Adapter.open`; the wait is long because a machine that runs tests is slow."""
        return open_ledger(self.file, lock_wait, lambda added: self.announced.extend(entry for entry, _ in added))

    def reader(self) -> LedgerReader:
        """Keep `Adapter.reader`."""
        engine = sqlite.open_for_reading(self.file, READERS)
        self._open.append(engine)
        self.readers.append(engine)
        return LedgerReader(engine)

    def database(self) -> sqlite.SqliteFile:
        """Keep `Adapter.database`."""
        database = sqlite.SqliteFile(self.file)
        self._open.append(database.engine)
        return database

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

    def execute(self, statement: str) -> None:
        """Keep `Adapter.execute`."""
        with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            connection.execute(statement)

    def close(self) -> None:
        """Close what was opened."""
        for engine in (self.engine, *self._open):
            engine.dispose()


def open_ledger(
    file: Path,
    lock_wait: timedelta = timedelta(seconds=20),
    announce: Callable[[Sequence[Added]], None] = lambda _: None,
) -> Ledger:
    """Open the ledger in a SQLite file that is there already, as the service does."""
    reader = LedgerReader(sqlite.open_for_reading(file, READERS))
    return Ledger(LedgerWriter(sqlite.SqliteFile(file, lock_wait), announce), reader)


ADAPTERS = {"sqlite": lambda directory: SqliteAdapter(directory / "ledger.db")}


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
    """Check that the record has no gap and no duplicate, and holds these entries in their places."""
    rows = stored(adapter, tables.entries)
    assert [row["index"] for row in rows] == list(range(len(rows)))
    assert head_size(adapter) == len(rows)
    for entry in entries:
        assert Entry(index=entry.index, kind=entry.kind, fields=json.loads(rows[entry.index]["body"])) == entry
