"""Requests whose entry would be too large for the log: refused and on record, never unavailable for ever."""

from dataclasses import replace

import pytest

from csrs import good_csr
from issuance.approving import ANN, ASKER, Office, codes
from issuance.desk import NOW, Desk, requester
from issuance.doors import submission
from kubemint.audit import REFUSAL_MAX_OCTETS
from kubemint.errors import ApprovalConflict, RequestRefused
from kubemint.record import Event, EventKind
from kubemint.requester import Method, Renewal, Requester
from kubemint.transparency.tiles import ENTRY_MAX_OCTETS
from ledger.adapters import SqliteAdapter, assert_sound

MANY_GROUPS = tuple(f"team-{number:059d}" for number in range(128))
CLAIMS = {"note": "\x01" * 8000}  # six octets of JSON each
LARGE = replace(requester(), claims=CLAIMS)


def body_of(record: SqliteAdapter, place: int = -1) -> bytes:
    """Give the octets of an entry, the last if no other is named."""
    entry = record.announced[place]
    return Event(kind=entry.kind, time=NOW, fields=entry.fields).body


def test_a_certificate_that_does_not_fit(desk: Desk, record: SqliteAdapter) -> None:
    """What would be granted and cannot be recorded is refused each time, with a reason, and on record."""
    for _ in range(2):
        with pytest.raises(RequestRefused) as refusal:
            desk.issue(submission(good_csr(groups=MANY_GROUPS)), LARGE)
        assert [reason.code for reason in refusal.value.reasons] == ["entry-too-large"]
        assert record.announced[-1].kind is EventKind.REFUSED
        assert record.announced[-1].fields["reasons"][0]["code"] == "entry-too-large"
    assert len(record.announced) == 2
    assert_sound(record)


def test_a_large_certificate_that_fits(desk: Desk, record: SqliteAdapter) -> None:
    """As many groups with small claims, or as large claims with few groups, are granted and recorded whole."""
    for asks, groups in ((requester(), MANY_GROUPS), (LARGE, ("developers",))):
        issued = desk.issue(submission(good_csr(groups=groups)), asks).entry
        assert (issued.kind, issued.fields["groups"]) == (EventKind.ISSUED, list(groups))
        assert REFUSAL_MAX_OCTETS < len(body_of(record)) <= ENTRY_MAX_OCTETS
    assert_sound(record)


def test_a_request_whose_certificate_does_not_fit(record: SqliteAdapter) -> None:
    """Where the request fits and its certificate would not, the approval is refused and nothing recorded of it."""
    office = Office(record)
    office.deny(office.ask("admins", requester=replace(ASKER, claims={"note": ""})), ANN)
    room = ENTRY_MAX_OCTETS - len(body_of(record, 0)) - 20  # a signature is some octets longer or shorter
    asked = office.ask("admins", requester=replace(ASKER, claims={"note": "x" * room}))
    assert asked.kind is EventKind.REQUESTED
    with pytest.raises(ApprovalConflict) as conflict:
        office.approve(asked, ANN)
    assert codes(conflict.value) == {"entry-too-large"}
    assert office.kinds() == ["requested", "denied", "requested"]
    assert office.deny(asked, ANN).outcome is not None


def renewing(groups: tuple[str, ...]) -> Requester:
    """Give somebody who renews a certificate with these groups, first asked for with large claims."""
    renewal = Renewal(
        line="01", profile="developers", user="jane", groups=groups, first=LARGE, first_proven_at=NOW
    )
    return replace(requester(), method=Method.RENEWAL, authority="developers", claims=CLAIMS, renews=renewal)


@pytest.mark.parametrize(
    ("asks", "groups"),
    [
        (LARGE, ("developers",)),
        (requester(), tuple(f"nowhere-{'e' * 50}-{number:05d}" for number in range(120))),
        (renewing(MANY_GROUPS), MANY_GROUPS),
    ],
    ids=["claims", "reasons", "renewal"],
)
def test_a_refusal_stays_small(
    desk: Desk, record: SqliteAdapter, asks: Requester, groups: tuple[str, ...]
) -> None:
    """Whatever makes a refusal large, its entry has 16 KiB at most, says that it is shortened, and why."""
    with pytest.raises(RequestRefused):
        desk.issue(submission(good_csr(user="system:admin", groups=groups)), asks)
    told = record.announced[-1].fields
    assert len(body_of(record)) <= REFUSAL_MAX_OCTETS
    assert told["shortened"] is True
    assert told["reasons"]
    assert (told["user"], told["requester"]) == ("system:admin", "token:requester")


def test_a_small_refusal_is_whole(desk: Desk, record: SqliteAdapter) -> None:
    """A refusal of the usual size keeps everything."""
    with pytest.raises(RequestRefused) as refusal:
        desk.issue(submission(good_csr(groups=("nowhere",))), replace(requester(), claims={"a": "b"}))
    told = record.announced[-1].fields
    assert "shortened" not in told
    assert (told["groups"], told["claims"]) == (["nowhere"], {"a": "b"})
    assert [reason["message"] for reason in told["reasons"]] == [
        reason.message for reason in refusal.value.reasons
    ]
