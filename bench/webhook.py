"""Measure what a million revocations cost an API server that asks: `python -m bench.webhook`.

Two services are asked the same in turns, over one connection each: one that has nothing revoked, and one with
a million revoked certificates, whose rows are written to its tables without their entries. The answer that is
timed is the common one, that of a certificate that counts.
"""

import argparse
import contextlib
import http.client
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from bench import certificate
from bench.server import HOST, answers, ask_json, await_ready, environment, free_port, running
from kubemint.kubernetes.access_review import CREDENTIAL_ID_KEY, AccessReview, Unknown, read_access_review
from kubemint.kubernetes.revoked_credentials import NoOpinion, RevokedCredentials
from kubemint.ledger.revocations import RevocationReader
from kubemint.ledger.stores import SqliteStore

COMMAND = (sys.executable, "-m", "kubemint")
RATIO_MAX = 1.2
ROUNDS = 15
JUDGED = 5000  # in a round: some tens of milliseconds
ASKED = 150  # over HTTP, in a round
FIRST = 1_000_000_000  # the index of the first certificate that there is not
PORTION = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A service, and what is asked of it: about a certificate that counts, and about one that was revoked."""

    directory: Path
    port: int
    pid: int
    good: dict[str, Any]
    bad: dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0 if an answer costs at most 1.2 times that of a service without revocations."""
    parser = argparse.ArgumentParser(prog="python -m bench.webhook", description=__doc__)
    parser.add_argument("--revocations", type=int, default=1_000_000, help="revoked certificates [1000000]")
    parser.add_argument("--directory", type=Path, help="where the ledgers are put [the system's for such files]")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        none, many = Path(folder) / "none", Path(folder) / "many"
        for directory, count in ((none, 0), (many, options.revocations)):
            _make(directory)
            _fill(directory, count)
        alone = _judge_alone(none, many)
        with _asked(none) as few, _asked(many) as full:
            over_http = _over_http(few, full)
            print(f"memory of a worker                 {_resident(few):8.1f} MB {_resident(full):8.1f} MB")
    return 0 if max(alone, over_http) <= RATIO_MAX else 1


def _judge_alone(none: Path, many: Path) -> float:
    few, full = _load(none), _load(many)
    print(f"tables in memory                   {few.octets / 1e6:8.1f} MB {full.octets / 1e6:8.1f} MB")
    reviews = [read_access_review(_asks(directory)[0]) for directory in (none, many)]
    calls = [_judging(judge, review) for judge, review in zip((few, full), reviews, strict=True)]
    return _tell("a judgement alone", _medians(calls, JUDGED))


def _load(directory: Path) -> RevokedCredentials:
    revocations = RevocationReader(SqliteStore(directory / "ledger.db").for_reading(1))
    began = time.perf_counter()
    judge = RevokedCredentials(revocations, Unknown.ALARM, lambda: datetime.now(UTC))
    loaded = time.perf_counter()
    judge.refresh()
    looked = time.perf_counter()
    print(f"{len(judge):9,} loaded in {loaded - began:6.2f} s; a look for news {(looked - loaded) * 1e3:.2f} ms")
    return judge


def _judging(judge: RevokedCredentials, review: AccessReview) -> Callable[[], object]:
    assert judge.judge(review) == NoOpinion()
    return lambda: judge.judge(review)


def _over_http(few: Asked, full: Asked) -> float:
    calls = []
    for asked in (few, full):
        call = _asking(asked)
        denied = call(asked.bad)["denied"]
        assert denied is (asked is full), "the one is revoked, the other not"
        assert call(asked.good) == {"allowed": False, "denied": False}
        calls.append(lambda call=call, asked=asked: call(asked.good))
    return _tell("an answer over HTTP", _medians(calls, ASKED))


