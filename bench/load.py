"""The load: wrk sends one fixed request over many connections and reports what came of it.

wrk because it costs little: it shares the machine's cores with what it measures.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError, ToolMissingError

SCRIPT = Path(__file__).with_name("sign.lua")
ANSWER_TIMEOUT_SECONDS = 10  # wrk's own 2 seconds would count a slow answer as lost
GRACE_SECONDS = 30  # beyond the asked duration, before wrk is taken to hang
MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The one HTTP POST that is sent again and again."""

    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What wrk saw in one round; latencies in milliseconds."""

    answers: int
    seconds: float
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds


def require_wrk() -> str:
    """Return the path of wrk, or raise ToolMissingError."""
    found = shutil.which("wrk")
    if found is None:
        raise ToolMissingError("wrk is not installed: apt-get install wrk (Debian, Ubuntu) or brew install wrk")
    return found


def press(request: Request, *, connections: int, seconds: int) -> Round:
    """Send the request over that many connections for that long.

    Raises BenchError unless each answer was a success.
    """
    with tempfile.TemporaryDirectory(prefix="kubemint-bench-load-") as directory:
        body, headers = Path(directory, "body"), Path(directory, "headers")
        body.write_bytes(request.body)
        headers.write_text("".join(f"{name}: {value}\n" for name, value in request.headers.items()))
        options = [f"--connections={connections}", "--threads=1", f"--duration={seconds}s"]
        options += [f"--timeout={ANSWER_TIMEOUT_SECONDS}s", f"--script={SCRIPT}", request.url]
        output = _run([require_wrk(), *options, "--", str(body), str(headers)], seconds + GRACE_SECONDS)
    return _parse(output)


def _run(command: list[str], timeout_seconds: int) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"wrk did not end within {timeout_seconds} seconds") from error
    if ended.returncode != 0:
        raise BenchError(f"wrk failed: {ended.stdout}{ended.stderr}")
    return ended.stdout


def _parse(output: str) -> Round:
    seen = json.loads(output.splitlines()[-1])
    failures = {kind: count for kind, count in seen["errors"].items() if count}
    if failures or not seen["requests"]:
        raise BenchError(f"not every request got its certificate: {seen['requests']} answers, errors {failures}")
    latency_ms = {name: value / 1000 for name, value in seen["latency"].items()}
    return Round(
        answers=seen["requests"],
        seconds=seen["duration"] / MICROSECONDS,
        mean_ms=latency_ms["mean"],
        p50_ms=latency_ms["p50"],
        p90_ms=latency_ms["p90"],
        p99_ms=latency_ms["p99"],
        p999_ms=latency_ms["p999"],
        max_ms=latency_ms["max"],
    )
