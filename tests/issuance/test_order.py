"""First the record, then the answer: what fails on the way hands nothing out."""

import json
from collections.abc import Callable

import pytest

from csrs import bad_csr, good_csr
from issuance.desk import Desk, ca, requester
from issuance.doors import submission
from issuance.faulty_keys import FAULTY_KEYS, FaultyKey, SignsTheLastOne
from issuance.ledgers import Unavailable, Unreadable, WritesAndRaises
from kubemint.errors import (
    KubemintError,
    LedgerUnavailable,
    MalformedRequest,
    RequestRefused,
    SigningFailed,
    UnacceptableRequest,
)
from kubemint.ledger import tables
from kubemint.x509.request import Submission
from ledger.adapters import SqliteAdapter, indexes, stored

REFUSED: dict[str, tuple[Callable[[], Submission], type[KubemintError], set[str]]] = {
    "by the policy": (
        lambda: submission(good_csr(groups=["admins", "system:masters"]), expiration_seconds=90_000),
        RequestRefused,
        {"group-not-allowed", "name-forbidden", "group-reserved", "lifetime-too-long"},
    ),
    "for itself": (lambda: submission(bad_csr("two CNs")), UnacceptableRequest, {"common-name-repeated"}),
    "for its signature": (
        lambda: submission(bad_csr("tampered signature")),
        UnacceptableRequest,
        {"signature-invalid"},
    ),
    "as no CSR": (lambda: submission(bad_csr("no DER")), MalformedRequest, {"csr-undecodable"}),
    "as nothing": (lambda: submission(b""), MalformedRequest, {"csr-missing"}),
}
each_refusal = pytest.mark.parametrize(("make", "error", "codes"), REFUSED.values(), ids=REFUSED.keys())


def test_an_answer_is_what_is_on_record(desk: Desk, record: SqliteAdapter) -> None:
    """A certificate that was handed out is in the ledger, with the very bytes that left."""
    answer = desk.issue(submission(good_csr()), requester())
    (row,) = stored(record, tables.entries)
    assert json.loads(row["body"]) == answer.entry.fields
    assert (answer.entry.index, answer.repeated) == (0, False)
    assert record.announced == [answer.entry]


def test_nothing_leaves_without_a_record(record: SqliteAdapter) -> None:
    """If the ledger cannot be written there is no certificate, and nothing is announced."""
    ledger = Unavailable(record.open())
    desk = Desk(ledger)
    with pytest.raises(LedgerUnavailable):
        desk.issue(submission(good_csr()), requester(), idempotency_key="retry-1")
    assert len(ledger.asked) == 1  # it had been signed, and was forgotten
    assert record.announced == []
    assert indexes(record) == []


def test_nothing_leaves_on_a_record_that_is_not_confirmed(record: SqliteAdapter) -> None:
    """If the ledger wrote and could not say so, there is a record and no certificate."""
    desk = Desk(WritesAndRaises(record.open()))
    with pytest.raises(LedgerUnavailable):
        desk.issue(submission(good_csr()), requester(), idempotency_key="retry-1")
    assert len(record.announced) == 1  # the line tells what is on record, whoever learned of it
    assert indexes(record) == [0]


def test_a_retry_after_a_lost_confirmation_gets_the_recorded_certificate(record: SqliteAdapter) -> None:
    """Whoever sends the request again under its key gets the certificate that is on record, and no second one."""
    request = submission(good_csr())
    with pytest.raises(LedgerUnavailable):
        Desk(WritesAndRaises(record.open())).issue(request, requester(), idempotency_key="retry-1")
    answer = Desk(record.open()).issue(request, requester(), idempotency_key="retry-1")
    assert (answer.entry.index, answer.repeated) == (0, True)
    assert indexes(record) == [0]


def test_a_ledger_that_cannot_be_read_answers_no_key(record: SqliteAdapter) -> None:
    """Where it cannot be found out whether a key was used, nothing is issued under it."""
    desk = Desk(Unreadable(record.open()))
    with pytest.raises(LedgerUnavailable):
        desk.issue(submission(good_csr()), requester(), idempotency_key="retry-1")
    assert indexes(record) == []


@each_refusal
def test_a_refusal_is_recorded_before_it_is_told(
    desk: Desk,
    record: SqliteAdapter,
    make: Callable[[], Submission],
    error: type[KubemintError],
    codes: set[str],
) -> None:
    """Who is refused is on record with every reason that is told."""
    with pytest.raises(error) as refusal:
        desk.issue(make(), requester())
    (row,) = stored(record, tables.entries)
    fields = json.loads(row["body"])
    assert (row["kind"], fields["kind"], fields["requester"]) == ("refused", "refused", "token:requester")
    assert {reason["code"] for reason in fields["reasons"]} == codes
    assert [reason["message"] for reason in fields["reasons"]] == [each.message for each in refusal.value.reasons]
    assert [entry.fields for entry in record.announced] == [fields]


@each_refusal
def test_a_refusal_that_cannot_be_recorded_is_not_told(
    record: SqliteAdapter, make: Callable[[], Submission], error: type[KubemintError], codes: set[str]
) -> None:
    """Without a record there is no verdict either: the caller learns that the ledger is unavailable."""
    desk = Desk(Unavailable(record.open()))
    with pytest.raises(LedgerUnavailable):
        desk.issue(make(), requester())
    assert record.announced == []


@pytest.mark.parametrize("make_key", FAULTY_KEYS)
def test_a_key_that_does_not_sign_rightly(record: SqliteAdapter, make_key: type[FaultyKey]) -> None:
    """A wrong signature, somebody else's, none or an error: nothing is recorded, announced or handed out."""
    desk = Desk(record.open(), ca_key=make_key(ca()[1]))
    with pytest.raises(SigningFailed) as fault:
        desk.issue(submission(good_csr()), requester())
    assert indexes(record) == []
    assert record.announced == []
    assert "pin=1234" not in fault.value.message


def test_a_key_that_signs_through_a_class_of_ours(record: SqliteAdapter) -> None:
    """A key that is no object of the cryptography package signs as well, if it signs rightly."""
    desk = Desk(record.open(), ca_key=FaultyKey(ca()[1]))
    assert desk.issue(submission(good_csr()), requester()).entry.index == 0


def test_a_key_that_gives_the_signature_of_before(record: SqliteAdapter) -> None:
    """Each certificate's own signature is verified: one that fits the certificate before it does not pass."""
    desk = Desk(record.open(), ca_key=SignsTheLastOne(ca()[1]))
    desk.issue(submission(good_csr(user="jane")), requester())
    with pytest.raises(SigningFailed):
        desk.issue(submission(good_csr(user="mary")), requester())
    assert indexes(record) == [0]


def test_a_key_that_fails_does_not_use_up_the_idempotency_key(record: SqliteAdapter) -> None:
    """After a failed signature the same request, under the same key, gets its certificate."""
    ledger = record.open()
    with pytest.raises(SigningFailed):
        Desk(ledger, ca_key=FAULTY_KEYS[0](ca()[1])).issue(
            submission(good_csr()), requester(), idempotency_key="retry-1"
        )
    answer = Desk(ledger).issue(submission(good_csr()), requester(), idempotency_key="retry-1")
    assert (answer.entry.index, answer.repeated) == (0, False)
