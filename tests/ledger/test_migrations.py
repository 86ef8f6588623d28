"""Making the tables, and bringing them up to date without losing a row."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, inspect, update

from kubemint.errors import ConfigurationError, KubemintError, LedgerUnavailable
from kubemint.ledger import sqlite, tables
from kubemint.ledger.archive import Archive
from kubemint.ledger.archiving import archive_old
from kubemint.ledger.growing import sign_first, store_tree
from kubemint.ledger.partitions import PARTITIONED
from kubemint.ledger.rows import query_rows
from kubemint.ledger.schema import migrate
from kubemint.ledger.statements import Statements
from kubemint.ledger.writer import WritableDatabase
from kubemint.record import Event, EventKind
from kubemint.transparency.tiles import TILE_WIDTH
from kubemint.transparency.tree import leaf_hash
from kubemint.x509.twin import twin_digest
from ledger.adapters import UNMIGRATED, Adapter, SqliteAdapter, assert_sound, new_keys, stored
from ledger.events import NOW, certificate_der, issued, requested, revoked
from ledger.filling import migrate_to
from log.issuing import issued as certified
from log.record import findings

COUNT = 5
DAY = timedelta(days=1)
KEYS, PRIVATE_KEY = new_keys()
_COLUMNS_SINCE = {"0004": ("public_key", "twin_id"), "0005": ("first_requester",)}  # of certificates


@pytest.fixture
def database(adapter: Adapter) -> WritableDatabase:
    """Give the database of a ledger that is up to date, as a start opens it."""
    return adapter.database()


def test_the_migrations_make_what_the_code_expects(adapter: Adapter) -> None:
    """Between the tables that migrations make and those of the code there is no difference."""
    with adapter.engine.connect() as connection:
        options = {"compare_type": True, "include_object": _is_of_the_dialect(adapter)}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []


def test_every_table_and_index_is_there(adapter: Adapter) -> None:
    """A new ledger has the tables of the code, Alembic's own, and each index by its name."""
    inspector = inspect(adapter.engine)
    named = {name for name in inspector.get_table_names() if not _is_partition(name)}
    assert named == {*tables.metadata.tables, "alembic_version"}
    for table in tables.metadata.sorted_tables:
        found = {index["name"] for index in inspector.get_indexes(table.name)}
        assert {index.name for index in table.indexes} <= found


def test_nothing_but_the_known_triggers(sqlite_adapter: SqliteAdapter) -> None:
    """The only code in the database keeps entries from being changed, and fills in what an older replica omits."""
    with closing(sqlite3.connect(sqlite_adapter.file)) as connection:
        triggers = connection.execute(
            "SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view')"
        ).fetchall()
    known = ["certificates_first_requester", "entries_no_delete", "entries_no_update"]
    assert sorted(name for (name,) in triggers) == known


def test_migrating_again_changes_nothing(adapter: Adapter, database: WritableDatabase) -> None:
    """A ledger that is up to date is left alone, row for row."""
    entries = [adapter.open().append(issued(serial)).entry for serial in (1, 2)]
    before = [stored(adapter, table) for table in tables.metadata.sorted_tables]
    migrate(database, KEYS)
    migrate(database, KEYS)
    assert [stored(adapter, table) for table in tables.metadata.sorted_tables] == before
    assert_sound(adapter, entries)


