"""What an API server is told of a credential: from memory, as new as the ledger, and never that it is allowed."""

import base64
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from kubemint.errors import LedgerUnavailable
from kubemint.kubernetes.access_review import AccessReview, Unknown, read_access_review
from kubemint.kubernetes.revoked_credentials import CHECK_SECONDS, Denied, NoOpinion, RevokedCredentials
from kubemint.ledger.stores import open_store
from kubemint.record import Entry
from kubemint.x509.revocation import RevocationReason
from ledger.adapters import Adapter, PostgresAdapter
from postgres import postgres_cluster
from revoking.bureau import HOLD, HOUR, Bureau
from revoking.twins import twin_of

CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"


def question(*credentials: str, groups: tuple[str, ...] = ("system:authenticated",)) -> AccessReview:
    """Ask as an API server does."""
    return read_access_review(
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": "jane", "groups": list(groups), "extra": {CREDENTIAL_ID: list(credentials)}},
        }
    )


def _refresh_until(judge: RevokedCredentials, is_done: Callable[[], bool]) -> None:
    """Look again and again: new tables are not made at every look."""
    end = time.monotonic() + 10
    while not is_done():
        assert time.monotonic() < end
        judge.refresh()


def of(entry: Entry) -> AccessReview:
    """Ask about a certificate by its credential id."""
    return question(entry.fields["credentialId"])


def by_group(entry: Entry) -> AccessReview:
    """Ask about a certificate by the group that says its serial number."""
    return question(groups=tuple(entry.fields["groups"]))


def judges(bureau: Bureau, unknown: Unknown = Unknown.IGNORE, **options: Any) -> RevokedCredentials:
    """Load what a process of its own knows; it looks when the test says so."""
    clock: Callable[[], datetime] = options.pop("clock", lambda: bureau.now)
    return RevokedCredentials(bureau.revocations, unknown, clock, options.pop("wait", time.sleep))


def test_revoked_and_not(bureau: Bureau) -> None:
    """A revoked certificate is denied with when and why, by id and by group; of others there is no opinion."""
    janes, joes = bureau.issue("jane", profile="marked"), bureau.issue("joe", profile="marked")
    record = bureau.revoke(user="jane", reason=RevocationReason.SUPERSEDED)
    judge = judges(bureau)
    told = f"revoked at 2026-11-20T12:00:00Z (superseded; revocation {record.entry.fields['revocation']})"
    for review in (
        of(janes),
        by_group(janes),
        question(joes.fields["credentialId"], janes.fields["credentialId"]),
    ):
        verdict = judge.judge(review)
        assert isinstance(verdict, Denied)
        assert told in verdict.reason
    for review in (of(joes), by_group(joes), question(), question("X509SHA256=" + "0" * 64), question("JTI=7")):
        assert judge.judge(review) == NoOpinion()
    assert len(judge) == 1


def test_what_is_loaded_first(bureau: Bureau) -> None:
    """Who starts with revocations on record denies at its first answer."""
    entries = [bureau.issue(f"user-{number}", profile="marked") for number in range(30)]
    bureau.revoke(group="developers")
    for user in ("user-7", "user-20"):
        bureau.revoke(user=user)
    judge = judges(bureau)
    verdicts = [isinstance(judge.judge(of(entry)), Denied) for entry in entries]
    assert [number for number, denied in enumerate(verdicts) if denied] == [7, 20]


def test_the_twin_of_a_revoked_certificate(bureau: Bureau) -> None:
    """The same certificate with its signature rewritten has another id, and is denied as well."""
    entry = bureau.issue()
    twin = hashlib.sha256(twin_of(base64.b64decode(entry.fields["certificate"]))).hexdigest()
    judge = judges(bureau)
    assert judge.judge(question(f"X509SHA256={twin}")) == NoOpinion()
    bureau.revoke(user="jane")
    judge.refresh()
    assert isinstance(judge.judge(question(f"X509SHA256={twin}")), Denied)


def test_what_is_revoked_later(bureau: Bureau) -> None:
    """Each look finds what was revoked since the last, and forgets nothing."""
    judge = judges(bureau)
    entries = []
    for number in range(5):
        entries.append(bureau.issue(f"user-{number}"))
        assert judge.judge(of(entries[-1])) == NoOpinion()
        bureau.revoke(user=f"user-{number}")
        judge.refresh()
        assert all(isinstance(judge.judge(of(entry)), Denied) for entry in entries)
    assert len(judge) == 5


