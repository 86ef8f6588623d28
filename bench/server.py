"""A server under measurement: started on a free port, asked over HTTP, ended by its process id."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import BenchError

HOST = "127.0.0.1"
START_SECONDS = 60
STOP_SECONDS = 20
# Settings of whoever runs the bench must not reach what is measured.
NOT_INHERITED = ("BAO_", "GUNICORN_", "KUBEMINT_", "PROMETHEUS_", "VAULT_")

# No proxy: everything asked is on this machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    """Return a TCP port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def environment() -> dict[str, str]:
    """Return this process's environment without settings of the programs that are measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}


@contextlib.contextmanager
def running(command: Sequence[str], *, directory: Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command while the block lasts, its standard output in `output`, its errors beside it."""
    with output.open("wb") as out, output.with_suffix(".err").open("wb") as err:
        process = subprocess.Popen(
            command, cwd=directory, env=environment(), stdout=out, stderr=err, start_new_session=True
        )
    try:
        yield process
    finally:
        _end(process)


def await_ready(process: subprocess.Popen[bytes], probe: Callable[[], bool], *, output: Path) -> None:
    """Return once the probe holds; raise BenchError with the server's own words if it ends or is too late."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if probe():
            return
        time.sleep(0.02)
    written = output.with_suffix(".err").read_text(errors="replace") + output.read_text(errors="replace")
    raise BenchError(f"{process.args!r} does not serve (exit {process.poll()}):\n{written[-4000:]}")


def ask(method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> bytes:
    """Return the body of a successful answer; raise BenchError for any other, OSError when nobody answers."""
    request = urllib.request.Request(url, method=method, headers=dict(headers or {}), data=body)
    try:
        with _direct.open(request, timeout=START_SECONDS) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        raise BenchError(f"{method} {url}: {error.code} {error.read().decode(errors='replace')}") from error


def ask_json(method: str, url: str, *, headers: Mapping[str, str] | None = None, body: object = None) -> Any:
    """Send and read JSON; an empty answer is None."""
    sent = None if body is None else json.dumps(body).encode()
    answer = ask(method, url, headers={"Content-Type": "application/json", **(headers or {})}, body=sent)
    return json.loads(answer) if answer else None


def answers(method: str, url: str, *, headers: Mapping[str, str] | None = None) -> bool:
    """Tell whether a success comes back."""
    try:
        ask(method, url, headers=headers)
    except (BenchError, OSError):
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        # The session that running() gave it holds this server and its workers, nothing else.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