def test_a_ledger_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """A ledger of revision 0001 keeps every row, gets the tables that it lacks, and goes on."""
    file = tmp_path / "ledger.db"
    sqlite.create_file(file)
    first = sqlite.SqliteFile(file)
    migrate_to("0001", first.engine)
    first.engine.dispose()
    with closing(sqlite3.connect(file)) as connection:
        for statement, values in _rows_of_the_first_version(COUNT):
            connection.execute(statement, values)
        connection.commit()
        before = _dump(connection)
    adapter = SqliteAdapter(file, PRIVATE_KEY)
    with closing(sqlite3.connect(file)) as connection:
        after = _dump(connection)
        keys = [(row[3], row[8], row[0]) for row in before["certificates"] if row[8] is not None]
        assert sorted(after["idempotency_keys"]) == sorted(keys)
        before["certificates"] = [row[:8] for row in before["certificates"]]
        after["certificates"] = [row[:8] for row in after["certificates"]]
        after["head"] = [row[:2] for row in after["head"]]
        expiries = {row[0]: row[7] for row in before["certificates"]}
        assert {row[1]: row[2] for row in after["entry_groups"]} == expiries
        after["entry_groups"] = [row[:2] for row in after["entry_groups"]]
        assert {name: rows for name, rows in after.items() if name in before} == before
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0005",)
    assert_sound(adapter)
    ledger, reader = adapter.open(), adapter.reader()
    assert [ledger.append(event).entry.index for event in (issued(COUNT + 1), requested("r1"))] == [
        COUNT,
        COUNT + 1,
    ]
    assert [entry.index for entry in reader.entries(EventKind)] == list(range(COUNT + 2))
    found = reader.find_by_serial("01")
    assert found is not None
    assert found.fields == issued(1).fields
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    adapter.close()


@pytest.mark.parametrize("store", sorted(UNMIGRATED))
def test_a_ledger_without_revocations_is_brought_up_to_date(store: str, tmp_path: Path) -> None:
    """In a ledger of revision 0003 each certificate gets its key and its twin, and can be revoked by them."""
    adapter = UNMIGRATED[store](tmp_path)
    events = [certified(serial, user=f"u{serial % 10}") for serial in range(1, 601)]
    _fill_version("0003", adapter, events)
    assert "public_key" not in {column["name"] for column in inspect(adapter.engine).get_columns("certificates")}
    migrate(adapter.database(), adapter.keys)
    rows = stored(adapter, tables.certificates)
    assert len(rows) == len(events)
    for row, event in zip(rows, events, strict=True):
        assert row["public_key"].hex() == event.fields["publicKeySha256"]
        assert row["twin_id"] == twin_digest(certificate_der(event))
    assert len({row["twin_id"] for row in rows}) == len(events)
    assert _version(adapter) == "0005"
    adapter.open().append(revoked("a", public_key_sha256=events[0].fields["publicKeySha256"]))
    assert len(stored(adapter, tables.revoked_certificates)) == len(events)
    assert_sound(adapter)
    assert findings(adapter) == []
    adapter.close()


@pytest.mark.parametrize("store", sorted(UNMIGRATED))
def test_a_ledger_whose_old_entries_are_archived(store: str, tmp_path: Path) -> None:
    """Certificates whose text is in the archive lose their rows, as retention drops them; others lose nothing."""
    adapter = UNMIGRATED[store](tmp_path)
    events = [certified(serial) for serial in range(1, TILE_WIDTH + 5)]
    _fill_version("0003", adapter, events)
    archive_old(adapter.engine, Archive(tmp_path / "archive"), DAY, NOW + 3 * DAY)
    migrate(adapter.database(), adapter.keys)
    assert [row["entry_index"] for row in stored(adapter, tables.certificates)] == [
        *range(TILE_WIDTH, len(events))
    ]
    assert all(row["twin_id"] for row in stored(adapter, tables.certificates))
    kept = {"archive": tmp_path / "archive", "now": NOW + 3 * DAY}
    assert findings(adapter, retention=DAY, **kept) == []
    adapter.close()


@pytest.mark.parametrize("store", sorted(UNMIGRATED))
@pytest.mark.parametrize("revision", ["0003", "0004"])
def test_a_ledger_with_renewals_is_brought_up_to_date(store: str, revision: str, tmp_path: Path) -> None:
    """In an older ledger each renewal gets who asked first, so that a revocation by that requester hits it."""
    adapter = UNMIGRATED[store](tmp_path)
    events = [certified(serial) for serial in range(1, 1202)]
    events = [_renewed(event, "01") if index % 2 else event for index, event in enumerate(events)]
    _fill_version(revision, adapter, events)
    migrate(adapter.database(), adapter.keys)
    assert [row["first_requester"] for row in stored(adapter, tables.certificates)] == [
        "token:ci" if index % 2 else None for index in range(len(events))
    ]
    assert _version(adapter) == "0005"
    adapter.open().append(revoked("a", requester="token:ci"))
    assert len(stored(adapter, tables.revoked_certificates)) == len(events)
    assert findings(adapter) == []
    adapter.close()


