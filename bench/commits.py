"""What group commit saves: `python -m bench.commits`.

Clients ask the core of the service for certificates, as threads: each is decided, signed and recorded. In turns,
all of them go through the writer as they do in the service, or one at a time, with a commit for each.
"""

import argparse
import contextlib
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_csr
from sqlalchemy import Engine

from bench.certificate import USER, new_csr
from bench.growth_stores import STORES, keys_in, postgres, prepare, sqlite_url
from bench.machine import describe
from kubemint.documents import parse_yaml
from kubemint.issuance import Issuance
from kubemint.ledger.reader import LedgerReader
from kubemint.ledger.stores import Store, open_store
from kubemint.ledger.writer import LedgerWriter, WritableDatabase
from kubemint.policy.loader import load_policy
from kubemint.record import Event, Recorded
from kubemint.requester import Method, Requester
from kubemint.x509.generate import generate_key, self_signed_ca
from kubemint.x509.issuer import Issuer, issuer_from
from kubemint.x509.request import CsrEncoding, Submission

COMMITS_AT_MOST = 0.25  # a certificate, with 32 clients
REQUESTER = Requester(method=Method.TOKEN, authority="bench", identity="token:bench", evidence="bench")
POLICY = f"""\
apiVersion: kubemint/v1
kind: Policy
profiles:
  developers:
    requesters: [{{token: bench}}]
    users: [{USER}]
    groups: [developers, "team-*"]
    lifetime: {{default: 1h, max: 1h}}
""".encode()


class CountingDatabase:
    """A database that counts its transactions."""

    def __init__(self, database: WritableDatabase) -> None:
        self.engine: Engine = database.engine
        self.transactions = 0
        self._database = database

    def transaction(self) -> AbstractContextManager[Any]:
        """Keep `WritableDatabase.transaction`."""
        self.transactions += 1
        return self._database.transaction()

    def close(self) -> None:
        """Keep `WritableDatabase.close`."""
        self._database.close()


class Together:
    """The ledger as the service has it: who waits is written with the others."""

    def __init__(self, writer: LedgerWriter, reader: LedgerReader) -> None:
        self._writer = writer
        self.find_by_key = reader.find_by_key

    def append(self, *events: Event, **terms: Any) -> Recorded:
        """Keep `kubemint.issuance.Ledger.append`."""
        return self._writer.append(*events, **terms)

    def preparing(self) -> AbstractContextManager[None]:
        """Keep `kubemint.issuance.Ledger.preparing`."""
        return self._writer.preparing()


class OneEach(Together):
    """A ledger to which one certificate at a time is written, with a commit of its own."""

    def __init__(self, writer: LedgerWriter, reader: LedgerReader) -> None:
        super().__init__(writer, reader)
        self._turn = threading.Lock()

    def append(self, *events: Event, **terms: Any) -> Recorded:
        """Keep `kubemint.issuance.Ledger.append`."""
        with self._turn:
            return self._writer.append(*events, **terms)

    def preparing(self) -> AbstractContextManager[None]:
        """Keep `kubemint.issuance.Ledger.preparing`: nobody is waited for."""
        return contextlib.nullcontext()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0 if commits are as few as they should be, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench.commits", description=__doc__)
    parser.add_argument("--clients", type=int, default=32, help="threads [%(default)s]")
    parser.add_argument("--certificates", type=int, default=20, help="for each client and round [%(default)s]")
    parser.add_argument("--rounds", type=int, default=7, help="of both ways, in turns [%(default)s]")
    parser.add_argument("--directory", type=Path, help="where the ledgers are [a temporary one]")
    options = parser.parse_args(arguments)
    most = 0.0
    with tempfile.TemporaryDirectory(dir=options.directory) as directory, _stores(Path(directory)) as stores:
        print(", ".join(f"{name} {value}" for name, value in describe(Path(directory)).items()))
        for name, store in stores:
            commits = _measure(name, store, Path(directory), options)
            most = max(most, commits)
    return 0 if most <= COMMITS_AT_MOST else 1


def _measure(name: str, store: Store, directory: Path, options: argparse.Namespace) -> float:
    database = CountingDatabase(store.writable())
    writer = LedgerWriter(database, keys_in(directory), lambda _: None)
    reader = LedgerReader(store.for_reading(options.clients))
    together, alone = _issuance(Together(writer, reader)), _issuance(OneEach(writer, reader))
    times: list[tuple[float, float]] = []
    commits: list[float] = []
    total = options.clients * options.certificates
    for number in range(options.rounds + 1):  # the first one does not count
        before = database.transactions
        grouped = _run(together, options.clients, options.certificates)
        count = database.transactions - before
        single = _run(alone, options.clients, options.certificates)
        if number > 0:
            times.append((grouped, single))
            commits.append(count / total)
    database.close()
    rates = [total / statistics.median(seconds) for seconds in zip(*times, strict=True)]
    ratio = statistics.median(single / grouped for grouped, single in times)
    print(
        f"{name}: {statistics.median(commits):.3f} commits a certificate; {rates[0]:.0f} certificates/s, "
        f"{rates[1]:.0f} with one commit each; \u00d7 {ratio:.2f}"
    )
    return statistics.median(commits)


def _run(issue: Callable[[], object], clients: int, certificates: int) -> float:
    """Give the seconds in which all clients have received their certificates."""
    ready = threading.Barrier(clients + 1)

    def ask() -> None:
        ready.wait()
        for _ in range(certificates):
            issue()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _issuance(ledger: Together) -> Callable[[], object]:
    policy = load_policy(parse_yaml(POLICY), POLICY, "policy.yaml")
    csr = load_pem_x509_csr(new_csr().encode()).public_bytes(Encoding.DER)
    submission = Submission(csr=csr, encoding=CsrEncoding.DER, expiration_seconds=None, profile=None)
    issuance = Issuance(
        current_policy=lambda: policy,
        issuer=_issuer(),
        ledger=ledger,
        clock=lambda: datetime.now(UTC),
        draw_serial=lambda: secrets.randbits(159),
        draw_name=lambda: secrets.token_hex(16),
    )
    return lambda: issuance.issue(submission, REQUESTER)


def _issuer() -> Issuer:
    key = generate_key("ecdsa-p256")
    return issuer_from((self_signed_ca(key, "bench CA", datetime.now(UTC), timedelta(days=365)),), key)


@contextlib.contextmanager
def _stores(directory: Path) -> Iterator[list[tuple[str, Store]]]:
    keys = keys_in(directory)
    with postgres(directory) as url:
        with psycopg.connect(url("postgres").render_as_string(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE commits")
        places = (sqlite_url(directory, 0), url("commits"))
        for place in places:
            prepare(place, keys)
        yield list(zip(STORES, map(open_store, places), strict=True))


if __name__ == "__main__":
    sys.exit(main())
