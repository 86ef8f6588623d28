"""The machine line: what a figure must be read with."""

import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench.load import require_wrk

SYNCS = 200
PAGE = bytes(4096)


def describe(directory: Path) -> dict[str, str]:
    """Return the machine's parts that decide about the figures; the disk's is measured in the directory."""
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "disk": f"{_file_system(directory)}, fdatasync {_sync_ms(directory):.2f} ms",
        "load": f"{os.getloadavg()[0]:.2f}",  # near 0 before a run, or others take part in it
        "Python": platform.python_version(),
        "wrk": _wrk_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def _file_system(directory: Path) -> str:
    """Return the type: on tmpfs a durable commit costs nothing, and the figures mean little."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "file system unknown"
    real = directory.resolve()
    above = [(len(point), kind) for _, point, kind, *_ in mounts if real.is_relative_to(point)]
    return max(above)[1]


def _sync_ms(directory: Path) -> float:
    """Return the median time to append a page durably."""
    times = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(SYNCS):
            file.write(PAGE)
            before = time.perf_counter()
            os.fdatasync(file.fileno()) if hasattr(os, "fdatasync") else os.fsync(file.fileno())
            times.append(time.perf_counter() - before)
    return statistics.median(times) * 1000


def _wrk_version() -> str:
    # `wrk -v` prints its usage too and exits with 1.
    said = subprocess.run([require_wrk(), "-v"], capture_output=True, text=True, check=False)
    return said.stdout.split(" [")[0].removeprefix("wrk ").strip()
