"""What is denied by several services of one ledger, after restarts and a restore, and without a ledger."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postgres import PostgresCluster, postgres_cluster
from running_service import RunningService, free_port
from service.clients import wait_until_replaced
from service.revoking import Office, make_office
from service.workspaces import change_yaml


def _two_offices(directory: Path, ledger_url: str | None = None) -> tuple[Office, Office]:
    """Make two services of one ledger, neither started yet."""

    def change(said: Any) -> None:
        said["server"]["workers"] = 1
        if ledger_url is not None:
            said["ledger"]["url"] = ledger_url

    config = make_office(directory / "one", change)
    shutil.copytree(config.parent, directory / "two")
    other = directory / "two" / config.name
    here = f"sqlite:///{directory / 'one' / 'ledger.db'}"

    def elsewhere(said: Any) -> None:
        said["server"]["listen"] = f"127.0.0.1:{free_port()}"
        said["ledger"]["url"] = ledger_url or here

    change_yaml(other, elsewhere)
    first, second = (RunningService(file.parent, config=file) for file in (config, other))
    return Office(service=first), Office(service=second)


def _obeyed_by_another(offices: tuple[Office, Office]) -> None:
    first, second = offices
    for number in range(3):
        body = first.issue(f"user-{number}")
        assert second.denials(body["credentialId"]) == {False}
        held = first.revoked(user=f"user-{number}", reason="certificateHold")
        assert second.seconds_until_denied(body["credentialId"]) < 1
    second.lift(held["revocation"])
    assert first.denials(body["credentialId"]) == {False}


def test_two_services_on_one_file(tmp_path: Path) -> None:
    """What one service revokes another denies within a second; what it lifts is not denied any more."""
    offices = _two_offices(tmp_path)
    with offices[0].service, offices[1].service:
        _obeyed_by_another(offices)


@pytest.fixture
def database() -> Iterator[tuple[PostgresCluster, str]]:
    """Give a server and the address of an empty database on it."""
    cluster = postgres_cluster()
    url = cluster.create_database()
    yield cluster, url.render_as_string()
    cluster.drop_database(url)


def test_two_services_on_postgresql(tmp_path: Path, database: tuple[PostgresCluster, str]) -> None:
    """The same on PostgreSQL, and while the connections that listen are ended again and again."""
    cluster, url = database
    offices = _two_offices(tmp_path, url)
    with offices[0].service, offices[1].service:
        _obeyed_by_another(offices)
        for number in range(3):
            body = offices[0].issue(f"other-{number}")
            cluster.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'")
            offices[0].revoked(user=f"other-{number}")
            assert offices[1].seconds_until_denied(body["credentialId"]) < 1.2


def test_after_a_restart(tmp_path: Path) -> None:
    """What was revoked is denied at the first answer after a restart and after kill -9, and by a new worker."""
    config = make_office(tmp_path / "kubemint")
    service = RunningService(config.parent, config=config).start()
    try:
        office = Office(service=service)
        credentials = [office.issue(f"user-{number}")["credentialId"] for number in range(3)]
        for number in range(2):
            office.revoked(user=f"user-{number}")
        service.stop()
        service.start()
        assert office.verdict(credentials[0])["denied"] is True
        office.issue("late")
        office.revoked(user="user-2")
        service.kill()
        service.start()
        assert [office.verdict(one)["denied"] for one in credentials] == [True] * 3
        victim = service.worker_pids[0]
        os.kill(victim, signal.SIGKILL)
        wait_until_replaced(service, victim)
        assert office.denials(*credentials) == {True}
    finally:
        service.stop()


def test_after_a_restore(tmp_path: Path) -> None:
    """What was revoked before a backup is denied by the service that is restored from it."""
    config = make_office(tmp_path / "kubemint")
    with RunningService(config.parent, config=config) as service:
        office = Office(service=service)
        body = office.issue()
        office.revoked(user="jane")
        (tmp_path / "passphrase").write_text("correct horse\n")
        _kubemint("backup", tmp_path / "backup", "--config", config, "--passphrase-file", tmp_path / "passphrase")
    shutil.rmtree(config.parent / "ledger.db", ignore_errors=True)
    for file in config.parent.glob("ledger.db*"):
        file.unlink()
    _kubemint("restore", tmp_path / "backup", "--config", config)
    with RunningService(config.parent, config=config) as service:
        assert Office(service=service).verdict(body["credentialId"])["denied"] is True


def _kubemint(*arguments: str | Path) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "kubemint", *map(str, arguments)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_while_the_ledger_is_down(tmp_path: Path, database: tuple[PostgresCluster, str]) -> None:
    """While PostgreSQL ends every connection, what memory has is denied; nothing is said against others."""
    cluster, url = database
    config = make_office(tmp_path / "kubemint", lambda said: said["ledger"].update(url=url))
    name = url.rpartition("/")[2].partition("?")[0]
    with RunningService(config.parent, config=config) as service:
        office = Office(service=service)
        bad, good = office.issue("jane")["credentialId"], office.issue("joe")["credentialId"]
        office.revoked(user="jane")
        assert office.seconds_until_denied(bad) < 1
        assert office.denials(good, user="joe") == {False}
        time.sleep(1)  # by now every worker has it, whoever has answered
        cluster.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        cluster.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        assert office.denials(bad) == {True}
        assert office.denials(good, user="joe") == {False}
        assert office.ask("eve").status == 503
        cluster.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        office.seconds_until_denied(bad)