def _asking(asked: Asked) -> Callable[[Any], dict[str, Any]]:
    connection = http.client.HTTPConnection(HOST, asked.port, timeout=60)
    token = (asked.directory / "webhook.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(review: Any) -> dict[str, Any]:
        connection.request("POST", "/kubernetes/authorize", body=json.dumps(review), headers=headers)
        status: dict[str, Any] = json.loads(connection.getresponse().read())["status"]
        return status

    return call


def _tell(what: str, medians: Sequence[float]) -> float:
    ratio = medians[1] / medians[0]
    print(f"{what:34} {medians[0] * 1e6:8.2f} µs {medians[1] * 1e6:8.2f} µs   ratio {ratio:.2f}")
    return ratio


def _medians(calls: Sequence[Callable[[], object]], count: int) -> list[float]:
    """Give seconds a call: the median over rounds that alternate, so that a slower machine slows all."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, its_times in zip(calls, times, strict=True):
            before = time.perf_counter()
            for _ in range(count):
                call()
            its_times.append((time.perf_counter() - before) / count)
    return list(map(statistics.median, times))


def _make(directory: Path) -> None:
    """Make a service with one certificate that counts and one revocation of nobody, both real."""
    done = subprocess.run(
        (*COMMAND, "init", "--directory", str(directory)), env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    with _served(directory) as (port, _):
        csr = certificate.new_csr()
        issued = _send(directory, port, "requester", "/v1/certificates", {"csr": csr})
        revoked = _send(directory, port, "operator", "/v1/revocations", {"select": {"user": "nobody"}})
    known = {"good": issued["credentialId"], "place": revoked["logIndex"], "bad": os.urandom(32).hex()}
    (directory / "known.json").write_text(json.dumps(known))


def _send(directory: Path, port: int, token: str, path: str, body: Any) -> Any:
    headers = {"Authorization": f"Bearer {(directory / f'{token}.token').read_text().strip()}"}
    return ask_json("POST", f"http://{HOST}:{port}{path}", headers=headers, body=body)


def _fill(directory: Path, count: int) -> None:
    """Let the revocation have hit so many certificates, of which nothing else is on record."""
    known = json.loads((directory / "known.json").read_text())
    not_after = int(time.time()) + 7200
    rows = (
        (
            known["place"],
            FIRST + number,
            os.urandom(20),
            os.urandom(32) if number else bytes.fromhex(known["bad"]),
            os.urandom(32),
            not_after,
        )
        for number in range(count)
    )
    with contextlib.closing(sqlite3.connect(directory / "ledger.db")) as database, database:
        database.executemany(
            "INSERT INTO revoked_certificates "
            "(revocation_index, certificate_index, serial_number, credential_id, twin_id, not_after) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )


@contextlib.contextmanager
def _asked(directory: Path) -> Iterator[Asked]:
    good, bad = _asks(directory)
    with _served(directory) as (port, pid):
        yield Asked(directory=directory, port=port, pid=pid, good=good, bad=bad)


def _asks(directory: Path) -> list[dict[str, Any]]:
    known = json.loads((directory / "known.json").read_text())
    return [_review(known["good"]), _review("X509SHA256=" + known["bad"])]


def _review(credential_id: str) -> dict[str, Any]:
    """Ask as an API server of 1.32 does."""
    attributes = {"namespace": "default", "verb": "list", "version": "v1", "resource": "pods"}
    return {
        "kind": "SubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {"creationTimestamp": None},
        "spec": {
            "resourceAttributes": attributes,
            "user": "jane",
            "groups": ["developers", "system:authenticated"],
            "extra": {CREDENTIAL_ID_KEY: [credential_id]},
        },
        "status": {"allowed": False},
    }


@contextlib.contextmanager
def _served(directory: Path) -> Iterator[tuple[int, int]]:
    """Serve by one worker while the block lasts; give its port, and the process that started it."""
    port, output = free_port(), directory / "out.log"
    settings = yaml.safe_load((directory / "kubemint.yaml").read_text())
    settings["server"] = {"listen": f"{HOST}:{port}", "plainHttp": True, "workers": 1}
    settings["webhook"] = {"unknownCredentials": "alarm"}
    file = directory / "bench.yaml"
    file.write_text(yaml.safe_dump(settings))
    with running((*COMMAND, "serve", "--config", str(file)), directory=directory, output=output) as process:
        await_ready(process, lambda: answers("GET", f"http://{HOST}:{port}/readyz"), output=output)
        yield port, process.pid


def _resident(asked: Asked) -> float:
    """Give the megabytes that the worker has in memory."""
    worker = Path(f"/proc/{asked.pid}/task/{asked.pid}/children").read_text().split()[0]
    lines = Path(f"/proc/{worker}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmRSS:"))


if __name__ == "__main__":
    sys.exit(main())
