"""Which store an address means, and how safe the way to it must be."""

import stat
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from kubemint.errors import LedgerUnavailable
from kubemint.ledger.stores import PostgresStore, SqliteStore, open_store, secured
from ledger.adapters import SHORT_WAIT

HERE = (
    "postgresql://localhost/d",
    "postgresql://127.0.0.1/d",
    "postgresql://[::1]/d",
    "postgresql://u@/d?host=/run/postgresql",
    "postgresql:///d",
    "postgresql://localhost/d?hostaddr=127.0.0.1",
)
ELSEWHERE = (
    "postgresql://db.example/d",
    "postgresql://u@10.0.0.1:5433/d",
    "postgresql://localhost.example/d",
    "postgresql:///d?host=db.example",
    "postgresql:///d?host=/run/postgresql,db.example",
    "postgresql:///d?host=/run/postgresql&host=db.example",
    # libpq connects to what the query says.
    "postgresql://localhost/d?host=db.example",
    "postgresql://localhost/d?hostaddr=10.0.0.1",
    "postgresql:///d?hostaddr=127.0.0.1,10.0.0.1",
)


@pytest.mark.parametrize("url", HERE)
def test_a_server_on_this_machine_needs_no_certificate(url: str) -> None:
    """The address of a server on this machine is left as it is."""
    assert secured(make_url(url)) == make_url(url)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_a_server_elsewhere_must_prove_who_it_is(url: str) -> None:
    """Where any host of an address is another machine, the server must prove that it is that host."""
    found = secured(make_url(url))
    assert found.query["sslmode"] == "verify-full"
    assert found.difference_update_query(["sslmode"]) == make_url(url)


@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-ca", "verify-full"])
def test_an_address_may_say_how_safe_it_is(mode: str) -> None:
    """An sslmode in the address counts, whichever it is."""
    url = make_url(f"postgresql://db.example/d?sslmode={mode}")
    assert secured(url) == url


def test_a_file_and_a_server(tmp_path: Path) -> None:
    """An address of SQLite is a file, with its wait for a lock, and one of PostgreSQL is a server."""
    file = tmp_path / "ledger.db"
    store = open_store(make_url(f"sqlite:///{file}"), lock_wait=SHORT_WAIT)
    assert store == SqliteStore(file, SHORT_WAIT)
    assert isinstance(open_store(make_url("postgresql://localhost/d")), PostgresStore)
    assert open_store(make_url("postgresql://localhost/d")).exists()


def test_a_place_for_a_file_is_made(tmp_path: Path) -> None:
    """A file is there once its place is prepared, for its owner alone; preparing it again changes nothing."""
    store = open_store(make_url(f"sqlite:///{tmp_path}/ledger.db"))
    assert not store.exists()
    for _ in range(2):
        store.prepare()
        assert store.exists()
        assert stat.S_IMODE((tmp_path / "ledger.db").stat().st_mode) == 0o600


def test_a_file_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Where a file cannot be made the ledger is unavailable, and the message says why."""
    store = open_store(make_url(f"sqlite:///{tmp_path}/gone/ledger.db"))
    with pytest.raises(LedgerUnavailable, match=r"gone/ledger\.db: No such file or directory"):
        store.prepare()
    assert not store.exists()


def test_a_server_that_cannot_be_reached(tmp_path: Path) -> None:
    """Where no server listens the ledger is unavailable, and the message says where it was looked for."""
    store = open_store(make_url(f"postgresql:///d?host={tmp_path}"))
    with pytest.raises(LedgerUnavailable, match=str(tmp_path)):
        store.prepare()
