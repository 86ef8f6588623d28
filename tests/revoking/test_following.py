"""What is denied while other processes revoke and lift, and while the ledger cannot be asked."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from kubemint.errors import LedgerUnavailable
from kubemint.kubernetes.access_review import AccessReview, Unknown
from kubemint.kubernetes.revoked_credentials import (
    CHECK_SECONDS,
    REBUILD_SECONDS,
    Denied,
    NoOpinion,
    RevokedCredentials,
)
from kubemint.ledger.stores import open_store
from ledger.adapters import Adapter, PostgresAdapter
from postgres import postgres_cluster
from revoking.bureau import HOLD, Bureau
from revoking.questions import judges, of, refresh_until


class _Interrupted:
    """The record; things of the test's happen before and after each page of a walk from the start."""

    def __init__(self, bureau: Bureau) -> None:
        self._revocations = bureau.revocations
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._revocations, name)

    def digests(self, after: int, now: datetime) -> Iterator[Any]:
        """Walk; what is revoked before a page is given is not in it."""
        for page in self._revocations.digests(after, now):
            if after == -1:
                self.before()
            yield page
            if after == -1:
                self.after()


def test_what_is_revoked_while_a_new_table_is_made(bureau: Bureau) -> None:
    """While the table is made anew, what is revoked meanwhile is denied at once, and by the new table too."""
    held, entry, last = bureau.issue("held"), bureau.issue("jane"), bureau.issue("last")
    hold = bureau.revoke(user="held", reason=HOLD)
    bureau.issue("first")
    bureau.revoke(user="first")
    record, seen = _Interrupted(bureau), []
    judge = RevokedCredentials(record, Unknown.IGNORE, lambda: bureau.now)  # type: ignore[arg-type]  # by name
    bureau.lift(hold)

    def look() -> None:
        seen.append(judge.judge(of(entry)))
        bureau.revoke(user="last")

    record.before, record.after = lambda: bureau.revoke(user="jane"), look
    refresh_until(judge, lambda: bool(seen))
    assert isinstance(seen[0], Denied)
    assert [type(judge.judge(of(each))) for each in (entry, last, held)] == [Denied, Denied, NoOpinion]
    assert len(judge) == 3


def test_while_the_ledger_is_down(bureau: Bureau) -> None:
    """What memory has is denied though the ledger cannot be read; nothing is said against what is unknown."""
    entry, other = bureau.issue("jane"), bureau.issue("joe")
    held = bureau.revoke(user="jane", reason=HOLD)
    judge = judges(bureau, Unknown.DENY)
    bureau.adapter.execute("ALTER TABLE revoked_certificates RENAME TO away")
    assert judge.judge(of(entry)) == Denied("this certificate is revoked")
    assert judge.judge(of(other)) == NoOpinion()
    bureau.adapter.execute("ALTER TABLE revocations RENAME TO far")
    with pytest.raises(LedgerUnavailable):
        judge.refresh()
    assert judge.judge(of(entry)) == Denied("this certificate is revoked")
    bureau.adapter.execute("ALTER TABLE far RENAME TO revocations")
    bureau.adapter.execute("ALTER TABLE away RENAME TO revoked_certificates")
    judge.refresh()
    verdict = judge.judge(of(entry))
    assert isinstance(verdict, Denied)
    assert "certificateHold" in verdict.reason
    bureau.lift(held)
    assert judge.judge(of(entry)) == NoOpinion()


def test_new_tables_that_cannot_be_made(bureau: Bureau) -> None:
    """While the walk over everything fails, what is revoked is learned of; it is tried again later."""
    record, seconds, tries = _Interrupted(bureau), 0.0, 0

    def fail() -> None:
        nonlocal tries
        tries += 1
        raise LedgerUnavailable("the walk takes too long")

    judge = RevokedCredentials(record, Unknown.IGNORE, lambda: bureau.now, lambda: seconds)  # type: ignore[arg-type]  # by name
    old = bureau.issue("old")
    bureau.revoke(user="old")
    judge.refresh()
    record.before = fail
    seconds += REBUILD_SECONDS
    entry = bureau.issue("jane")
    bureau.revoke(user="jane")
    with pytest.raises(LedgerUnavailable):
        judge.refresh()
    for _ in range(3):
        judge.refresh()
    assert tries == 1
    assert all(isinstance(judge.judge(of(each)), Denied) for each in (old, entry))
    seconds += 60
    with pytest.raises(LedgerUnavailable):
        judge.refresh()
    record.before = lambda: None
    seconds += 60
    judge.refresh()
    assert tries == 2
    assert len(judge) == 2


