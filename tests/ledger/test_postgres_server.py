"""What is true of PostgreSQL: how it is reached, whom it lets in, and every way in which it goes away."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL

from kubemint.errors import ConfigurationError, LedgerUnavailable
from kubemint.ledger.postgres import CONNECT_SECONDS
from kubemint.ledger.reader import LedgerReader
from kubemint.ledger.schema import migrate
from kubemint.ledger.stores import Store, open_store
from kubemint.ledger.writer import LedgerWriter, WritableDatabase
from kubemint.record import Entry
from ledger.adapters import Adapter, PostgresAdapter, assert_sound, head_size, indexes, new_keys
from ledger.certified import Authority
from ledger.events import issued
from ledger.faulty import WHENS
from ledger.filling import bodies, entry_rows, migrate_to
from ledger.severing import SeveringProxy
from ledger.terminating import TlsTerminator
from postgres import PostgresCluster, postgres_cluster
from running_service import free_port

SHORT = timedelta(milliseconds=300)
GRACE = 4.0  # seconds: what this service adds to a limit, and a machine that is busy
PASSWORD = "correct horse"
KEYS, PRIVATE_KEY = new_keys()
_TESTS = Path(__file__).parent.parent


class Opening:
    """Opens stores as processes do, and closes what it opened."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.close = self._stack.close

    def database(self, store: Store) -> WritableDatabase:
        """Open what a writer writes to."""
        database = store.writable()
        self._stack.callback(database.close)
        return database

    def writer(self, store: Store) -> LedgerWriter:
        """Open for writing, with the keys of this module."""
        return LedgerWriter(self.database(store), KEYS, lambda _: None)

    def engine(self, store: Store) -> Engine:
        """Open for reading, for one thread at a time."""
        engine = store.for_reading(1)
        self._stack.callback(engine.dispose)
        return engine

    def migrate(self, store: Store) -> None:
        """Bring the tables up to date."""
        migrate(self.database(store), KEYS)


@pytest.fixture
def opening() -> Iterator[Opening]:
    """Give what opens stores."""
    made = Opening()
    yield made
    made.close()


@pytest.fixture
def adapter(database: URL) -> Iterator[PostgresAdapter]:
    """Give an empty ledger on the server of this module's own."""
    made = PostgresAdapter(database, PRIVATE_KEY)
    yield made
    made.close()