def test_a_hold_that_is_lifted(bureau: Bureau) -> None:
    """What was lifted has no opinion again, at once, and is out of memory with the next look."""
    entry, other = bureau.issue("jane"), bureau.issue("joe")
    held = bureau.revoke(user="jane", reason=HOLD)
    bureau.revoke(user="joe")
    judge = judges(bureau)
    assert isinstance(judge.judge(of(entry)), Denied)
    bureau.lift(held)
    assert judge.judge(of(entry)) == NoOpinion()
    assert len(judge) == 2
    _refresh_until(judge, lambda: len(judge) == 1)
    assert judge.judge(of(entry)) == NoOpinion()
    assert isinstance(judge.judge(of(other)), Denied)
    bureau.revoke(user="jane")
    judge.refresh()
    assert isinstance(judge.judge(of(entry)), Denied)


def test_what_has_expired(bureau: Bureau) -> None:
    """What has expired is not loaded, but for API servers whose clocks are some minutes late."""
    bureau.issue()
    bureau.revoke(user="jane")
    expired = bureau.now + HOUR
    assert len(judges(bureau, clock=lambda: expired + timedelta(minutes=9))) == 1
    assert len(judges(bureau, clock=lambda: expired + timedelta(minutes=11))) == 0


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
    judge = RevokedCredentials(record, Unknown.IGNORE, lambda: bureau.now, time.sleep)  # type: ignore[arg-type]  # by name
    bureau.lift(hold)

    def look() -> None:
        seen.append(judge.judge(of(entry)))
        bureau.revoke(user="last")

    record.before, record.after = lambda: bureau.revoke(user="jane"), look
    _refresh_until(judge, lambda: bool(seen))
    assert isinstance(seen[0], Denied)
    assert [type(judge.judge(of(each))) for each in (entry, last, held)] == [Denied, Denied, NoOpinion]
    assert len(judge) == 3


@pytest.mark.parametrize("unknown", [Unknown.IGNORE, Unknown.ALARM, Unknown.DENY])
def test_credentials_that_are_not_on_record(
    bureau: Bureau, unknown: Unknown, caplog: pytest.LogCaptureFixture
) -> None:
    """What was never issued here is let be, or an alarm, or denied, as is configured; what was, is neither."""
    entry = bureau.issue()
    judge = judges(bureau, unknown)
    stranger = question("X509SHA256=" + "ab" * 32)
    expected = (
        Denied("this certificate is not on record at its issuer") if unknown is Unknown.DENY else NoOpinion()
    )
    for _ in range(3):
        assert judge.judge(stranger) == expected
        assert judge.judge(of(entry)) == NoOpinion()
        assert judge.judge(question("JTI=7")) == judge.judge(question()) == NoOpinion()
    alarms = [line for line in caplog.records if line.levelno == logging.CRITICAL]
    assert [vars(line)["credentialId"] for line in alarms] == ["X509SHA256=" + "ab" * 32] * (
        unknown != Unknown.IGNORE
    )


def test_one_that_is_not_on_record_beside_one_that_is(bureau: Bureau) -> None:
    """Of several credentials none may be unknown."""
    entry = bureau.issue()
    judge = judges(bureau, Unknown.DENY)
    both = question(entry.fields["credentialId"], "X509SHA256=" + "ab" * 32)
    assert isinstance(judge.judge(both), Denied)


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
    judge = RevokedCredentials(record, Unknown.DENY, lambda: bureau.now, time.sleep)  # type: ignore[arg-type]  # by name
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
    here, done, rests = Bureau(adapter), threading.Event(), threading.Event()
    wait = open_store(make_url(adapter.url)).waiter()

    def wait_or_rest(seconds: float) -> None:
        wait(seconds)
        if done.is_set():
            rests.set()
            threading.Event().wait()  # as long as the process lives

    judge = judges(here, wait=wait_or_rest)
    judge.watch()
    yield judge, Bureau(adapter)
    done.set()
    assert rests.wait(10)


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
    _refresh_until(judge, lambda: len(judge) == 1)