def test_what_a_replica_of_the_version_before_writes(adapter: Adapter) -> None:
    """While replicas of revision 0004 run, the renewals that they write get who asked first all the same."""
    events = [certified(1), _renewed(certified(2), "01"), _renewed(_renewed(certified(3), "01"), "01")]
    migrate(adapter.database(), adapter.keys)
    adapter.load((index, event.fields["time"], "issued", event.body, leaf_hash(event.body))
                 for index, event in enumerate(events))  # fmt: skip
    with adapter.engine.begin() as connection:
        for index, event in enumerate(events):
            row = _early_row("0004", index, event)
            connection.execute(insert(tables.certificates).values(row))
    rows = stored(adapter, tables.certificates)
    assert [row["first_requester"] for row in rows] == [None, "token:ci", "token:ci"]
    adapter.open()


@pytest.mark.parametrize("store", sorted(UNMIGRATED))
def test_archived_renewals(store: str, tmp_path: Path) -> None:
    """Renewals whose text is in the archive lose their rows, as retention drops them; others lose nothing."""
    adapter = UNMIGRATED[store](tmp_path)
    events = [_renewed(certified(serial), "01") for serial in range(1, TILE_WIDTH + 5)]
    _fill_version("0004", adapter, events)
    archive_old(adapter.engine, Archive(tmp_path / "archive"), DAY, NOW + 3 * DAY)
    migrate(adapter.database(), adapter.keys)
    rows = stored(adapter, tables.certificates)
    assert [row["entry_index"] for row in rows] == [*range(TILE_WIDTH, len(events))]
    assert {row["first_requester"] for row in rows} == {"token:ci"}
    kept = {"archive": tmp_path / "archive", "now": NOW + 3 * DAY}
    assert findings(adapter, retention=DAY, **kept) == []
    adapter.close()


def test_a_certificate_that_nobody_would_take(tmp_path: Path) -> None:
    """A ledger with an entry whose certificate is none is brought up to date all the same."""
    adapter = UNMIGRATED["sqlite"](tmp_path)
    _fill_version("0003", adapter, [issued(1), certified(2)])
    migrate(adapter.database(), adapter.keys)
    assert [row["twin_id"] is None for row in stored(adapter, tables.certificates)] == [True, False]
    adapter.close()


def test_a_ledger_of_a_newer_version_is_refused(adapter: Adapter, database: WritableDatabase) -> None:
    """A revision that this version does not know stops the start, and nothing is changed."""
    adapter.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="another version") as fault:
        migrate(database, KEYS)
    assert fault.value.source == "ledger"
    with adapter.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "9999"


@pytest.mark.parametrize(
    "content",
    [b"this is not a database\n" * 100, b"SQLite format 3\0" + bytes(range(256)) * 20],
    ids=["text", "torn"],
)
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    """Another file is refused with an error that says so, and is not touched."""
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    database = sqlite.SqliteFile(file)
    with pytest.raises(LedgerUnavailable, match="cannot be opened"):
        migrate(database, KEYS)
    database.engine.dispose()
    assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(content).digest()


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    """A folder by the name of the ledger is refused with an error of ours."""
    database = sqlite.SqliteFile(tmp_path)
    with pytest.raises(KubemintError):
        migrate(database, KEYS)
    database.engine.dispose()


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    """An empty file, as `kubemint init` makes it, becomes a ledger at the first start."""
    file = tmp_path / "ledger.db"
    sqlite.create_file(file)
    assert file.stat().st_size == 0
    adapter = SqliteAdapter(file)
    assert adapter.open().append(issued(1)).entry.index == 0
    adapter.close()


