"""Lists and answers for others than API servers: signed anew when something changed, not for every question."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp

from issuance.desk import NOW
from issuance.desk import issuer as issuer_that_may_not
from kubemint.errors import LedgerUnavailable, NotFound
from kubemint.record import Entry
from kubemint.revocation_lists import PACE_SECONDS, RevocationLists, SignedList
from kubemint.x509.crl_edition import PERIOD
from kubemint.x509.issuer import Issuer
from kubemint.x509.revocation import RevocationReason
from ledger.adapters import Adapter, SqliteAdapter
from revocation.records import LISTING_USAGES, question
from revoking.bureau import COMPROMISE, HOLD, HOUR, Bureau
from x509.authorities import issuer_of

DAY = timedelta(days=1)
URL = "https://kubemint.test/"


@pytest.fixture
def adapter(tmp_path: Path) -> Iterator[Adapter]:
    """Give a ledger in a file."""
    made = SqliteAdapter(tmp_path / "ledger.db")
    yield made
    made.close()


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """Give a CA that may sign lists."""
    return issuer_of("ecdsa-p256", NOW, usages=LISTING_USAGES)


@pytest.fixture
def lists(bureau: Bureau, issuer: Issuer) -> RevocationLists:
    """Give the lists of what the bureau revokes."""

    def stopwatch() -> float:
        return (bureau.now - NOW).total_seconds()

    return RevocationLists(issuer, bureau.revocations, DAY, URL, lambda: bureau.now, stopwatch=stopwatch)


def _read(signed: SignedList) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(signed.der)


def _serials(signed: SignedList) -> set[int]:
    return {one.serial_number for one in _read(signed)}


def _serial(entry: Entry) -> int:
    return int(entry.fields["serialNumber"], 16)


def _number(signed: SignedList) -> int:
    return _read(signed).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_what_stands_in_the_list(bureau: Bureau, lists: RevocationLists, issuer: Issuer) -> None:
    """The list has what is revoked, each certificate once and with its first reason, and nothing else."""
    assert _serials(lists.whole()) == set()
    janes, joes, held = bureau.issue("jane"), bureau.issue("joe"), bureau.issue("held")
    bureau.revoke(user="jane", reason=COMPROMISE)
    bureau.revoke(user="jane", reason=RevocationReason.SUPERSEDED)
    hold = bureau.revoke(user="held", reason=HOLD)
    bureau.now += timedelta(seconds=PACE_SECONDS)
    whole = lists.whole()
    assert _read(whole).is_signature_valid(issuer.public_key)
    assert _serials(whole) == {_serial(janes), _serial(held)}
    assert _serial(joes) not in _serials(whole)
    reasons = {
        one.serial_number: one.extensions.get_extension_for_class(x509.CRLReason).value.reason
        for one in _read(whole)
    }
    assert reasons[_serial(janes)] is x509.ReasonFlags.key_compromise
    bureau.now += timedelta(seconds=PACE_SECONDS)
    bureau.lift(hold)
    assert _serials(lists.whole()) == {_serial(janes)}


def test_when_a_list_is_signed(bureau: Bureau, lists: RevocationLists) -> None:
    """A list is given out until something is revoked or lifted, or its period is over; its number grows."""
    bureau.issue()
    first = lists.whole()
    bureau.now += PERIOD - timedelta(seconds=1)
    assert lists.whole() is first
    bureau.now += timedelta(seconds=1)
    second = lists.whole()
    assert second is not first
    bureau.issue()
    bureau.revoke(user="nobody")
    bureau.now += timedelta(minutes=1)
    assert lists.whole() is second
    held = bureau.revoke(user="jane", reason=HOLD)
    third = lists.whole()
    assert _read(third).next_update_utc == bureau.now + DAY
    bureau.now += timedelta(minutes=1)
    bureau.lift(held)
    fourth = lists.whole()
    numbers = [_number(each) for each in (first, second, third, fourth)]
    assert numbers == sorted(set(numbers))
    assert (len(_serials(third)), len(_serials(fourth))) == (2, 0)


def test_a_stream_of_revocations(bureau: Bureau, lists: RevocationLists) -> None:
    """After quiet a revocation is in the next list at once, in a stream within the pace, and none is forgotten."""
    found = []
    for user in ("jane", "joe", "jim"):
        bureau.issue(user)
        bureau.revoke(user=user)
        found.append(len(_serials(lists.whole())))
        bureau.now += timedelta(seconds=PACE_SECONDS / 2)
    assert found == [1, 1, 3]


def test_what_was_there_before_the_retention(bureau: Bureau, lists: RevocationLists, issuer: Issuer) -> None:
    """Numbers do not go back when rows of what expired long ago are dropped."""
    bureau.issue()
    bureau.revoke(user="jane")
    first = lists.whole()
    bureau.now += 2 * DAY
    before = lists.whole()
    bureau.adapter.execute("DELETE FROM revoked_certificates")
    after = RevocationLists(issuer, bureau.revocations, DAY, URL, lambda: bureau.now).whole()
    assert _number(first) < _number(before) == _number(after)


def test_what_has_just_expired(bureau: Bureau, lists: RevocationLists) -> None:
    """What expires stands in one more list at least (RFC 5280 3.3), and not for ever."""
    entry = bureau.issue()
    bureau.revoke(user="jane")
    bureau.now += 2 * HOUR
    bureau.issue("joe")
    bureau.revoke(user="joe")
    assert _serial(entry) in _serials(lists.whole())
    bureau.now += DAY
    assert _serial(entry) not in _serials(lists.whole())


def test_parts(bureau: Bureau, lists: RevocationLists) -> None:
    """Parts together have all that the whole has, each certificate once, and each says which part it is."""
    for number in range(24):
        bureau.issue(f"user-{number}")
    bureau.revoke(requester="token:requester")
    parts = [lists.shard(4, number) for number in range(4)]
    found = [serial for part in parts for serial in _serials(part)]
    assert sorted(found) == sorted(_serials(lists.whole()))
    assert len(found) == 24
    for number, part in enumerate(parts):
        extension = _read(part).extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        assert extension.critical
        assert extension.value.full_name == [
            x509.UniformResourceIdentifier(f"https://kubemint.test/v1/crl/4/{number}")
        ]


@pytest.mark.parametrize(("shards", "shard"), [(3, 0), (4, 4), (0, 0), (8, 0), (2**40, 0), (6, 1)])
def test_parts_that_there_are_not(lists: RevocationLists, shards: int, shard: int) -> None:
    """No part is made that is not one of a power of two, nor more of them than the list needs."""
    with pytest.raises(NotFound):
        lists.shard(shards, shard)


def test_without_an_address(bureau: Bureau, issuer: Issuer) -> None:
    """Where the configuration gives no address, a part could not say which one it is."""
    with pytest.raises(NotFound):
        RevocationLists(issuer, bureau.revocations, DAY, None, lambda: bureau.now).shard(1, 0)


def test_a_ca_that_may_sign_no_lists(bureau: Bureau) -> None:
    """A CA whose certificate does not let it sign lists, as kubeadm's, has none; it says why."""
    assert issuer_that_may_not().certificate is not None
    strict = issuer_of("ecdsa-p256", NOW, usages=("digital_signature", "key_cert_sign"))
    with pytest.raises(NotFound, match="no revocation list"):
        RevocationLists(strict, bureau.revocations, DAY, URL, lambda: bureau.now).whole()


