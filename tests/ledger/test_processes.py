"""Several processes on one ledger, and processes that are killed."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kubemint.ledger import tables
from ledger.adapters import Adapter, assert_sound, stored
from ledger.events import issued

PROCESSES = 4
APPENDS = 60
KILLS = 6
_TESTS = Path(__file__).parent.parent


def test_processes_that_append_at_once_share_one_sequence(adapter: Adapter) -> None:
    """Four processes at once leave no gap and no duplicate, and each has what it was told."""
    with ExitStack() as stack:
        processes = [stack.enter_context(_appending(adapter, name, APPENDS)) for name in range(1, PROCESSES + 1)]
        for process in processes:
            process.stdin.close()
        told = [line for process in processes for line in process.stdout.read().splitlines()]
        assert [process.wait(60) for process in processes] == [0] * PROCESSES
    assert_sound(adapter)
    assert len(told) == PROCESSES * APPENDS
    _assert_on_record(adapter, told)


def test_a_killed_process_takes_nothing_with_it(adapter: Adapter) -> None:
    """After SIGKILL in the middle of appending, every acknowledged entry is there and no index is missing."""
    told: list[str] = []
    with ExitStack() as stack:
        waiting = [stack.enter_context(_appending(adapter, name, 1_000_000)) for name in range(1, KILLS + 1)]
        for number, process in enumerate(waiting):
            process.stdin.close()
            told += [process.stdout.readline() for _ in range(1 + 3 * number)]
            process.kill()
            told += process.stdout.read().splitlines(keepends=True)
            process.wait(60)
            assert_sound(adapter)
    _assert_on_record(adapter, [line for line in told if line.endswith("\n")])
    assert adapter.open().append(issued(1)).entry.index == len(stored(adapter, tables.entries)) - 1


def test_a_killed_process_does_not_hold_up_others(adapter: Adapter) -> None:
    """Processes that are killed while others append cost those others nothing."""
    with ExitStack() as stack:
        staying = stack.enter_context(_appending(adapter, 1, APPENDS * 4))
        dying = [stack.enter_context(_appending(adapter, name, 1_000_000)) for name in (2, 3, 4)]
        for process in (staying, *dying):
            process.stdin.close()
        told = []
        for process in dying:
            told += [process.stdout.readline() for _ in range(10)]
            process.kill()
        told += staying.stdout.read().splitlines()
        assert staying.wait(60) == 0
    assert_sound(adapter)
    _assert_on_record(adapter, told)


@contextmanager
def _appending(adapter: Adapter, name: int, count: int) -> Iterator[subprocess.Popen[str]]:
    """Start a process that is ready to append, and end it at the latest when the test does."""
    command = (sys.executable, "-m", "ledger.appending", adapter.address, str(name), str(count))
    with subprocess.Popen(
        command, cwd=_TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def _assert_on_record(adapter: Adapter, told: Sequence[str]) -> None:
    """Check that each line `INDEX SERIAL` that a process printed is what the ledger holds."""
    rows = {row["entry_index"]: row["serial_number"] for row in stored(adapter, tables.certificates)}
    acknowledged = [tuple(map(int, line.split())) for line in told]
    assert acknowledged
    for index, serial in acknowledged:
        assert int.from_bytes(rows[index]) == serial
