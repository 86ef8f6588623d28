"""What is true of the SQLite file: its mode, how durable a commit is, and what a full disk does to it."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path

import pytest
from sqlalchemy import Engine

from kubemint.errors import LedgerDamaged, LedgerUnavailable
from kubemint.ledger import sqlite
from kubemint.ledger.batch import Batch
from kubemint.ledger.growing import Sealer
from kubemint.ledger.reader import Filter
from kubemint.ledger.statements import Statements
from kubemint.record import Entry
from ledger.adapters import READERS, SHORT_WAIT, Ledger, SqliteAdapter, assert_sound, new_keys, open_address
from ledger.events import NOW, issued
from ledger.ways import unit

DISK_OCTETS = 1024 * 1024
FULL_SYNCHRONOUS = 2  # https://sqlite.org/pragma.html#pragma_synchronous


def test_the_file_is_its_owners_alone(sqlite_adapter: SqliteAdapter) -> None:
    """Nobody but the owner can read the ledger or what SQLite keeps beside it, whatever the umask."""
    sqlite_adapter.open().append(issued(1))
    files = list(sqlite_adapter.file.parent.glob("ledger.db*"))
    assert sqlite_adapter.file in files
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_file_that_is_there_is_left_alone(sqlite_adapter: SqliteAdapter) -> None:
    """Creating the file again changes nothing in it."""
    entry = sqlite_adapter.open().append(issued(1)).entry
    sqlite.create_file(sqlite_adapter.file)
    assert_sound(sqlite_adapter, [entry])


def test_a_writer_commits_to_the_disk(sqlite_adapter: SqliteAdapter) -> None:
    """A commit is a write-ahead log that has reached the disk, and foreign keys count."""
    with sqlite.SqliteFile(sqlite_adapter.file).transaction() as cursor:
        assert cursor.execute("PRAGMA synchronous").fetchone() == (FULL_SYNCHRONOUS,)
        assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert cursor.execute("PRAGMA foreign_keys").fetchone() == (1,)


@pytest.mark.parametrize("which", ["migrations", "readers"])
def test_every_connection_is_set_up_alike(sqlite_adapter: SqliteAdapter, which: str) -> None:
    """The connections of migrations and readers have the same settings as the writer's."""
    file = sqlite_adapter.file
    migrations, reading = sqlite.SqliteFile(file).engine, sqlite.open_for_reading(file, READERS)
    engine: Engine = migrations if which == "migrations" else reading
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == FULL_SYNCHRONOUS
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    engine.dispose()


