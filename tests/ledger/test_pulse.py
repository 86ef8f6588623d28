"""A server that falls silent is not waited for, one that is slow is, and neither is forgotten."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from kubemint.errors import LedgerUnavailable
from kubemint.ledger.pulse import ASK_SECONDS, SILENT_SECONDS, Pulse, ServerSilent
from kubemint.ledger.schema import migrate
from kubemint.ledger.stores import open_store
from kubemint.ledger.writer import LedgerWriter
from ledger.adapters import new_keys
from ledger.events import issued
from postgres import PostgresCluster

KEYS = new_keys()[0]
SLACK = 1.5  # a machine that runs tests is slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    """Give a server of this module's own, which may stand still."""
    made = PostgresCluster()
    yield made
    made.remove()


@contextmanager
def still(cluster: PostgresCluster) -> Iterator[None]:
    """Let every process of the server stand still, while a `with` lasts."""
    os.kill(cluster.pid, signal.SIGSTOP)  # first, so that it has no more children
    children = Path(f"/proc/{cluster.pid}/task/{cluster.pid}/children").read_text().split()
    pids = [cluster.pid, *map(int, children)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_server_that_stands_still_is_given_up(cluster: PostgresCluster) -> None:
    """Who waits gives up after a second, who comes later at once; when the server is back, so is the ledger."""
    store = open_store(cluster.create_database())
    database = store.writable()
    migrate(database, KEYS)
    writer, engine = LedgerWriter(database, KEYS, lambda _: None), store.for_reading(4)
    writer.append(issued(1))
    _read(engine)
    with still(cluster), ThreadPoolExecutor(4) as pool:
        began = time.monotonic()
        waits = [pool.submit(writer.append, issued(serial)) for serial in (2, 3)]
        waits.append(pool.submit(_read, engine))
        assert [wait.exception() is not None for wait in waits] == [True] * 3
        assert time.monotonic() - began < SILENT_SECONDS + ASK_SECONDS + SLACK
        began = time.monotonic()
        for serial in range(4, 8):
            with pytest.raises(LedgerUnavailable):
                writer.append(issued(serial))
        assert time.monotonic() - began < SILENT_SECONDS
    _until_heard(lambda: writer.append(issued(9)))
    _until_heard(lambda: _read(engine))
    database.close()
    engine.dispose()


def test_a_server_that_is_slow_is_waited_for(cluster: PostgresCluster) -> None:
    """A statement that takes longer than a silence goes on to its end, though nothing else is heard meanwhile."""
    engine = open_store(cluster.create_database()).for_reading(1)
    began = time.monotonic()
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_sleep(2.5)"))
    assert time.monotonic() - began >= 2.5
    engine.dispose()


def test_one_tries_to_reach_a_server_that_never_answered() -> None:
    """Of many who connect to what says nothing, one waits as long as a connection may take, and others do not."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = URL.create("postgresql", username="x", host="127.0.0.1", port=silent.getsockname()[1], database="x")
        engine = open_store(url).for_reading(8)
        with ThreadPoolExecutor(8) as pool:
            seconds = sorted(pool.map(lambda _: _seconds_to_fail(engine), range(8)))
        assert seconds[-2] < SILENT_SECONDS + SLACK < seconds[-1]
        assert _seconds_to_fail(engine) < SLACK
        engine.dispose()


def test_a_refusal_is_an_answer() -> None:
    """Where a server refuses, each attempt is made and its reason told."""
    pulse = Pulse(lambda: None)
    for number in range(3):
        with pytest.raises(psycopg.OperationalError, match=f"refused {number}"):
            pulse.connect(partial(_refuse, number))
    pulse.check()


def test_a_silent_server_is_looked_for_until_it_answers() -> None:
    """While the server is silent nothing is tried by those who come, and a thread looks for it again and again."""
    looks: list[float] = []

    def look() -> None:
        looks.append(time.monotonic())
        if len(looks) < 3:
            time.sleep(SILENT_SECONDS)
            raise psycopg.OperationalError("no answer")

    pulse = Pulse(look)
    with pytest.raises(ServerSilent):
        pulse.check_wait(time.monotonic() - SILENT_SECONDS, lambda: False)
    with pytest.raises(ServerSilent):
        pulse.connect(lambda: pytest.fail("tried"))
    _until_heard(pulse.check)
    assert len(looks) == 3
    assert pulse.connect(lambda: "connected") == "connected"


@pytest.mark.parametrize("waited", [0.0, SILENT_SECONDS / 2])
def test_nobody_asks_before_a_silence(waited: float) -> None:
    """A wait that is short so far costs the server nothing."""
    pulse = Pulse(lambda: None)
    pulse.check_wait(time.monotonic() - waited, lambda: pytest.fail("asked"))


def test_a_sign_of_life_is_good_for_a_while() -> None:
    """Where somebody is there, the wait goes on, and the next question comes no sooner than after a silence."""
    pulse, asked, began = Pulse(lambda: None), [], time.monotonic() - 60
    for _ in range(3):
        pulse.check_wait(began, lambda: asked.append(1) is None)
    assert len(asked) == 1


def _refuse(number: int) -> None:
    raise psycopg.OperationalError(f"refused {number}")


def _read(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def _seconds_to_fail(engine: Engine) -> float:
    began = time.monotonic()
    with pytest.raises(SQLAlchemyError):
        _read(engine)
    return time.monotonic() - began


def _until_heard(ask: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            ask()
        except (LedgerUnavailable, SQLAlchemyError, ServerSilent):
            assert time.monotonic() < end, "the server is back and nobody heard"
            time.sleep(0.05)
        else:
            return
