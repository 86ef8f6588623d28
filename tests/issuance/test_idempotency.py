"""A retry gets what its first try got; a key never stands for two requests."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from csrs import good_csr, pem
from issuance.desk import POLICY, Desk, requester
from issuance.doors import submission
from kubemint.errors import IdempotencyConflict, RequestRefused
from kubemint.record import EventKind
from kubemint.x509.request import CsrEncoding, Submission
from ledger.adapters import SqliteAdapter, indexes

CSR = good_csr()


def test_a_retry_gets_the_same_certificate(desk: Desk, record: SqliteAdapter) -> None:
    """The same request under the same key gets the same entry, marked as repeated, and is announced once."""
    first = desk.issue(submission(CSR), requester(), idempotency_key="k")
    again = desk.issue(submission(CSR), requester(), idempotency_key="k")
    assert (first.repeated, again.repeated) == (False, True)
    assert again.entry == first.entry
    assert record.announced == [first.entry]
    assert indexes(record) == [0]


def test_without_a_key_each_request_gets_its_own(desk: Desk, record: SqliteAdapter) -> None:
    """Without a key, the same bytes twice are two requests."""
    answers = [desk.issue(submission(CSR), requester()) for _ in range(2)]
    assert answers[0].entry.fields["serialNumber"] != answers[1].entry.fields["serialNumber"]
    assert len(record.announced) == 2
    assert indexes(record) == [0, 1]


def test_another_key_gets_another_certificate(desk: Desk) -> None:
    """Under another key the same request is a new one."""
    assert [desk.issue(submission(CSR), requester(), idempotency_key=key).entry.index for key in "kl"] == [0, 1]


@pytest.mark.parametrize(
    "other",
    [
        submission(good_csr(user="eve")),
        submission(CSR, expiration_seconds=600),
        submission(CSR, profile="developers"),
        Submission(csr=pem(CSR), encoding=CsrEncoding.PEM),
    ],
    ids=["CSR", "expiration", "profile", "encoding"],
)
def test_a_key_stands_for_one_request(desk: Desk, record: SqliteAdapter, other: Submission) -> None:
    """Another request under a used key conflicts, whatever differs, and leaves no entry."""
    desk.issue(submission(CSR), requester(), idempotency_key="k")
    with pytest.raises(IdempotencyConflict, match="another request"):
        desk.issue(other, requester(), idempotency_key="k")
    assert indexes(record) == [0]


def test_a_key_belongs_to_its_requester(record: SqliteAdapter) -> None:
    """Another requester's key of the same text gives it nothing of the first one's."""
    both = POLICY.replace("[{token: requester}]", "[{token: requester}, {token: other}]")
    desk = Desk(record.open(), both)
    desk.issue(submission(CSR), requester(), idempotency_key="k")
    answer = desk.issue(submission(CSR), requester("other"), idempotency_key="k")
    assert (answer.repeated, answer.entry.index) == (False, 1)


@pytest.mark.parametrize(("late", "conflicts"), [(-1, False), (0, True), (1, True)])
def test_an_expired_certificate_is_not_given_again(desk: Desk, late: int, conflicts: bool) -> None:
    """A retry gets its certificate up to the second before its end; then the key is used up."""
    desk.issue(submission(CSR), requester(), idempotency_key="k")
    desk.now += timedelta(hours=1, seconds=late)
    if conflicts:
        with pytest.raises(IdempotencyConflict, match="expired"):
            desk.issue(submission(CSR), requester(), idempotency_key="k")
    else:
        assert desk.issue(submission(CSR), requester(), idempotency_key="k").repeated


def test_a_refused_request_leaves_its_key_free(desk: Desk, record: SqliteAdapter) -> None:
    """Under the key of a refused request, the mended one gets its certificate, and each refusal is on record."""
    for _ in range(2):
        with pytest.raises(RequestRefused):
            desk.issue(submission(good_csr(groups=["admins"])), requester(), idempotency_key="k")
    assert not desk.issue(submission(CSR), requester(), idempotency_key="k").repeated
    assert indexes(record) == [0, 1, 2]


def test_racing_twins_get_one_certificate(desk: Desk, record: SqliteAdapter) -> None:
    """Of twins that are both signed before either is on record, both get the one that was recorded."""
    with ThreadPoolExecutor(2) as pool:
        with record.held():
            twins = [pool.submit(desk.issue, submission(CSR), requester(), idempotency_key="k") for _ in range(2)]
            time.sleep(0.3)  # both have looked for the key, signed, and wait for the ledger
        answers = [twin.result() for twin in twins]
    assert sorted(answer.repeated for answer in answers) == [False, True]
    assert answers[0].entry == answers[1].entry
    assert len(record.announced) == 1
    assert indexes(record) == [0]


def test_racing_requests_under_one_key_conflict(desk: Desk, record: SqliteAdapter) -> None:
    """Of two different requests under one key at once, one is issued and the other conflicts."""
    requests = [submission(CSR), submission(good_csr(user="mary"))]
    with ThreadPoolExecutor(2) as pool:
        with record.held():
            racing = [pool.submit(desk.issue, each, requester(), idempotency_key="k") for each in requests]
            time.sleep(0.3)
        faults = [each.exception() for each in racing]
    assert sorted(type(fault) for fault in faults if fault) == [IdempotencyConflict]
    assert indexes(record) == [0]


def test_a_retry_gets_the_same_request_for_approval(record: SqliteAdapter) -> None:
    """A request that waits is found again under its key, waits once, and is over when its time is."""
    lifetime = "lifetime: {default: 1h, max: 24h}"
    desk = Desk(record.open(), POLICY.replace(lifetime, f"{lifetime}\n    approval: required"))
    first, again = (desk.issue(submission(CSR), requester(), idempotency_key="k") for _ in range(2))
    assert (first.repeated, again.repeated) == (False, True)
    assert (again.entry, again.entry.kind) == (first.entry, EventKind.REQUESTED)
    assert indexes(record) == [0]
    with pytest.raises(IdempotencyConflict):
        desk.issue(submission(good_csr(user="other")), requester(), idempotency_key="k")
    desk.now += timedelta(days=1)
    with pytest.raises(IdempotencyConflict, match="expired"):
        desk.issue(submission(CSR), requester(), idempotency_key="k")
