"""Conditions under those who want the same at once: threads of one process, and several processes."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kubemint.ledger import tables
from ledger.adapters import Adapter, assert_sound, indexes, stored
from ledger.competing import QUOTA, TRIES, WANTED
from ledger.events import requested

PROCESSES = 4
THREADS = 16
WINNERS = {"quota": QUOTA, "token": 1, "approval": 1, "policy": 1}
TABLES = {
    "quota": tables.certificates,
    "token": tables.token_uses,
    "approval": tables.approvals,
    "policy": tables.policies,
}

everything = pytest.mark.parametrize("what", WANTED)


@everything
def test_threads_get_no_more_than_there_is(adapter: Adapter, what: str) -> None:
    """Of sixteen threads that are written together, as many get what they want as there is of it."""
    ledger = adapter.open()
    ledger.append(requested("r1"))
    condition, make = WANTED[what]
    with ThreadPoolExecutor(THREADS) as pool, adapter.held():
        asked = [pool.submit(ledger.append, make(n), conditions=[condition]) for n in range(1, THREADS + 1)]
    recorded = [one.result() for one in asked]
    assert sum(one.unmet is None for one in recorded) == WINNERS[what]
    assert len(indexes(adapter)) == 1 + WINNERS[what]
    assert_sound(adapter, [entry for one in recorded for entry in one.entries])


@everything
def test_processes_get_no_more_than_there_is(adapter: Adapter, what: str) -> None:
    """Four processes of sixteen threads get exactly what there is, and every refusal is on record."""
    adapter.open().append(requested("r1"))
    with ExitStack() as stack:
        processes = [stack.enter_context(_competing(adapter, name, what)) for name in range(1, PROCESSES + 1)]
        for process in processes:
            process.stdin.close()
        got = [int(line) for process in processes for line in process.stdout]
        assert [process.wait(60) for process in processes] == [0] * PROCESSES
    assert sorted(got) == [row["entry_index"] for row in stored(adapter, TABLES[what])]
    assert len(got) == WINNERS[what]
    assert len(stored(adapter, tables.refusals)) == PROCESSES * THREADS * TRIES - WINNERS[what]
    assert_sound(adapter)


@contextmanager
def _competing(adapter: Adapter, name: int, what: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process that is ready to compete, and end it at the latest when the test does."""
    with subprocess.Popen(
        (sys.executable, "-m", "ledger.competing", adapter.address, str(name), what, str(THREADS)),
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()
