"""Idempotency keys: a revocation, or the end of a hold, that is sent again is recorded once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from issuance.desk import NOW
from kubemint.errors import IdempotencyConflict, NotFound, RequestRefused, RevocationConflict
from kubemint.ledger import tables
from kubemint.requester import Requester
from kubemint.revocation import Done
from kubemint.x509.revocation import RevocationReason
from ledger.adapters import Adapter, assert_sound, stored
from revoking.bureau import ANN, ASKER, BOB, COMPROMISE, HOLD, HOUR, Bureau, of_key, once, wish_of


def _revoke(bureau: Bureau, key: str | None, by: Requester = ANN, **wish: Any) -> Done:
    return bureau.desk.revoke(replace(wish_of(**wish), idempotency_key=key), by)


def _lift(bureau: Bureau, done: Done, key: str | None, note: str = "found", by: Requester = ANN) -> Done:
    return bureau.desk.lift(_name(done), note, by, None, key)


def _name(done: Done) -> str:
    return str(done.record.entry.fields["revocation"])


def test_the_same_again(bureau: Bureau) -> None:
    """The same wish under the same key is recorded once, though certificates were issued between."""
    bureau.issue("jane")
    first = _revoke(bureau, "k", user="jane", reason=COMPROMISE)
    other = bureau.issue("jane", key="another")
    bureau.now += timedelta(minutes=1)
    again = _revoke(bureau, "k", user="jane", reason=COMPROMISE)
    assert (first.repeated, again.repeated) == (False, True)
    assert again.record == first.record
    assert again.record.certificates == 1
    assert bureau.is_revoked(other) == [False]
    assert bureau.kinds().count("revoked") == 1


def test_what_has_expired_since(bureau: Bureau) -> None:
    """A requester's retry after the certificate expired is told what was recorded; a new order hits nothing."""
    bureau.issue("jane")
    first = _revoke(bureau, "k", by=ASKER, user="jane")
    bureau.now += 5 * HOUR
    again = _revoke(bureau, "k", by=ASKER, user="jane")
    assert (again.repeated, again.record) == (True, first.record)
    with pytest.raises(IdempotencyConflict):
        _revoke(bureau, "k", by=ASKER, user="joe")
    for key in ("l", None):
        with pytest.raises(NotFound):
            _revoke(bureau, key, by=ASKER, user="jane")
    assert bureau.kinds() == ["issued", "revoked"]


def test_what_adds_nothing(bureau: Bureau) -> None:
    """A requester's order for what is revoked for good leaves no entry, keyed or not; an operator's does."""
    certificate = bureau.issue("jane")
    _revoke(bureau, None, by=ASKER, user="jane")
    for key in (None, "k", None):
        with pytest.raises(NotFound):
            _revoke(bureau, key, by=ASKER, user="jane")
    with pytest.raises(NotFound):
        _revoke(bureau, None, by=ASKER, reason=HOLD, credential_id=certificate.fields["credentialId"])
    assert (bureau.preview(ASKER, user="jane"), bureau.preview(ANN, user="jane")) == (0, 1)
    assert bureau.kinds() == ["issued", "revoked"]
    assert _revoke(bureau, None, user="jane").record.certificates == 1
    assert_sound(bureau.adapter)


@pytest.mark.parametrize("selected", ["user", "key"])
def test_a_key_that_is_found_out_later(bureau: Bureau, selected: str) -> None:
    """What is revoked for good may be revoked again to keep its key out, and then no more."""
    entry = bureau.issue("jane")
    wish: dict[str, Any] = {"public_key_sha256": of_key(entry)} if selected == "key" else {"user": "jane"}
    _revoke(bureau, None, by=ASKER, user="jane", reason=RevocationReason.SUPERSEDED)
    assert bureau.preview(ASKER, reason=COMPROMISE, **wish) == 1
    _revoke(bureau, None, by=ASKER, reason=COMPROMISE, **wish)
    with pytest.raises(RequestRefused):
        bureau.issue("jane")
    for again in (wish, {"user": "jane"}):
        with pytest.raises(NotFound):
            _revoke(bureau, None, by=ASKER, reason=COMPROMISE, **again)
    assert bureau.kinds().count("revoked") == 2


def test_a_hold_settles_nothing(bureau: Bureau) -> None:
    """What is on hold may be revoked for good, its key too; and a hold that was lifted, set again."""
    entry = bureau.issue("jane")
    held = _revoke(bureau, None, by=ASKER, public_key_sha256=of_key(entry), reason=HOLD)
    _lift(bureau, held, None)
    _revoke(bureau, None, by=ASKER, user="jane", reason=HOLD)
    _revoke(bureau, None, by=ASKER, public_key_sha256=of_key(entry), reason=HOLD)
    _revoke(bureau, None, by=ASKER, user="jane", reason=COMPROMISE)
    with pytest.raises(NotFound):
        _revoke(bureau, None, by=ASKER, user="jane", reason=COMPROMISE)
    assert bureau.kinds() == ["issued", "revoked", "reinstated", "revoked", "revoked", "revoked"]


