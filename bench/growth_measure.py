"""What is asked of a ledger of some size, each thing timed by itself."""

import json
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from sqlalchemy.engine import URL

from bench.growth_data import ENTRIES_A_USER, body_of, credential_of
from bench.growth_start import start_service
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.log import LedgerLog
from kubemint.ledger.reader import Filter, LedgerReader
from kubemint.ledger.schema import migrate
from kubemint.ledger.stores import open_store
from kubemint.ledger.writer import LedgerWriter
from kubemint.record import Event, EventKind

THREADS = 32
APPENDS = 96  # in a round, one at a time and by all threads together
READS = 64  # each round asks for the same: what is timed is not how fast the disk is
PAGE = 50
_new = random.Random()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A ledger of so many entries, open for all that is asked."""

    store: str
    size: int
    url: URL
    keys: LogKeys
    log_key: bytes
    writer: LedgerWriter
    reader: LedgerReader
    log: LedgerLog


def subject(store: str, size: int, url: URL, keys: LogKeys, log_key: bytes) -> Subject:
    """Open a ledger as the service does."""
    place = open_store(url)
    engine = place.for_reading(THREADS)
    return Subject(
        store=store,
        size=size,
        url=url,
        keys=keys,
        log_key=log_key,
        writer=LedgerWriter(place.writable(), keys, lambda _: None),
        reader=LedgerReader(engine),
        log=LedgerLog(engine, keys),
    )


def append_alone(subject: Subject) -> float:
    """Give the seconds of one append, one after the other."""
    return _each([partial(subject.writer.append, event) for event in _events(APPENDS)])


def append_together(subject: Subject) -> float:
    """Give the seconds that an append of many threads takes of the time of all."""
    shares = [list(_events(APPENDS // 4)) for _ in range(THREADS)]

    def add(share: Sequence[Event]) -> None:
        for event in share:
            with subject.writer.preparing():
                subject.writer.append(event)

    threads = [threading.Thread(target=add, args=(share,)) for share in shares]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - began) / sum(map(len, shares))


def find_by_credential_id(subject: Subject) -> float:
    """Give the seconds of a search for one certificate, anywhere in the ledger."""

    def find(index: int) -> None:
        found = subject.reader.find_by_credential_id(f"X509SHA256={credential_of(index).hex()}")
        assert found is not None
        assert found.index == index

    return _each([partial(find, index) for index in _some(subject.size, READS)])


def first_page_of_user(subject: Subject) -> float:
    """Give the seconds of a user's newest certificates."""

    def ask(user: int) -> None:
        page = subject.reader.page(Filter(user=f"user-{user}"), datetime.now(UTC), limit=PAGE)
        assert len(page.entries) == PAGE

    return _each([partial(ask, user) for user in _some(subject.size // ENTRIES_A_USER, READS // 2)])


def prove_inclusion(subject: Subject) -> float:
    """Give the seconds of a proof of any entry, verified before it is given."""
    return _each([partial(subject.log.inclusion, index, None) for index in _some(subject.size, READS)])


def open_again(subject: Subject) -> float:
    """Give the seconds from nothing to the first answer and the first proof that it can write."""

    def start() -> None:
        place = open_store(subject.url)
        place.prepare()
        database = place.writable()
        migrate(database, subject.keys)
        writer = LedgerWriter(database, subject.keys, lambda _: None)
        engine = place.for_reading(2)
        LedgerReader(engine).last_policy()
        LedgerLog(engine, subject.keys).checkpoint()
        writer.check_writable(datetime.now(UTC))
        engine.dispose()
        database.close()

    return _each([start])


def start_again(subject: Subject) -> float:
    """Give the seconds in which the service starts on the ledger, until it is ready."""
    return start_service(subject.url, subject.log_key)


ASKED: Mapping[str, Callable[[Subject], float]] = {
    "append, one at a time": append_alone,
    f"append, {THREADS} threads": append_together,
    "look-up by credential id": find_by_credential_id,
    f"first page by user ({PAGE})": first_page_of_user,
    "inclusion proof": prove_inclusion,
    "open the ledger, first answer": open_again,
    "start of the service": start_again,
}
READ = (*ASKED,)[2:5]


def _some(below: int, count: int) -> list[int]:
    return random.Random(below).sample(range(below), count)


def _each(calls: Sequence[Callable[[], object]]) -> float:
    """Give the median of their seconds."""
    times = []
    for call in calls:
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def _events(count: int) -> Iterator[Event]:
    """Give certificates of now that no ledger has."""
    now = datetime.now(UTC).replace(microsecond=0)
    for _ in range(count):
        body = body_of(_new.getrandbits(60) + (1 << 61), int(now.timestamp()), f"user-new-{_new.randrange(1000)}")
        yield Event(kind=EventKind.ISSUED, time=now, fields=json.loads(body))
