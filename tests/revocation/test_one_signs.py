"""Lists are signed one at a time, and nobody waits for that for long."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from kubemint.errors import KubemintError, LedgerUnavailable, ListNotReady
from kubemint.one_at_a_time import WAIT_SECONDS
from kubemint.revocation_lists import PACE_SECONDS, RevocationLists
from kubemint.x509.crl_edition import PERIOD
from kubemint.x509.issuer import Issuer
from revocation.ledgers import MemoryLedger
from revocation.records import DAY

NOW = datetime(2026, 11, 20, 12, 5, tzinfo=UTC)
A_MOMENT = 1.0  # for what must not wait, on a machine that has other things to do


class Office:
    """Lists of a ledger in memory, with a clock that is set by hand."""

    def __init__(self, issuer: Issuer) -> None:
        self.ledger = MemoryLedger()
        self.now = NOW
        self.lists = RevocationLists(
            issuer,
            self.ledger,
            DAY,
            "https://kubemint.test",
            lambda: self.now,
            stopwatch=self.stopwatch,
        )

    def stopwatch(self) -> float:
        """Give seconds of the same clock."""
        return (self.now - NOW).total_seconds()

    def serials(self) -> set[int] | None:
        """Ask for the whole list; None is that it is being signed."""
        try:
            signed = self.lists.whole()
        except ListNotReady:
            return None
        return {one.serial_number for one in x509.load_der_x509_crl(signed.der)}

    def until(self, is_done: Callable[[], bool]) -> None:
        """Wait for another thread."""
        deadline = time.monotonic() + 20
        while not is_done():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def office(small_issuer: Issuer) -> Iterator[Office]:
    """Give lists whose walks are let go at the end."""
    made = Office(small_issuer)
    yield made
    made.ledger.open.set()
    made.until(lambda: not any(each.name == "revocation list" for each in threading.enumerate()))


def timed(ask: Callable[[], object]) -> tuple[float, object]:
    begin = time.monotonic()
    answer = ask()
    return time.monotonic() - begin, answer


def test_while_a_list_is_signed_the_last_one_is_given_out(office: Office) -> None:
    """Who finds it out of date waits for two seconds at most, everybody else not at all."""
    assert office.serials() == set()
    office.ledger.open.clear()
    office.ledger.revoke(office.now)
    office.now += timedelta(minutes=1)
    with ThreadPoolExecutor(1) as first:
        finder = first.submit(timed, office.serials)
        office.until(lambda: office.ledger.walks == 2)
        waited, found = timed(lambda: [office.serials() for _ in range(100)])
        assert (waited < A_MOMENT, found) == (True, [set()] * 100)
        waited, found = finder.result()
    assert (WAIT_SECONDS - 0.1 < waited < WAIT_SECONDS + A_MOMENT, found) == (True, set())
    assert office.ledger.walks == 2
    office.ledger.open.set()
    office.until(lambda: office.serials() == {1})


def test_without_a_list_the_wait_is_bounded(office: Office) -> None:
    """Two wait for the first list, the others hardly; who waited in vain gets none, and one signs for all."""
    office.ledger.open.clear()
    with ThreadPoolExecutor(12) as crowd:
        waits = [each.result() for each in [crowd.submit(timed, office.serials) for _ in range(12)]]
    assert {found for _, found in waits} == {None}
    assert sum(waited > A_MOMENT for waited, _ in waits) <= 2
    assert max(waited for waited, _ in waits) < WAIT_SECONDS + A_MOMENT
    assert office.ledger.walks == 1
    office.ledger.open.set()
    assert office.serials() == set()


def test_a_crowd_gets_the_first_list(office: Office) -> None:
    """Where it takes a moment, everybody has it, and it was signed once."""
    with ThreadPoolExecutor(12) as crowd:
        found = list(crowd.map(lambda _: office.serials(), range(12)))
    assert found == [set()] * 12
    assert office.ledger.walks == 1


def test_a_failure_is_remembered_for_a_second(office: Office) -> None:
    """A ledger that is away is not asked again for each that comes, but after a second; then the list is there."""
    office.ledger.is_away = True
    for _ in range(20):
        with pytest.raises(LedgerUnavailable):
            office.lists.whole()
    assert office.ledger.looks == 1
    office.now += timedelta(seconds=1)
    with pytest.raises(LedgerUnavailable):
        office.lists.whole()
    assert office.ledger.looks == 2
    office.ledger.is_away = False
    office.now += timedelta(seconds=1)
    assert office.serials() == set()


def test_a_valid_list_outlives_the_ledger(office: Office) -> None:
    """While the ledger is away the last list is given out until it is over, and not for a second longer."""
    signed = office.lists.whole()
    office.ledger.is_away = True
    office.now = signed.next_update - timedelta(seconds=1)
    assert office.lists.whole() is signed
    office.now = signed.next_update
    with pytest.raises(LedgerUnavailable):
        office.lists.whole()


def test_a_fault_that_nobody_thought_of(office: Office) -> None:
    """A mistake in the thread that signs reaches who waits as a mistake, and does not end the signing for ever."""
    del office.ledger.open
    with pytest.raises(RuntimeError, match="AttributeError"):
        office.lists.whole()
    office.ledger.open = threading.Event()
    office.ledger.open.set()
    office.now += timedelta(seconds=1)
    assert office.serials() == set()


def test_the_first_after_quiet_is_signed_at_once(office: Office) -> None:
    """A revocation is in the next list that is asked for, but in a stream within the pace; nothing is lost."""
    office.serials()
    office.now += timedelta(seconds=PACE_SECONDS)
    office.ledger.revoke(office.now)
    assert office.serials() == {1}
    walks = office.ledger.walks
    for _ in range(9):
        office.ledger.revoke(office.now)
        office.now += timedelta(seconds=PACE_SECONDS / 10)
        assert office.serials() == {1}
    assert office.ledger.walks == walks
    office.now += timedelta(seconds=PACE_SECONDS / 10)
    assert office.serials() == set(range(1, 11))


def test_nothing_new_is_nothing_to_sign(office: Office) -> None:
    """In one period one list is signed, however many ask; in the next there is one more."""
    for _ in range(50):
        office.serials()
    assert office.ledger.walks == 1
    office.now += PERIOD
    office.serials()
    assert office.ledger.walks == 2


def test_parts_are_counted_once_in_a_while(office: Office) -> None:
    """A part that is too small is refused by a count that is remembered; there is one when the list has grown."""
    office.ledger.counted = 50_001
    assert office.lists.shard(8, 7) is not None
    with pytest.raises(KubemintError, match="no such part"):
        office.lists.shard(16, 7)
    office.ledger.counted = 1_000_000
    with pytest.raises(KubemintError, match="no such part"):
        office.lists.shard(16, 7)
    office.now += timedelta(minutes=1)
    assert office.lists.shard(16, 7) is not None