def test_one_more_certificate(bureau: Bureau) -> None:
    """As soon as one that counts fits, the same order is worth an entry, whatever else it hits."""
    first = bureau.issue("jane")
    _revoke(bureau, None, by=ASKER, user="jane")
    second = bureau.issue("jane")
    assert bureau.preview(ASKER, user="jane") == 2
    assert _revoke(bureau, None, by=ASKER, user="jane").record.certificates == 2
    assert bureau.is_revoked(first, second) == [True, True]


def test_of_those_who_order_at_once_one_is_recorded(adapter: Adapter) -> None:
    """Of a requester's identical orders that race through several processes, one has something to revoke."""
    bureaus = [Bureau(adapter) for _ in range(2)]
    bureaus[0].issue("jane")

    def order(turn: int) -> bool:
        try:
            _revoke(bureaus[turn % 2], None, by=ASKER, user="jane")
        except NotFound:
            return False
        return True

    with ThreadPoolExecutor(8) as clients:
        assert sum(clients.map(order, range(8))) == 1
    assert bureaus[0].kinds() == ["issued", "revoked"]
    assert_sound(adapter)


def test_without_a_key(bureau: Bureau) -> None:
    """Without a key each is a revocation of its own."""
    assert _name(_revoke(bureau, None, user="jane")) != _name(_revoke(bureau, None, user="jane"))
    assert bureau.kinds().count("revoked") == 2


@pytest.mark.parametrize(
    "other",
    [
        {"user": "joe"},
        {"user": "jane", "group": "developers"},
        {"user": "jane", "reason": HOLD},
        {"user": "jane", "note": "ticket 8"},
        {"user": "jane", "suspend_until": NOW + 9 * HOUR},
    ],
    ids=str,
)
def test_another_wish(bureau: Bureau, other: dict[str, Any]) -> None:
    """Another wish under a key that was used is refused, and nothing is recorded."""
    _revoke(bureau, "k", user="jane")
    with pytest.raises(IdempotencyConflict):
        _revoke(bureau, "k", **other)
    assert bureau.kinds() == ["revoked"]


def test_another_requester(bureau: Bureau) -> None:
    """The same key of another requester is another key; for those who revoke their own, too."""
    bureau.issue("jane", by=ASKER)
    names = {_name(_revoke(bureau, "k", by=by, user="jane")) for by in (ASKER, ANN, BOB)}
    assert len(names) == 3
    assert _revoke(bureau, "k", by=ASKER, user="jane").repeated


def test_a_certificate_under_the_key(bureau: Bureau) -> None:
    """A key stands for one thing: for a certificate or for a revocation, whichever came first."""
    bureau.issue("jane", idempotency_key="c")
    with pytest.raises(IdempotencyConflict):
        _revoke(bureau, "c", by=ASKER, user="jane")
    _revoke(bureau, "r", by=ASKER, user="jane")
    with pytest.raises(IdempotencyConflict):
        bureau.issue("jane", idempotency_key="r")
    assert bureau.kinds() == ["issued", "revoked"]


def test_a_hold_that_is_lifted_again(bureau: Bureau) -> None:
    """To lift under the same key again is what it was; under another one, the hold is over already."""
    held, other = (_revoke(bureau, None, user="jane", reason=HOLD) for _ in range(2))
    first, again = _lift(bureau, held, "k"), _lift(bureau, held, "k")
    assert (first.repeated, again.repeated) == (False, True)
    assert again.record == first.record
    with pytest.raises(RevocationConflict):
        _lift(bureau, held, "l")
    with pytest.raises(IdempotencyConflict):
        _lift(bureau, held, "k", note="another note")
    with pytest.raises(IdempotencyConflict):
        _lift(bureau, other, "k")
    with pytest.raises(IdempotencyConflict):
        _revoke(bureau, "k", user="jane")
    assert bureau.kinds() == ["revoked", "revoked", "reinstated"]


def test_a_revocation_that_was_lifted_since(bureau: Bureau) -> None:
    """A retry after the hold was lifted holds nothing again: it is told that it was lifted."""
    certificate = bureau.issue("jane")
    held = _revoke(bureau, "k", user="jane", reason=HOLD)
    _lift(bureau, held, None)
    again = _revoke(bureau, "k", user="jane", reason=HOLD)
    assert again.repeated
    assert again.record.lifted is not None
    assert bureau.is_revoked(certificate) == [False]


def test_a_token_that_counts_once(bureau: Bureau) -> None:
    """The retry shows the same token, which is used up, and gets what the first one did."""
    first = _revoke(bureau, "k", by=once(ANN, "t1"), user="jane")
    assert _revoke(bureau, "k", by=once(ANN, "t1"), user="jane").record == first.record
    with pytest.raises(RevocationConflict):
        _revoke(bureau, "l", by=once(ANN, "t1"), user="jane")


def test_many_at_once(adapter: Adapter) -> None:
    """Of those that come at once through several processes, one is recorded, and all get it."""
    bureaus = [Bureau(adapter) for _ in range(2)]
    with ThreadPoolExecutor(8) as clients:
        done = [
            each.result() for each in [clients.submit(_revoke, bureaus[n % 2], "k", user="jane") for n in range(8)]
        ]
    assert len({_name(one) for one in done}) == 1
    assert sorted(one.repeated for one in done) == [False] + [True] * 7
    assert len(stored(adapter, tables.revocations)) == len(stored(adapter, tables.idempotency_keys)) == 1
    assert_sound(adapter)
