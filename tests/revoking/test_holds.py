"""Holds, which alone can be undone: by an operator, by an entry, once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from kubemint.errors import NotFound, NotPermitted, RevocationConflict
from kubemint.x509.revocation import RevocationReason
from ledger.adapters import Adapter
from revoking.bureau import ANN, ASKER, BOB, HOLD, HOUR, SIEM, Bureau


def _codes(conflict: RevocationConflict) -> list[str]:
    return [reason.code for reason in conflict.reasons]


def test_a_hold_that_is_lifted(bureau: Bureau) -> None:
    """What a hold hit counts again once it is lifted, and the record tells who lifted it, when and why."""
    entry = bureau.issue()
    held = bureau.revoke(user="jane", reason=HOLD)
    assert (held.lifted, bureau.is_revoked(entry)) == (None, [True])
    bureau.now += HOUR / 2
    lifted = bureau.lift(held, BOB)
    assert bureau.is_revoked(entry) == [False]
    assert bureau.kinds() == ["issued", "revoked", "reinstated"]
    assert lifted.lifted is not None
    fields = lifted.lifted.fields
    assert (fields["requester"], fields["note"]) == ("token:bob", "found again")
    assert lifted.certificates == 1
    assert bureau.revocations.of_serial(entry.fields["serialNumber"]) is None
    assert list(bureau.revocations.revoked(bureau.now)) == []


def test_another_revocation_stays(bureau: Bureau) -> None:
    """A certificate that was revoked for another reason too stays revoked, whichever came first."""
    first, second = bureau.issue("jane"), bureau.issue("joe")
    bureau.revoke(user="jane")
    held = bureau.revoke(group="developers", reason=HOLD)
    held = bureau.revoke(requester="token:requester", reason=HOLD)
    bureau.revoke(user="joe")
    bureau.lift(held)
    assert bureau.is_revoked(first, second) == [True, True]
    found = bureau.revocations.of_serial(second.fields["serialNumber"])
    assert found is not None
    assert found.reason is RevocationReason.UNSPECIFIED


def test_not_twice(bureau: Bureau) -> None:
    """A hold that was lifted is not lifted again, and nothing more is recorded."""
    bureau.issue()
    held = bureau.revoke(user="jane", reason=HOLD)
    bureau.lift(held)
    with pytest.raises(RevocationConflict) as conflict:
        bureau.lift(held)
    assert _codes(conflict.value) == ["not-on-hold"]
    said = f"{held.entry.fields['revocation']} was lifted at 2026-11-20T12:00:00Z already"
    assert [reason.message for reason in conflict.value.reasons] == [said]
    assert bureau.kinds() == ["issued", "revoked", "reinstated"]


@pytest.mark.parametrize("reason", [reason for reason in RevocationReason if reason is not HOLD])
def test_what_is_no_hold(bureau: Bureau, reason: RevocationReason) -> None:
    """No other revocation is undone."""
    entry = bureau.issue()
    record = bureau.revoke(user="jane", reason=reason)
    with pytest.raises(RevocationConflict) as conflict:
        bureau.lift(record)
    assert _codes(conflict.value) == ["not-on-hold"]
    said = f"{record.entry.fields['revocation']} is {reason.value}, and that is for good"
    assert [each.message for each in conflict.value.reasons] == [said]
    assert bureau.is_revoked(entry) == [True]
    assert bureau.kinds() == ["issued", "revoked"]


def test_what_is_not_there(bureau: Bureau) -> None:
    """A revocation that nobody made is not lifted."""
    with pytest.raises(NotFound):
        bureau.desk.lift("0" * 32, "", ANN, None)
    assert bureau.kinds() == []


@pytest.mark.parametrize("who", [ASKER, SIEM], ids=["requester", "auditor"])
def test_operators_alone_lift(bureau: Bureau, who: object) -> None:
    """Neither who made a hold of its own certificates, nor an auditor, lifts it."""
    entry = bureau.issue()
    held = bureau.revoke(ASKER, user="jane", reason=HOLD)
    with pytest.raises(NotPermitted):
        bureau.lift(held, who)  # type: ignore[arg-type]  # a requester
    assert bureau.is_revoked(entry) == [True]


def test_of_those_who_race_one_lifts(adapter: Adapter) -> None:
    """Of many that lift a hold at once, in several processes' desks, one does and the others are told so."""
    bureaus = [Bureau(adapter) for _ in range(3)]
    entry = bureaus[0].issue()
    held = bureaus[0].revoke(user="jane", reason=HOLD)

    def try_to_lift(bureau: Bureau) -> str:
        try:
            bureau.lift(held)
        except RevocationConflict as conflict:
            return _codes(conflict)[0]
        return "lifted"

    with ThreadPoolExecutor(9) as pool:
        outcomes = list(pool.map(try_to_lift, bureaus * 3))
    assert sorted(outcomes) == ["lifted"] + ["not-on-hold"] * 8
    assert bureaus[0].kinds() == ["issued", "revoked", "reinstated"]
    assert bureaus[0].is_revoked(entry) == [False]


def test_a_hold_keeps_its_key_out_until_it_is_lifted(bureau: Bureau) -> None:
    """What a hold of a key keeps out may come in again once it is lifted."""
    entry = bureau.issue(key="one")
    held = bureau.revoke(public_key_sha256=entry.fields["publicKeySha256"], user="jane", reason=HOLD)
    blocked = bureau.revocations.find(held.entry.fields["revocation"])
    assert blocked is not None
    assert blocked.entry.fields["blocksKeys"] is True
    bureau.lift(held)
    assert bureau.issue(key="one").fields["user"] == "jane"