@pytest.fixture
def postgres() -> Iterator[PostgresAdapter]:
    """Give an empty ledger in the server that the tests share."""
    made = PostgresAdapter(private_key=PRIVATE_KEY)
    yield made
    made.close()


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Give the CA of the server's certificate."""
    return Authority()


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    """Give a server of this module's own: over the network it wants a password."""
    made = PostgresCluster(free_port())
    made.install("pg_hba.conf", b"local all all trust\nhost all guest 127.0.0.1/32 scram-sha-256\n")
    made.execute("SELECT pg_reload_conf()")
    made.execute(f"CREATE ROLE guest SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
    yield made
    made.remove()


@pytest.fixture
def terminator(cluster: PostgresCluster, authority: Authority, tmp_path: Path) -> Iterator[TlsTerminator]:
    """Give a way to that server over TLS, by the name of `localhost`."""
    certificate, key = authority.issue("localhost")
    (tmp_path / "server.crt").write_bytes(certificate)
    (tmp_path / "server.key").write_bytes(key)
    with TlsTerminator(tmp_path / "server.crt", tmp_path / "server.key", cluster.socket) as made:
        yield made


@pytest.fixture
def database(cluster: PostgresCluster) -> Iterator[URL]:
    """Give the address of an empty database on that server, by its Unix socket."""
    url = cluster.create_database()
    yield url
    cluster.drop_database(url)


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_that_loses_commits_is_refused(cluster: PostgresCluster, database: URL, setting: str) -> None:
    """A server that says that a commit is on its disk when it is not is no place for a ledger."""
    open_store(database).prepare()
    cluster.reload({setting: "off"})
    try:
        with pytest.raises(ConfigurationError, match=f"ledger.url: the server has {setting} switched off"):
            open_store(database).prepare()
    finally:
        cluster.reload({setting: "on"})
    open_store(database).prepare()


def test_a_database_that_is_not_there(cluster: PostgresCluster) -> None:
    """A database that nobody has created is unavailable, and the message names it."""
    with pytest.raises(LedgerUnavailable, match='database "nowhere" does not exist'):
        open_store(cluster.url("nowhere")).prepare()


def test_a_commit_is_durable_whatever_the_database_says(
    cluster: PostgresCluster, database: URL, opening: Opening
) -> None:
    """Defaults of the database or role do not make our commits less durable, or our waits longer."""
    cluster.execute(f"ALTER DATABASE {database.database} SET synchronous_commit = off")
    cluster.execute(f"ALTER DATABASE {database.database} SET statement_timeout = 0")
    with opening.database(open_store(database)).transaction() as cursor:
        cursor.execute("SELECT current_setting('synchronous_commit'), current_setting('statement_timeout')")
        assert cursor.fetchone() == ("on", "5s")


def test_tls_by_the_right_authority(
    terminator: TlsTerminator, authority: Authority, database: URL, tmp_path: Path, opening: Opening
) -> None:
    """A server that proves by the named CA that it is the host of the address is written to, over TLS."""
    (tmp_path / "ca.crt").write_bytes(authority.certificate_pem)
    store = open_store(_tls_url(terminator, database, tmp_path / "ca.crt"))
    store.prepare()
    opening.migrate(store)
    assert opening.writer(store).append(issued(1)).entry.index == 0
    with opening.database(store).transaction() as cursor:
        assert isinstance(cursor, psycopg.Cursor)
        assert cursor.connection.pgconn.ssl_in_use


@pytest.mark.parametrize("mistake", ["another authority", "another name", "no authority"])
def test_tls_by_another_is_refused(
    terminator: TlsTerminator, authority: Authority, database: URL, tmp_path: Path, mistake: str, opening: Opening
) -> None:
    """A server that does not prove that it is the host of the address is not written to."""
    trusted = Authority("another CA") if mistake == "another authority" else authority
    (tmp_path / "ca.crt").write_bytes(trusted.certificate_pem)
    host = "127.0.0.1" if mistake == "another name" else "localhost"
    ca_file = tmp_path / ("gone.crt" if mistake == "no authority" else "ca.crt")
    store = open_store(_tls_url(terminator, database, ca_file, host=host))
    with pytest.raises(LedgerUnavailable):
        store.prepare()
    with pytest.raises(LedgerUnavailable) as fault:
        opening.writer(store).append(issued(1))
    assert "certificate" in str(fault.value.__cause__)


def test_a_server_without_tls_is_refused_where_it_must_have_it(cluster: PostgresCluster, database: URL) -> None:
    """A server that does not offer TLS is not talked to in the clear, if the address wants it verified."""
    store = open_store(
        _guest_url(cluster, database).update_query_dict({"sslmode": "verify-full", "sslrootcert": "system"})
    )
    with pytest.raises(LedgerUnavailable, match="server does not support SSL"):
        store.prepare()


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\nnever read\n"])
def test_the_password_is_a_files_first_line(
    cluster: PostgresCluster, database: URL, tmp_path: Path, ending: str
) -> None:
    """The password is read from its file, whatever follows its first line."""
    file = tmp_path / "password"
    file.write_bytes(f"{PASSWORD}{ending}".encode())
    open_store(_guest_url(cluster, database), password_file=file).prepare()


def test_a_password_that_was_changed(
    cluster: PostgresCluster, database: URL, tmp_path: Path, opening: Opening
) -> None:
    """A wrong password, or no file, is unavailable; once the file is right the same ledger goes on."""
    file = tmp_path / "password"
    opening.migrate(open_store(database))
    writer = opening.writer(open_store(_guest_url(cluster, database), password_file=file))
    with pytest.raises(LedgerUnavailable) as fault:
        writer.append(issued(1))
    assert f"the password's file {file} cannot be read: No such file" in str(fault.value.__cause__)
    for content, cause in ((b"\xff", "not UTF-8"), (b"guess", "password authentication failed")):
        file.write_bytes(content)
        with pytest.raises(LedgerUnavailable) as fault:
            writer.append(issued(1))
        assert cause in str(fault.value.__cause__)
        assert "guess" not in str(fault.value.__cause__)
    file.write_text(PASSWORD)
    assert writer.append(issued(1)).entry.index == 0


def test_a_statement_that_takes_too_long(postgres: PostgresAdapter, opening: Opening) -> None:
    """The server ends a statement after the time that was set, for writers and readers."""
    store = open_store(postgres._url, statement_timeout=SHORT)
    began = time.monotonic()
    with pytest.raises(LedgerUnavailable, match="statement timeout"):
        _sleep(opening.database(store))
    with opening.engine(store).connect() as connection, pytest.raises(Exception, match="statement timeout"):
        connection.execute(text("SELECT pg_sleep(30)"))
    assert time.monotonic() - began < SHORT.total_seconds() * 2 + GRACE


def test_a_migration_may_take_long(postgres: PostgresAdapter, opening: Opening) -> None:
    """What brings the tables up to date waits longer than a statement may, where it says so."""
    store = open_store(postgres._url, statement_timeout=SHORT)
    with opening.database(store).engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_sleep(2.5)"))


def test_a_server_that_never_answers(opening: Opening) -> None:
    """Where something accepts and says nothing, writers and readers give up after the time for connecting."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = URL.create("postgresql", username="x", host="127.0.0.1", port=silent.getsockname()[1], database="x")
        store = open_store(url)
        asks: list[Callable[[], object]] = [
            store.prepare,
            lambda: opening.writer(store).append(issued(1)),
            LedgerReader(opening.engine(store)).size,
        ]
        began = time.monotonic()
        with ThreadPoolExecutor(len(asks)) as pool:
            faults = [pool.submit(ask) for ask in asks]
            assert [type(fault.exception()) for fault in faults] == [LedgerUnavailable] * 3
        assert time.monotonic() - began < CONNECT_SECONDS + GRACE


def test_a_connection_that_stands_still(postgres: PostgresAdapter, opening: Opening) -> None:
    """Where the server's side of a connection stops, writers and readers give it up, and go on with another."""
    store = open_store(postgres._url, lock_wait=SHORT, statement_timeout=SHORT)
    writer, reader = opening.writer(store), LedgerReader(opening.engine(store))
    entries = [writer.append(issued(1)).entry]
    assert reader.size() == 1
    with _still(postgres), ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        append, size = pool.submit(writer.append, issued(2)), pool.submit(reader.size)
        entries.append(append.result().entry)
        assert size.result() in (1, 2)
        assert SHORT.total_seconds() < time.monotonic() - began < SHORT.total_seconds() + GRACE
    assert_sound(postgres, entries)


def test_a_standby_that_does_not_confirm(
    cluster: PostgresCluster, adapter: PostgresAdapter, opening: Opening
) -> None:
    """A commit that no synchronous standby has confirmed is not acknowledged, and holds up nobody for ever."""
    writer = opening.writer(open_store(adapter._url, lock_wait=SHORT, statement_timeout=SHORT))
    entries = [writer.append(issued(1)).entry]
    cluster.reload({"synchronous_standby_names": "nobody"})
    try:
        began = time.monotonic()
        with pytest.raises(LedgerUnavailable):
            writer.append(issued(2))
        assert time.monotonic() - began < SHORT.total_seconds() + GRACE
    finally:
        cluster.reload({"synchronous_standby_names": ""})
    entries.append(_append_in_the_end(writer, 3))
    assert_sound(adapter, entries)


def test_a_standby_that_is_no_longer_waited_for(
    cluster: PostgresCluster, adapter: PostgresAdapter, opening: Opening
) -> None:
    """Where an administrator ends the wait for a standby, the server warns, and that is no acknowledgement."""
    writer = opening.writer(open_store(adapter._url))
    entries = [writer.append(issued(1)).entry]
    cluster.reload({"synchronous_standby_names": "nobody"})
    try:
        with ThreadPoolExecutor(1) as pool:
            append = pool.submit(writer.append, issued(2))
            _cancel_the_wait(cluster)
            fault = append.exception()
        assert isinstance(fault, LedgerUnavailable)
        assert "canceling wait for synchronous replication" in str(fault.__cause__)
    finally:
        cluster.reload({"synchronous_standby_names": ""})
    assert indexes(adapter) == [0, 1]  # it is there, and nobody was told
    entries.append(writer.append(issued(3)).entry)
    assert_sound(adapter, entries)


def test_a_connection_that_dies_while_it_is_idle(postgres: PostgresAdapter) -> None:
    """A connection that was ended between two appends, or two reads, costs nobody an answer."""
    ledger, reader = postgres.open(), postgres.reader()
    for serial in (1, 2, 3):
        assert ledger.append(issued(serial)).entry.index == serial - 1
        assert reader.size() == serial
        _end_connections(postgres)


def test_a_server_that_has_become_read_only(postgres: PostgresAdapter) -> None:
    """Where writing leads to a standby, nothing is written; with a server that takes it, the ledger goes on."""
    database = postgres._url.database
    ledger = postgres.open()
    postgres.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    for serial in (1, 2):
        with pytest.raises(LedgerUnavailable) as fault:
            ledger.append(issued(serial))
        assert "read-only transaction" in str(fault.value.__cause__)
    postgres_cluster().execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    assert ledger.append(issued(3)).entry.index == 0


@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_a_server_that_is_stopped_and_started(
    cluster: PostgresCluster, adapter: PostgresAdapter, mode: str
) -> None:
    """While the server is away nothing is acknowledged; when it is back the ledger that is open goes on."""
    ledger, reader = adapter.open(), adapter.reader()
    entries = [ledger.append(issued(1)).entry]
    cluster.stop(mode)
    try:
        for ask in (lambda: ledger.append(issued(2)), reader.size):
            with pytest.raises(LedgerUnavailable):
                ask()
    finally:
        cluster.start()
    assert reader.size() == 1
    entries.append(ledger.append(issued(3)).entry)
    assert [entry.index for entry in entries] == [0, 1]
    assert_sound(adapter, entries)


def test_a_way_that_breaks_at_each_round_trip(postgres: PostgresAdapter, tmp_path: Path) -> None:
    """Wherever the connection breaks, what was acknowledged is on record, and nothing is there twice."""
    heard: list[Entry] = []
    unheard = 0
    with SeveringProxy(tmp_path, postgres._url) as proxy:
        database = open_store(proxy.url).writable()
        writer = LedgerWriter(database, postgres.keys, lambda _: None)
        for round_trip in range(1, 30):
            for when in WHENS:
                size = head_size(postgres)
                proxy.sever(round_trip, when)
                try:
                    heard.append(writer.append(issued(round_trip * 2 + (when == "after"))).entry)
                except LedgerUnavailable:
                    assert proxy.is_severed
                    unheard += _settled_size(postgres, size) - size
            if not proxy.is_severed:
                break
        proxy.mend()
        heard.append(writer.append(issued(1000)).entry)
        database.close()
    assert round_trip > 7  # begin, the head, three inserts, the head again, commit; and then it broke no more
    assert unheard == 1  # by the commit that took effect
    assert len(indexes(postgres)) == len(heard) + unheard
    assert_sound(postgres, heard)


def test_processes_that_bring_one_ledger_up_to_date_at_once() -> None:
    """Of several that start at once one migrates, the others find it done, and the tree is built once."""
    adapter = PostgresAdapter(is_migrated=False)
    migrate_to("0002", adapter.database().engine)
    adapter.load(entry_rows(bodies(5_000)))
    adapter.execute("UPDATE head SET size = 5000")
    with ExitStack() as stack:
        processes = [stack.enter_context(_migrating(adapter.address)) for _ in range(3)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        assert [process.wait(60) for process in processes] == [0] * 3
    assert adapter.open().append(issued(1)).entry.index == 5_000
    assert_sound(adapter)
    adapter.close()


@contextmanager
def _migrating(address: str) -> Iterator["subprocess.Popen[str]"]:
    command = (sys.executable, "-m", "ledger.migrating", address)
    with subprocess.Popen(
        command, cwd=_TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@contextmanager
def _still(postgres: PostgresAdapter) -> Iterator[None]:
    """Let every process of the server that serves this database stand still."""
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    rows = _rows(postgres, f"SELECT pid FROM pg_stat_activity WHERE {others}")
    pids = [pid for (pid,) in rows if Path(f"/proc/{pid}").exists()]
    assert len(pids) >= 2
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _end_connections(postgres: PostgresAdapter) -> None:
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    _rows(postgres, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")


def _rows(postgres: PostgresAdapter, statement: str) -> list[tuple[int]]:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def _cancel_the_wait(cluster: PostgresCluster) -> None:
    """Cancel the backend that waits for a standby, as soon as there is one."""
    end = time.monotonic() + 10
    cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    while not cluster.execute(cancel):
        assert time.monotonic() < end, "nobody waits"
        time.sleep(0.02)


def _append_in_the_end(writer: LedgerWriter, serial: int) -> Entry:
    """Append as soon as the server lets go of what it had begun."""
    end = time.monotonic() + 20
    while True:
        try:
            return writer.append(issued(serial)).entry
        except LedgerUnavailable:
            assert time.monotonic() < end
            time.sleep(0.05)


def _settled_size(adapter: Adapter, size: int) -> int:
    """Give the size once the server has seen that the connection is gone."""
    with adapter.held():
        return head_size(adapter)


def _sleep(database: WritableDatabase) -> None:
    with database.transaction() as cursor:
        cursor.execute("SELECT pg_sleep(30)")


def _tls_url(terminator: TlsTerminator, database: URL, ca_file: Path, host: str = "localhost") -> URL:
    query = {"sslmode": "verify-full", "sslrootcert": str(ca_file)}
    return database.set(host=host, port=terminator.port, query=query)


def _guest_url(cluster: PostgresCluster, database: URL) -> URL:
    return URL.create(
        "postgresql", username="guest", host="localhost", port=cluster.port, database=database.database
    )
