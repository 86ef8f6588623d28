"""kubemint as it is served: gunicorn's workers, SQLite ledger, policy and record on.

TLS is off, as on the other side: two TLS stacks are not what is compared.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import yaml

from bench import certificate
from bench.errors import BenchError
from bench.load import Request
from bench.records import LedgerCount, LineCount
from bench.server import HOST, answers, ask, await_ready, environment, free_port, running

COMMAND = (sys.executable, "-m", "kubemint")
DECISION_MARKS = (b'"event":"decision"', b'"kind":"issued"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many worker processes, and threads in each; None is what kubemint does by itself."""

    workers: int
    threads: int | None

    def __str__(self) -> str:
        return f"{self.workers} workers" + (f" × {self.threads} threads" if self.threads else "")


@dataclass(slots=True, kw_only=True)
class Kubemint:
    """A running service with a new CA and an empty ledger."""

    name: str
    request: Request
    csr: str
    ca: Path
    ledger: LedgerCount
    decisions: LineCount
    _issued: int = 0

    def check_certificate(self) -> None:
        """Ask for one certificate and raise BenchError unless it is the one that both sides are to give."""
        answer = json.loads(ask("POST", self.request.url, headers=self.request.headers, body=self.request.body))
        certificate.check(answer["certificate"], self.ca.read_text(), self.csr)

    def newly_recorded(self) -> dict[str, int]:
        """Count the ledger's new entries, and the decisions on standard output."""
        new = {"ledger": self.ledger.new(), "decisions": self.decisions.new()}
        self._issued += new["ledger"]
        return new

    def check_record(self) -> None:
        """Raise BenchError when nothing was recorded; newly_recorded() has looked at each entry."""
        self.newly_recorded()
        if not self._issued:
            raise BenchError("the ledger holds no certificate")


@contextlib.contextmanager
def serve(directory: Path, csr: str, size: Size) -> Iterator[Kubemint]:
    """Run a new service in the directory while the block lasts."""
    initialise(directory)
    address, output = f"{HOST}:{free_port()}", directory / "decisions.log"
    configuration = directory / "bench.yaml"
    configuration.write_text(yaml.safe_dump(_configuration(address, size)))
    command = (*COMMAND, "serve", "--config", str(configuration))
    with running(command, directory=directory, output=output) as process:
        await_ready(process, lambda: answers("GET", f"http://{address}/readyz"), output=output)
        yield Kubemint(
            name=f"kubemint, {size}",
            request=_request(address, (directory / "requester.token").read_text().strip(), csr),
            csr=csr,
            ca=directory / "ca.crt",
            ledger=LedgerCount(directory / "ledger.db"),
            decisions=LineCount(output, DECISION_MARKS),
        )


def version() -> str:
    return f"kubemint {metadata.version('kubemint')}"


def initialise(directory: Path) -> None:
    """Make a new CA and its configuration in the directory."""
    command = (*COMMAND, "init", "--directory", str(directory))
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise BenchError(f"kubemint init failed: {ended.stdout}{ended.stderr}")


def _configuration(address: str, size: Size) -> dict[str, object]:
    server: dict[str, object] = {"listen": address, "plainHttp": True, "workers": size.workers}
    if size.threads is not None:
        server["threads"] = size.threads
    return {
        "apiVersion": "kubemint/v1",
        "kind": "Configuration",
        "server": server,
        "issuer": {"certificateFile": "ca.crt", "key": "file:ca.key"},
        "policyFile": "policy.yaml",
        "authentication": {"tokensFile": "tokens.yaml"},
        "ledger": {"url": "sqlite:///ledger.db"},
        "log": {"key": "file:log.key", "origin": f"{address}/v1/log"},
    }


def _request(address: str, token: str, csr: str) -> Request:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = {"csr": csr, "expirationSeconds": int(certificate.LIFETIME.total_seconds())}
    return Request(url=f"http://{address}/v1/certificates", headers=headers, body=json.dumps(body).encode())
