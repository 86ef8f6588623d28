"""Who may revoke what: operators all, requesters their own, holders the one in hand, auditors nothing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from issuance.desk import NOW
from kubemint.errors import NotFound, NotPermitted, RequestRefused, RevocationConflict
from kubemint.ledger import tables
from kubemint.requester import Requester
from ledger.adapters import Adapter, SqliteAdapter, stored
from revoking.bureau import ANN, ASKER, BOB, COMPROMISE, HOLD, HOUR, OTHER, SIEM, Bureau, of_key, once


@pytest.fixture
def adapter(tmp_path: Path) -> Iterator[Adapter]:
    """Give a ledger in a file: who may do what is no matter of the database."""
    made = SqliteAdapter(tmp_path / "ledger.db")
    yield made
    made.close()


def _codes(conflict: RevocationConflict) -> list[str]:
    return [reason.code for reason in conflict.reasons]


def _not_found(bureau: Bureau, who: Requester, **wish: Any) -> str:
    """Give what is said where nothing is hit."""
    with pytest.raises(NotFound) as missing:
        bureau.revoke(who, **wish)
    return missing.value.message


@pytest.mark.parametrize("who", [ANN, BOB])
def test_operators_revoke_what_anybody_asked_for(bureau: Bureau, who: Requester) -> None:
    """An operator's selector means the certificates of all."""
    entries = bureau.issue(by=ASKER), bureau.issue(by=OTHER)
    assert bureau.revoke(who, user="jane").certificates == 2
    assert bureau.is_revoked(*entries) == [True, True]


@pytest.mark.parametrize("by", ["user", "group", "serial_number", "profile", "requester", "issued_since"])
def test_requesters_revoke_their_own_alone(bureau: Bureau, by: str) -> None:
    """Whatever a requester selects, only what it asked for itself is counted and hit, and the record says so."""
    own, others = bureau.issue("jane", "team-a", by=ASKER), bureau.issue("jane", "team-a", by=OTHER)
    value: Any = {
        "user": "jane",
        "group": "team-a",
        "profile": "developers",
        "requester": "token:requester",
        "issued_since": NOW,
    }.get(by, own.fields["serialNumber"])
    assert bureau.preview(ASKER, **{by: value}) == 1
    record = bureau.revoke(ASKER, **{by: value})
    assert bureau.is_revoked(own, others) == [True, False]
    assert record.entry.fields["select"]["requester"] == "token:requester"


def test_what_others_asked_for(bureau: Bureau) -> None:
    """Another's certificates are as if they were not there, or a requester is told that it may not."""
    others = bureau.issue(by=OTHER)
    said = set()
    for selector in (
        {"serial_number": others.fields["serialNumber"]},
        {"serial_number": "7f"},
        {"credential_id": others.fields["credentialId"]},
        {"credential_id": "X509SHA256=" + "0" * 64},
        {"public_key_sha256": of_key(others)},
        {"user": "jane"},
        {"user": "nobody"},
    ):
        assert bureau.preview(ASKER, **selector) == 0
        said.add(_not_found(bureau, ASKER, **selector))
    assert len(said) == 1
    for act in (bureau.revoke, bureau.preview):
        with pytest.raises(NotPermitted):
            act(ASKER, requester="token:other")
    assert bureau.is_revoked(others) == [False]
    assert bureau.kinds() == ["issued"]


def test_what_has_expired(bureau: Bureau) -> None:
    """What a requester has of old is no reason for an entry; an operator's order is kept whatever it hits."""
    bureau.issue()
    bureau.now += 5 * HOUR
    _not_found(bureau, ASKER, user="jane")
    assert bureau.kinds() == ["issued"]
    assert bureau.revoke(ANN, user="jane").certificates == 0
    assert bureau.kinds() == ["issued", "revoked"]


def test_a_token_that_hit_nothing(bureau: Bureau) -> None:
    """A single-use token that hit nothing was not used."""
    bureau.issue()
    asker = once(ASKER, "t1")
    _not_found(bureau, asker, user="nobody")
    assert bureau.revoke(asker, user="jane").certificates == 1


def test_keys_of_others(bureau: Bureau) -> None:
    """A requester keeps no key out that is not in a certificate of its own: public keys are no secret."""
    others, own = bureau.issue(by=OTHER, key="theirs"), bureau.issue(by=ASKER, key="ours")
    _not_found(bureau, ASKER, public_key_sha256=of_key(others), reason=COMPROMISE)
    assert bureau.issue(by=OTHER, key="theirs").fields["user"] == "jane"
    record = bureau.revoke(ASKER, public_key_sha256=of_key(own), reason=COMPROMISE)
    assert (record.certificates, record.entry.fields["blocksKeys"]) == (1, True)
    with pytest.raises(RequestRefused):
        bureau.issue(by=OTHER, key="ours")


@pytest.mark.parametrize("named", [{"user": "jane"}, {"group": "developers"}])
def test_requesters_suspend_nobody(bureau: Bureau, named: dict[str, str]) -> None:
    """Suspending is for operators, even of oneself."""
    bureau.issue()
    with pytest.raises(NotPermitted):
        bureau.revoke(ASKER, suspend_until=NOW + HOUR, **named)
    assert bureau.kinds() == ["issued"]