@pytest.mark.parametrize("ask", [lambda lists: lists.whole(), lambda lists: lists.shard(1, 0)])
def test_a_ledger_that_is_away(
    bureau: Bureau, lists: RevocationLists, ask: Callable[[RevocationLists], object]
) -> None:
    """Where it cannot be read what is revoked, there is no list that says that nothing is."""
    bureau.adapter.execute("ALTER TABLE revocations RENAME TO away")
    with pytest.raises(LedgerUnavailable):
        ask(lists)


def _status(lists: RevocationLists, issuer: Issuer, serial_number: int) -> ocsp.OCSPSingleResponse:
    asked = question(issuer, serial_number, algorithm=hashes.SHA256())
    answer = ocsp.load_der_ocsp_response(lists.answer(asked).der)
    assert answer.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    (single,) = answer.responses
    return single


def test_answers(bureau: Bureau, lists: RevocationLists, issuer: Issuer) -> None:
    """An answer says good, revoked since when and why, or unknown, as the record has it at that moment."""
    entry = bureau.issue()
    number = _serial(entry)
    assert _status(lists, issuer, number).certificate_status is ocsp.OCSPCertStatus.GOOD
    assert _status(lists, issuer, number + 1).certificate_status is ocsp.OCSPCertStatus.UNKNOWN
    held = bureau.revoke(user="jane", reason=HOLD)
    found = _status(lists, issuer, number)
    assert found.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert (found.revocation_time_utc, found.revocation_reason) == (NOW, x509.ReasonFlags.certificate_hold)
    bureau.lift(held)
    assert _status(lists, issuer, number).certificate_status is ocsp.OCSPCertStatus.GOOD