class _Silent:
    """A record that does not answer, and counts who has waited for it."""

    def __init__(self, bureau: Bureau) -> None:
        self._revocations = bureau.revocations
        self.is_silent = False
        self.waited = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._revocations, name)

        def ask(*arguments: Any) -> Any:
            if self.is_silent:
                self.waited += 1
                raise LedgerUnavailable("no answer in five seconds")
            return found(*arguments)

        return ask


def test_who_asks_does_not_wait_for_a_silent_ledger(bureau: Bureau) -> None:
    """Once the ledger did not answer, nobody who asks waits for it until a look has read it again."""
    entry, other = bureau.issue("jane"), bureau.issue("joe")
    bureau.revoke(user="jane")
    record = _Silent(bureau)
    judge = RevokedCredentials(record, Unknown.DENY, lambda: bureau.now)  # type: ignore[arg-type]  # by name
    record.is_silent = True
    for _ in range(5):
        assert judge.judge(of(entry)) == Denied("this certificate is revoked")
        assert judge.judge(of(other)) == NoOpinion()
    assert record.waited == 1
    record.is_silent = False
    judge.refresh()
    verdict = judge.judge(of(entry))
    assert isinstance(verdict, Denied)
    assert "unspecified" in verdict.reason


def test_a_service_without_a_ledger_does_not_begin(bureau: Bureau) -> None:
    """Where it cannot be read what is revoked, there is nothing to judge by."""
    bureau.adapter.execute("ALTER TABLE revocations RENAME TO away")
    with pytest.raises(LedgerUnavailable):
        judges(bureau)


@contextmanager
def watching(adapter: Adapter) -> Iterator[tuple[RevokedCredentials, Bureau]]:
    """Let one process follow the ledger by itself; give what it knows, and the bureau of another."""
    judge = judges(Bureau(adapter))
    judge.watch(open_store(make_url(adapter.url)).waiter())
    yield judge, Bureau(adapter)
    judge.stop()


def _seconds_until_denied(judge: RevokedCredentials, review: AccessReview, limit: float = 10.0) -> float:
    began = time.monotonic()
    while judge.judge(review) == NoOpinion():
        assert time.monotonic() - began < limit, "still not denied"
        time.sleep(0.005)
    return time.monotonic() - began


def test_what_another_process_revokes(adapter: Adapter) -> None:
    """What is revoked elsewhere is denied here within a second, and what is lifted is not; all by itself."""
    with watching(adapter) as (judge, there):
        entries = [there.issue(f"user-{number}") for number in range(3)]
        for number, entry in enumerate(entries):
            assert judge.judge(of(entry)) == NoOpinion()
            held = there.revoke(user=f"user-{number}", reason=HOLD)
            assert _seconds_until_denied(judge, of(entry)) < 1
        there.lift(held)
        assert judge.judge(of(entries[2])) == NoOpinion()


def test_what_is_announced(postgres_adapter: Adapter) -> None:
    """PostgreSQL announces what is revoked: nobody waits for the next look."""
    with watching(postgres_adapter) as (judge, there):
        waits = []
        for number in range(5):
            entry = there.issue(f"user-{number}")
            there.revoke(user=f"user-{number}")
            waits.append(_seconds_until_denied(judge, of(entry)))
        assert sorted(waits)[2] < CHECK_SECONDS / 4


def test_without_announcements(postgres_adapter: Adapter) -> None:
    """Where the connection that listens is ended, what is revoked is denied within a second all the same."""
    with watching(postgres_adapter) as (judge, there):
        for number in range(3):
            entry = there.issue(f"user-{number}")
            postgres_cluster().execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"
            )
            there.revoke(user=f"user-{number}")
            assert _seconds_until_denied(judge, of(entry)) < 1


@pytest.fixture
def postgres_adapter() -> Iterator[Adapter]:
    """Give an empty ledger in PostgreSQL, for what is true of it alone."""
    made = PostgresAdapter()
    yield made
    made.close()


def test_many_who_ask_while_much_is_revoked(bureau: Bureau) -> None:
    """While revocations come, nobody is told that a certificate counts that was denied before."""
    entries = [bureau.issue(f"user-{number}") for number in range(8)]
    bureau.revoke(user="user-0")
    judge = judges(bureau)
    faults: list[object] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            if not isinstance(judge.judge(of(entries[0])), Denied):
                faults.append("undenied")

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 8):
        held = bureau.revoke(user=f"user-{number}", reason=HOLD)
        judge.refresh()
        bureau.lift(held)
        judge.refresh()
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []
    refresh_until(judge, lambda: len(judge) == 1)