def test_auditors_revoke_nothing(bureau: Bureau) -> None:
    """An auditor reads: what it selects is its own, and it has none."""
    entry = bureau.issue()
    assert bureau.preview(SIEM, user="jane") == 0
    _not_found(bureau, SIEM, user="jane")
    assert bureau.is_revoked(entry) == [False]
    with pytest.raises(NotPermitted):
        bureau.revoke(SIEM, requester="token:requester")


def test_a_holder_revokes_the_certificate_in_hand(bureau: Bureau) -> None:
    """Who shows a certificate of the service may revoke exactly that one, and no other of who asked for it."""
    entry, others = bureau.issue("jane"), bureau.issue("joe")
    holder = bureau.holder(entry)
    assert bureau.preview(holder, credential_id=entry.fields["credentialId"]) == 1
    for selector in (
        {"user": "jane"},
        {"serial_number": others.fields["serialNumber"]},
        {"credential_id": others.fields["credentialId"]},
        {"issued_since": NOW - HOUR},
    ):
        assert bureau.preview(holder, **selector) == 0
        _not_found(bureau, holder, **selector)
    with pytest.raises(NotPermitted):
        bureau.revoke(holder, requester="token:requester")
    assert bureau.revoke(holder, credential_id=entry.fields["credentialId"]).certificates == 1
    assert bureau.is_revoked(entry, others) == [True, False]


@pytest.mark.parametrize("who", [ANN, ASKER, SIEM])
def test_everything_is_nothing(bureau: Bureau, who: Requester) -> None:
    """A selector without a value is refused, as a preview too."""
    bureau.issue()
    for act in (bureau.revoke, bureau.preview):
        with pytest.raises(RevocationConflict) as conflict:
            act(who)
        assert _codes(conflict.value) == ["selector-empty"]
    assert bureau.kinds() == ["issued"]


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"serial_number": "7f", "suspend_until": NOW + HOUR}, "suspension-of-nobody"),
        ({"requester": "token:requester", "suspend_until": NOW + HOUR}, "suspension-of-nobody"),
        ({"user": "jane", "group": "developers", "suspend_until": NOW + HOUR}, "suspension-too-wide"),
        ({"user": "jane", "profile": "developers", "suspend_until": NOW + HOUR}, "suspension-too-wide"),
        ({"group": "developers", "issued_since": NOW, "suspend_until": NOW + HOUR}, "suspension-too-wide"),
        ({"user": "jane", "suspend_until": NOW}, "suspension-over"),
        ({"user": "jane", "suspend_until": NOW - timedelta(days=1)}, "suspension-over"),
    ],
)
def test_suspensions_that_cannot_be_meant(bureau: Bureau, wish: dict[str, Any], code: str) -> None:
    """A suspension of nobody, of more than is selected, or that is over, is refused, as a preview too."""
    for act in (bureau.revoke, bureau.preview):
        with pytest.raises(RevocationConflict) as conflict:
            act(ANN, **wish)
        assert _codes(conflict.value) == [code]
    assert bureau.kinds() == []


def test_a_token_that_counts_once(bureau: Bureau) -> None:
    """A single-use token revokes once, or lifts once, and gets no certificate afterwards; a preview uses none."""
    bureau.issue("jane"), bureau.issue("joe")
    ann = once(ANN, "t1")
    assert bureau.preview(ann, user="jane") == 1
    held = bureau.revoke(ann, user="jane", reason=HOLD)
    with pytest.raises(RevocationConflict) as conflict:
        bureau.revoke(ann, user="joe")
    assert _codes(conflict.value) == ["token-used"]
    with pytest.raises(RevocationConflict) as conflict:
        bureau.lift(held, ann)
    assert _codes(conflict.value) == ["token-used"]
    bureau.lift(held, once(ANN, "t2"))
    assert bureau.kinds() == ["issued", "issued", "revoked", "reinstated"]
    uses = [(row["authority"], row["token_id"]) for row in stored(bureau.adapter, tables.token_uses)]
    assert uses == [("ann", "t1"), ("ann", "t2")]


def test_a_token_that_was_used_for_a_certificate(bureau: Bureau) -> None:
    """The one use of a token may be a certificate, and then it revokes nothing."""
    asker = once(ASKER, "t1")
    entry = bureau.issue(by=asker)
    with pytest.raises(RevocationConflict):
        bureau.revoke(asker, user="jane")
    assert bureau.is_revoked(entry) == [False]


def test_of_those_who_race_with_one_token_one_revokes(bureau: Bureau) -> None:
    """Of many revocations at once with one single-use token, one is written."""
    bureau.issue()
    ann = once(ANN, "t1")

    def attempt(_: int) -> bool:
        try:
            bureau.revoke(ann, user="jane")
        except RevocationConflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
    assert bureau.kinds() == ["issued", "revoked"]


def test_what_the_record_says(bureau: Bureau) -> None:
    """The entry tells who revoked what, why, under which policy; names of the selector alone, never a list."""
    bureau.issue()
    fields = bureau.revoke(
        user="jane", group="developers", issued_until=NOW + HOUR, reason=COMPROMISE
    ).entry.fields
    assert {name: fields[name] for name in ("kind", "requester", "reason", "note", "blocksKeys")} == {
        "kind": "revoked",
        "requester": "token:ann",
        "reason": "keyCompromise",
        "note": "ticket 7",
        "blocksKeys": True,
    }
    assert fields["select"] == {"user": "jane", "group": "developers", "issuedUntil": "2026-11-20T13:00:00Z"}
    assert fields["policy"] == bureau.policy.version
    assert "suspendUntil" not in fields