def test_a_migration_that_fails_leaves_the_tables_as_they_were(tmp_path: Path) -> None:
    """What cannot be migrated to the end is not migrated at all."""
    file = tmp_path / "ledger.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE witnessed (mine TEXT)")  # the last table that the migrations make
        connection.commit()
    database = sqlite.SqliteFile(file)
    with pytest.raises(LedgerUnavailable):
        migrate(database, KEYS)
    database.engine.dispose()
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [
            ("witnessed",)
        ]


def _is_partition(name: str) -> bool:
    return any(name.startswith(f"{table}_") for table in PARTITIONED)


def _is_of_the_dialect(adapter: Adapter) -> Callable[..., bool]:
    """Leave out partitions, and the uniqueness that another dialect has."""

    def counts(thing: Any, name: str | None, kind: str, is_reflected: bool, _: Any) -> bool:
        if kind == "unique_constraint" and not is_reflected and thing.table.name == "certificates":
            has_expiry = "not_after" in thing.columns
            return has_expiry == (adapter.engine.dialect.name == "postgresql")
        return not (kind == "table" and is_reflected and _is_partition(name or ""))

    return counts


def _rows_of_the_first_version(count: int) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Give what the first version wrote for so many certificates."""
    for index in range(count):
        event = issued(index + 1, key=f"k{index}" if index % 2 else None)
        leaf_hash = hashlib.sha256(b"\x00" + event.body).digest()
        time = event.fields["time"]
        yield "INSERT INTO entries VALUES (?, ?, ?, ?, ?)", (index, time, "issued", event.body, leaf_hash)
        row = _early_row("0001", index, event)
        yield (
            "INSERT INTO certificates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row.values(), event.fields.get("idempotencyKey")),
        )
        yield "INSERT INTO entry_groups VALUES ('developers', ?)", (index,)
    yield "UPDATE head SET size = ?", (count,)


def _early_row(revision: str, index: int, event: Event) -> dict[str, Any]:
    """Give the row of a certificate as a version wrote it."""
    (_, row), *_ = query_rows(index, event.kind, event.fields).rows
    later = {name for since, names in _COLUMNS_SINCE.items() if since > revision for name in names}
    return {name: value for name, value in row.items() if name not in later}


def _renewed(event: Event, line: str) -> Event:
    """Give the event of a certificate as that of one that renews a line."""
    first = {name: event.fields[name] for name in ("requester", "method", "authority", "evidence")}
    first = event.fields["renews"]["first"] if "renews" in event.fields else first
    renews = {"line": line, "first": first}
    return replace(event, fields={**event.fields, "requester": f"renewal:{line}", "renews": renews})


def _fill_version(revision: str, adapter: Adapter, events: Sequence[Event]) -> None:
    """Make a ledger of a revision that holds these certificates."""
    engine = adapter.database().engine
    migrate_to(revision, engine)
    rows = [(index, event.fields["time"], "issued", event.body) for index, event in enumerate(events)]
    adapter.load((*row, leaf_hash(row[-1])) for row in rows)
    with engine.begin() as connection:
        for index, event in enumerate(events):
            connection.execute(insert(tables.certificates).values(_early_row(revision, index, event)))
            for table, row in query_rows(index, event.kind, event.fields).rows:
                if table is tables.entry_groups:
                    connection.execute(insert(table).values(row))
        connection.execute(update(tables.head).values(size=len(events), checkpoint=""))
        store_tree(connection)
        sign_first(adapter.keys, connection.connection.cursor(), Statements(engine))


def _version(adapter: Adapter) -> str:
    with adapter.engine.connect() as connection:
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())


def _dump(connection: sqlite3.Connection) -> dict[str, list[object]]:
    """Give all rows of all tables but Alembic's."""
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names if name != "alembic_version"
    }