def test_a_transaction_that_fails_in_our_code_is_taken_back(sqlite_adapter: SqliteAdapter) -> None:
    """An exception that is not the database's rolls back too, and is not dressed up as one of the ledger."""
    database = sqlite.SqliteFile(sqlite_adapter.file)
    with pytest.raises(ZeroDivisionError):
        _move_the_head_and_fail(database)
    with database.transaction() as cursor:
        assert cursor.execute("SELECT size FROM head").fetchone() == (0,)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A ledger whose folder is gone is unavailable, and no other error."""
    address = {"url": f"sqlite:///{tmp_path}/gone/ledger.db", "key": new_keys()[1].hex()}
    ledger = open_address(json.dumps(address), SHORT_WAIT)
    with pytest.raises(LedgerUnavailable):
        ledger.append(issued(1))
    with pytest.raises(LedgerUnavailable):
        ledger.find_by_key("token:ci", "k")


def test_a_file_that_was_moved(sqlite_adapter: SqliteAdapter) -> None:
    """While the file is gone nothing is written, read or made in its place; once it is back the ledger goes on."""
    ledger, reader = sqlite_adapter.open(), sqlite_adapter.reader()
    entry = ledger.append(issued(1)).entry
    assert reader.size() == 1
    elsewhere = _move_away(sqlite_adapter.file)
    asks: list[Callable[[], object]] = [
        lambda: ledger.append(issued(2)),
        lambda: ledger.check_writable(NOW),
        reader.size,
    ]
    for ask in asks:
        with pytest.raises(LedgerUnavailable):
            ask()
    assert not list(sqlite_adapter.file.parent.glob("ledger.db*"))
    for file in elsewhere.iterdir():
        file.rename(sqlite_adapter.file.parent / file.name)
    assert reader.size() == 1
    assert_sound(sqlite_adapter, [entry, ledger.append(issued(3)).entry])


def test_a_file_that_was_replaced_by_an_old_copy(sqlite_adapter: SqliteAdapter) -> None:
    """An older copy in place of the file gets no entry from a process that knows more, whoever asks again."""
    ledger, reader = sqlite_adapter.open(), sqlite_adapter.reader()
    ledger.append(issued(1))
    copy = _copy(sqlite_adapter.file)
    ledger.append(issued(2))
    assert reader.size() == 2
    _move_away(sqlite_adapter.file)
    copy.rename(sqlite_adapter.file)
    with pytest.raises(LedgerUnavailable):
        ledger.append(issued(3))
    for serial in (4, 5):
        with pytest.raises(LedgerUnavailable) as fault:
            ledger.append(issued(serial))
        assert isinstance(fault.value.__cause__, LedgerDamaged)
    assert reader.size() == 1
    assert [entry.index for entry in sqlite_adapter.announced] == [0, 1]


def test_a_file_that_was_replaced_by_a_copy_of_now(sqlite_adapter: SqliteAdapter) -> None:
    """Where the new file has all that the old one had, the ledger goes on in it after one refusal."""
    ledger = sqlite_adapter.open()
    ledger.append(issued(1))
    copy = _copy(sqlite_adapter.file)
    _move_away(sqlite_adapter.file)
    copy.rename(sqlite_adapter.file)
    with pytest.raises(LedgerUnavailable):
        ledger.append(issued(2))
    assert ledger.append(issued(3)).entry.index == 1
    assert_sound(sqlite_adapter)


def test_a_file_that_is_replaced_within_a_transaction(sqlite_adapter: SqliteAdapter) -> None:
    """What was begun in a file that is gone by the commit is not confirmed, and the new file has nothing of it."""
    database = sqlite.SqliteFile(sqlite_adapter.file)
    copy = _copy(sqlite_adapter.file)

    def write_while_it_is_replaced() -> None:
        with database.transaction() as cursor:
            cursor.execute("UPDATE heartbeat SET time = 'here'")
            _move_away(sqlite_adapter.file)
            copy.rename(sqlite_adapter.file)

    with pytest.raises(LedgerUnavailable, match="no longer the file"):
        write_while_it_is_replaced()
    with database.transaction() as cursor:
        assert cursor.execute("SELECT time FROM heartbeat").fetchone() != ("here",)
    database.close()


def _move_away(file: Path) -> Path:
    """Move a ledger, with what SQLite keeps beside it, into another folder."""
    elsewhere = file.parent / "elsewhere"
    elsewhere.mkdir()
    for each in file.parent.glob(f"{file.name}*"):
        each.rename(elsewhere / each.name)
    return elsewhere


def _copy(file: Path) -> Path:
    """Copy what a ledger holds now."""
    copy = file.with_name("copy.db")
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of one MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ("-t", "tmpfs", "-o", f"size={DISK_OCTETS}", "tmpfs", str(place))
    mounted = os.geteuid() == 0 and subprocess.run(("mount", *options), check=False, capture_output=True)
    if not mounted or mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(("umount", "--lazy", str(place)), check=True)


def test_a_full_disk(small_disk: Path) -> None:
    """On a full disk nothing new is recorded, what is there can be read, and with room it goes on by itself."""
    adapter = SqliteAdapter(small_disk / "ledger.db")
    ledger, reader = adapter.open(SHORT_WAIT), adapter.reader()
    entries = [ledger.append(issued(serial)).entry for serial in range(1, 6)]
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        _fill(stream.write)
    acknowledged = _append_until_refused(ledger, first=6)
    entries += acknowledged
    assert reader.page(Filter(), NOW, limit=500).entries == tuple(reversed(entries))
    for serial in range(5000, 5003):
        with pytest.raises(LedgerUnavailable):
            ledger.append(issued(serial))
    ballast.unlink()
    entries += [ledger.append(issued(serial)).entry for serial in range(9000, 9010)]
    assert_sound(adapter, entries)
    assert reader.size() == len(entries)
    adapter.close()


def test_a_file_that_may_not_grow(sqlite_adapter: SqliteAdapter) -> None:
    """A process at its limit for the size of files records nothing more; with room it goes on by itself."""
    child = subprocess.run(
        (sys.executable, "-m", "ledger.limited", sqlite_adapter.address),
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    before, during, after = map(int, child.stdout.split())
    assert (before, during) == (5, 0)
    assert after == 5
    assert_sound(sqlite_adapter)
    with closing(sqlite3.connect(sqlite_adapter.file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (before + after,)


def _move_the_head_and_fail(database: sqlite.SqliteFile) -> None:
    with database.transaction() as cursor:
        cursor.execute("UPDATE head SET size = 7")
        raise ZeroDivisionError


def _fill(write: Callable[[bytes], int]) -> None:
    try:
        while True:
            write(bytes(4096))
    except OSError:
        return


def _append_until_refused(ledger: Ledger, first: int) -> list[Entry]:
    """Append what still fits into pages that are there already."""
    entries = []
    for serial in range(first, first + 1000):
        try:
            entries.append(ledger.append(issued(serial)).entry)
        except LedgerUnavailable:
            return entries
    raise AssertionError("the disk is not full")


def test_a_new_connection_waits_for_a_lock_too(sqlite_adapter: SqliteAdapter) -> None:
    """A process that opens the ledger while another has it for itself (recovery) waits, as later appends do."""
    ledger = sqlite_adapter.open()
    with closing(sqlite3.connect(sqlite_adapter.file, isolation_level=None, check_same_thread=False)) as alone:
        alone.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
        alone.execute("BEGIN EXCLUSIVE")
        release = threading.Timer(0.3, alone.close)
        release.start()
        try:
            started = time.monotonic()
            assert ledger.append(issued(1)).entry.index == 0
            assert time.monotonic() - started < 10
        finally:
            release.join()


@pytest.mark.parametrize("count", [1, 5])
def test_appends_without_conditions_cost_no_question(sqlite_adapter: SqliteAdapter, count: int) -> None:
    """A batch of plain appends is one statement for each table, and the head is read and moved once."""
    database = sqlite.SqliteFile(sqlite_adapter.file)
    statements: list[str] = []
    with database.transaction() as cursor:
        cursor.connection.set_trace_callback(statements.append)
        batch = Batch(cursor, Statements(database.engine), Sealer(sqlite_adapter.keys))
        for serial in range(1, count + 1):
            batch.take(unit(issued(serial)))
        batch.write()
        cursor.connection.set_trace_callback(None)
    told = [
        statement for statement, _ in groupby(statements)
    ]  # one that sets off a trigger is traced again for it
    assert [" ".join(statement.split()[:3]) for statement in told] == [
        "SELECT head.size, head.frontier,",
        "INSERT INTO entries",
        "INSERT INTO certificates",
        "INSERT INTO entry_groups",
        "UPDATE head SET",
    ]
    database.engine.dispose()
