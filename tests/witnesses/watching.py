"""Witnessing of a ledger of the tests, with the service's parts and shorter times."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import REGISTRY

from kubemint.ledger.log import LedgerLog
from kubemint.ledger.witnessed import store_witnessed
from kubemint.transparency.checkpoint import NoteVerifier
from kubemint.witnesses.kept import KeptCheckpoint
from kubemint.witnesses.reading import WitnessedLog, WitnessedReader
from kubemint.witnesses.standing import Standing, WitnessTimes
from kubemint.witnesses.witness import Witness
from kubemint.witnesses.witnessing import Witnessing
from ledger.adapters import Adapter, SqliteAdapter
from witnesses.witness import TestWitness

HURRIED = WitnessTimes(wait=1.5, request=0.8, poll=0.05, pause=0.1, pause_max=0.2, rest=0.05)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A ledger with witnesses, as one process has it. `announced` grows with each checkpoint that is kept."""

    witnessing: Witnessing
    kept: KeptCheckpoint
    log: LedgerLog
    public: WitnessedLog
    reader: WitnessedReader
    announced: list[int]


def now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


def witness_of(served: TestWitness, seconds: float = HURRIED.request) -> Witness:
    """Give the service's side of a witness."""
    return Witness(NoteVerifier.from_vkey(served.vkey), served.url, served.ca_file, now, seconds)


@contextmanager
def watched(
    adapter: Adapter,
    *required: TestWitness,
    optional: tuple[TestWitness, ...] = (),
    times: WitnessTimes = HURRIED,
) -> Iterator[Watched]:
    """Have a ledger witnessed for the length of a `with`; every witness gets to know its log."""
    log, database = adapter.log(), adapter.database()
    for one in (*required, *optional):
        one.trust(adapter.keys.signer.vkey)
    standings = [
        Standing(witness=witness_of(one, times.request), is_required=one in required, times=times)
        for one in (*required, *optional)
    ]
    keys = [[NoteVerifier.from_vkey(one.vkey) for one in some] for some in (required, optional)]

    def store(size: int, note: str, before: str) -> bool:
        return store_witnessed(database, size=size, note=note, before=before)

    kept = KeptCheckpoint(log, adapter.keys, *keys, store)
    announced: list[int] = []
    witnessing = Witnessing(standings, log, kept, lambda: announced.append(1), times)
    engine = adapter.log()._engine
    public = WitnessedLog(engine, adapter.keys, kept, witnessing)
    reader = WitnessedReader(engine, public, witnessing)
    witnessing.start()
    try:
        yield Watched(witnessing=witnessing, kept=kept, log=log, public=public, reader=reader, announced=announced)
    finally:
        witnessing.close()


def change_a_leaf(adapter: SqliteAdapter, index: int) -> None:
    """Change the hash of an entry, as the administrator of the database can."""
    adapter.execute("DROP TRIGGER entries_no_update")
    adapter.execute(f'UPDATE entries SET leaf_hash = zeroblob(32) WHERE "index" = {index}')


def eventually(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)


def witness_faults(name: str, fault: str) -> float:
    """Read the metric."""
    labels = {"witness": name, "fault": fault}
    return REGISTRY.get_sample_value("kubemint_witness_faults_total", labels) or 0.0
