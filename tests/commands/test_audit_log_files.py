"""The lines of an audit log, of which each may be as long as somebody likes."""

import gzip
import io
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from commands.audit_lines import STRANGER, line
from kubemint.commands.audit_log_files import LINE_MAX, TOO_LONG, AuditFiles
from kubemint.kubernetes.audit_log import AuditEvent, read_audit_log

EVENT = line("ann", datetime(2026, 11, 20, 12, 0, tzinfo=UTC), 200, STRANGER)
PADDED = EVENT.rstrip() + b" " * LINE_MAX


def _log(directory: Path, content: bytes) -> AuditFiles:
    file = directory / "audit.log"
    file.write_bytes(content)
    return AuditFiles([file])


def _are_events(files: AuditFiles) -> list[bool]:
    """Tell of each line whether it is an event."""
    return [isinstance(found, AuditEvent) for found in read_audit_log(files.lines())]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    "beyond",
    [
        b"[]," * (LINE_MAX // 3 * 2) + b"\n",
        PADDED + b"\n",
        PADDED + EVENT,
        b"x" * LINE_MAX + b"\n",
        b"x" * (LINE_MAX + 1 + 3 * 2**20) + b"\n",  # ends where a step of reading does
    ],
    ids=["much", "an event and spaces", "two events", "one octet", "whole steps"],
)
def test_a_line_that_is_too_long(tmp_path: Path, pack: Callable[[bytes], bytes], beyond: bytes) -> None:
    """It is one line that is no event, whatever is in it; those after it are read, and have their own places."""
    files = _log(tmp_path, pack(EVENT + beyond + EVENT + b"[]\n"))
    assert list(files.lines()) == [EVENT, TOO_LONG, EVENT, b"[]\n"]
    files = _log(tmp_path, pack(EVENT + beyond + EVENT + b"[]\n"))
    assert _are_events(files) == [True, False, True, False]
    assert [files.place(number) for number in (2, 4)] == [(tmp_path / "audit.log", number) for number in (2, 4)]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_that_is_just_short_enough(tmp_path: Path, end: bytes) -> None:
    """As much as may be is read, with an end or without; a longer one is no event, with an end or without."""
    whole = EVENT.rstrip() + b" " * (LINE_MAX - len(EVENT.rstrip()) - len(end)) + end
    assert len(whole) == LINE_MAX
    assert _are_events(_log(tmp_path, whole)) == [True]
    assert _are_events(_log(tmp_path, EVENT + b" " + whole)) == [True, False]
    assert _are_events(_log(tmp_path, EVENT + PADDED + end)) == [True, False]


def test_a_line_without_end_takes_no_memory(tmp_path: Path) -> None:
    """What a line takes is bounded, however long it is: a quarter of a GiB, packed, is read in a few megabytes."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as out:
        for _ in range(64):
            out.write(b"[" * 2**22)
    files = _log(tmp_path, packed.getvalue())
    tracemalloc.start()
    try:
        assert list(files.lines()) == [TOO_LONG]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * LINE_MAX
