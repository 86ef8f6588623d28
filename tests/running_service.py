"""The service as its users meet it: a process of its own, asked over TLS. Nothing in it is replaced.

with RunningService(tmp_path / "kubemint") as service:
    answer = service.call("GET", "/v1/policy", token="requester")
    assert answer.status == 200
"""

import http.client
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, Self

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kubemint.transparency.checkpoint import NoteSigner, NoteVerifier

START_SECONDS = 30.0  # two interpreters start and the ledger is made; a shared machine is slow
STOP_SECONDS = 40.0  # the service gives requests under way 30
CALL_SECONDS = 15.0
WORKERS = 2  # where the configuration says nothing
_SHARES = 16  # of the ports: so many processes may run these tests at once


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back: status, headers (by any case), and the body's bytes."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """Give the body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """Give the body as the JSON that it is."""
        return json.loads(self.body)


class RunningService:
    """kubemint in a process of its own; `start` or `with` starts it, `stop` or the end of `with` stops it.

    Without `config` it is `kubemint dev --directory DIRECTORY` on a free port; the folder is made if it
    is not there. With `config` it is `kubemint serve --config CONFIG`, on the port that the file says.
    `command` is what stands after `kubemint`, for other options; `environment` is added to the process'.
    What it prints is kept beside the folder, through stop and start, in `output_file` (decisions) and
    `log_file` (events).
    """

    def __init__(
        self,
        directory: Path,
        *,
        config: Path | None = None,
        command: Sequence[str] | None = None,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.output_file = directory.with_name(f"{directory.name}.out")
        self.log_file = directory.with_name(f"{directory.name}.err")
        self._settings = _settings(config)
        self._workers = (self._settings or {"server": {}})["server"].get("workers", WORKERS)
        self.port = port or _port(self._settings) or free_port()
        self._command = tuple(command or _command(directory, config, self.port))
        self._environment = _environment() | dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._contexts: dict[tuple[Path, Path] | None, ssl.SSLContext] = {}

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    @property
    def scheme(self) -> str:
        """`https`, but where the configuration says plain HTTP."""
        return "http" if self._settings and "tls" not in self._settings["server"] else "https"

    @property
    def url(self) -> str:
        """Where the service is, without a slash at the end."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def tls_ca_file(self) -> Path:
        """The certificate by which a client knows the service."""
        server = self._settings["server"] if self._settings else {"tls": {"certificateFile": "tls.crt"}}
        return self.directory / server["tls"]["certificateFile"]

    @property
    def ca_file(self) -> Path:
        """The certificate of the CA that signs what is issued."""
        return self.directory / "ca.crt"

    @property
    def ledger_file(self) -> Path:
        """The SQLite file of the ledger."""
        return self.directory / "ledger.db"

    @property
    def ledger_url(self) -> str | None:
        """Where the configuration says that the ledger is; None where no configuration was given."""
        return str(self._settings["ledger"]["url"]) if self._settings else None

    @property
    def log_verifier(self) -> NoteVerifier:
        """The public key by which checkpoints and receipts of this service are verified."""
        settings = yaml.safe_load((self.directory / "kubemint.yaml").read_text())
        key = load_pem_private_key((self.directory / "log.key").read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        return NoteSigner(settings["log"]["origin"], key).verifier

    @property
    def pid(self) -> int:
        """The process that was started: gunicorn's master, and the head of its process group."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The processes that serve."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return tuple(map(int, children.split()))

    @property
    def is_running(self) -> bool:
        """Tell whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def token(self, name: str = "requester") -> str:
        """Give a bearer token out of the folder."""
        return (self.directory / f"{name}.token").read_text().strip()

    def start(self, *, wait: bool = True) -> Self:
        """Start the process and, unless told otherwise, wait until it is ready.

        Raises:
            RuntimeError: it ended, or is not ready in time; the message holds what it printed.
        """
        assert not self.is_running, "started twice"
        with self.output_file.open("ab") as output, self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "kubemint", *self._command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        if wait:
            self._wait_until_ready()
        return self

    def stop(self) -> int | None:
        """Ask the process to stop and wait for it; give its exit code, None if it was not started."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End the process and all its workers at once, as `kill -9` does."""
        assert self._process is not None, "not started"
        with suppress(ProcessLookupError):  # the whole group may be gone
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | str | None = None,
        json_body: Any = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        client_certificate: tuple[Path, Path] | None = None,
    ) -> Answer:
        """Send one request on a connection of its own and give the answer, whatever its status.

        `token` is the name of a token file (`requester`, `operator`); another token goes into `headers`.
        `client_certificate` is the files of a certificate and its key. `json_body` is sent as JSON.
        """
        sent = dict(headers or {})
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token(token)}")
        if json_body is not None:
            body = json.dumps(json_body)
            sent.setdefault("Content-Type", "application/json")
        connection = self.connect(client_certificate)
        try:
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            return Answer(status=response.status, headers=response.headers, body=response.read())
        finally:
            connection.close()

    def connect(self, client_certificate: tuple[Path, Path] | None = None) -> http.client.HTTPConnection:
        """Give a connection, to be used and closed by the caller; TLS is verified."""
        if self.scheme == "http":
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=CALL_SECONDS)
        context = self.tls_context(client_certificate)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=CALL_SECONDS, context=context)

    def tls_context(self, client_certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """Give a context that trusts this service and nothing else."""
        if client_certificate not in self._contexts:
            context = ssl.create_default_context(cafile=str(self.tls_ca_file))
            if client_certificate is not None:
                context.load_cert_chain(*client_certificate)
            self._contexts[client_certificate] = context
        return self._contexts[client_certificate]

    def decisions(self) -> list[dict[str, Any]]:
        """Give the lines of standard output that tell a decision."""
        return [line for line in _json_lines(self.output_file) if line.get("event") == "decision"]

    def log_lines(self) -> list[dict[str, Any]]:
        """Give the events on standard error."""
        return list(_json_lines(self.log_file))

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not self.is_running:
                raise RuntimeError(f"kubemint ended with {self.stop()}:\n{self.log_file.read_text()}")
            if self.is_ready():
                return
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"kubemint was not ready in {START_SECONDS} s:\n{self.log_file.read_text()}")

    def is_ready(self) -> bool:
        """Tell whether all workers are there, and one of them says that it is ready."""
        try:
            return len(self.worker_pids) >= self._workers and self.call("GET", "/readyz").status == 200
        except (OSError, http.client.HTTPException):
            return False  # no folder, no socket or no worker yet


def free_port() -> int:
    """Give a port of the loopback address that nobody listens on now.

    It is none that a system gives out by itself (below 32768), nor one of another process of these tests: who
    stops a service and starts it again finds it free.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(10_000 + worker % _SHARES, 32_768, _SHARES)
    for port in random.sample(ports, len(ports)):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no port is free")


def _command(directory: Path, config: Path | None, port: int) -> tuple[str, ...]:
    if config is not None:
        return ("serve", "--config", str(config))
    return ("dev", "--directory", str(directory), "--port", str(port))


def _settings(config: Path | None) -> dict[str, Any] | None:
    return None if config is None else yaml.safe_load(config.read_text())


def _port(settings: dict[str, Any] | None) -> int | None:
    return None if settings is None else int(settings["server"]["listen"].rpartition(":")[2])


def _environment() -> dict[str, str]:
    """Give this process' environment without what would configure kubemint from outside the test."""
    theirs = ("KUBEMINT_", "PROMETHEUS_MULTIPROC_DIR")
    return {name: value for name, value in os.environ.items() if not name.startswith(theirs)}


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_bytes().splitlines():
        if line.startswith(b"{"):
            yield json.loads(line)
