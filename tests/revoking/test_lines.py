"""Lines of renewals belong to whoever asked first: what is revoked of them, by whom, and how they end."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from kubemint.audit import revoked_event
from kubemint.errors import NotAuthenticated, NotFound, NotPermitted, RequestRefused
from kubemint.ledger import tables
from kubemint.ledger.verification import Kept, Known, verify_ledger
from kubemint.ledger.verify_findings import Finding
from kubemint.record import Entry, Event, LineInForce, RevocationOrder
from kubemint.requester import Requester
from kubemint.selector import Selector
from kubemint.x509.revocation import RevocationReason
from ledger.adapters import Adapter, stored
from ledger.events import NOW
from log.record import change
from revoking.bureau import ANN, ASKER, COMPROMISE, HOLD, HOUR, OTHER, Bureau, of_key

SECONDS = HOUR / 3600


def _line(bureau: Bureau, length: int, *, by: Requester = ASKER, user: str = "jane") -> list[Entry]:
    """Issue a certificate and renew it until the line has so many, a key for each."""
    line = [bureau.issue(user, by=by, key=f"{user} 0")]
    for place in range(1, length):
        bureau.now += 10 * SECONDS
        line.append(bureau.issue(user, by=bureau.holder(line[-1]), key=f"{user} {place}"))
    return line


def _refusal(act: Callable[[], object]) -> str:
    with pytest.raises(RequestRefused) as refused:
        act()
    (reason,) = refused.value.reasons
    return reason.code


def _findings(adapter: Adapter) -> list[tuple[str, int | None]]:
    known, kept = Known(verifiers=adapter.keys.verifiers, issuers=()), Kept()
    outcomes = verify_ledger(adapter.engine, known, kept, now=NOW, progress=lambda *_: None)
    return [(one.code.value, one.index) for one in outcomes if isinstance(one, Finding)]


def _older(event: Event) -> Event:
    """Give the event of a revocation as versions wrote it that did not know lines."""
    return Event(
        kind=event.kind,
        time=event.time,
        fields={name: value for name, value in event.fields.items() if name != "lines"},
    )


def _order(selector: Selector) -> Event:
    return revoked_event(
        RevocationOrder(
            revocation="a" * 32,
            selector=selector,
            reason=RevocationReason.UNSPECIFIED,
            note="",
            ordered_by=ANN,
            time=NOW,
            policy_version="sha256:" + "0" * 64,
        )
    )


@pytest.mark.parametrize("length", [1, 2, 5])
def test_by_who_asked_first(bureau: Bureau, length: int) -> None:
    """Who asked for the first certificate of a line stands for all of it, however often it was renewed."""
    line, others = _line(bureau, length), _line(bureau, 2, by=OTHER, user="joe")
    assert bureau.preview(requester="token:requester") == length
    assert bureau.revoke(requester="token:requester", reason=COMPROMISE).certificates == length
    assert all(bureau.is_revoked(*line))
    assert bureau.is_revoked(*others) == [False, False]
    assert bureau.issue("joe", by=bureau.holder(others[-1])).fields["user"] == "joe"
    with pytest.raises(NotAuthenticated):
        bureau.holder(line[-1])
    assert _findings(bureau.adapter) == []


def test_with_other_values(bureau: Bureau) -> None:
    """All that a selector says must be true of a renewal itself: when it was issued, and for whom."""
    line = _line(bureau, 3)
    since = NOW + 20 * SECONDS
    assert bureau.preview(requester="token:requester", issued_since=since) == 1
    assert bureau.preview(requester="token:requester", user="joe") == 0
    assert bureau.revoke(requester="token:requester", issued_since=since).certificates == 1
    assert bureau.is_revoked(*line) == [False, False, True]


def test_by_the_requester_of_the_renewals(bureau: Bureau) -> None:
    """A line can still be named by itself: that means its renewals, and not the first, which another asked for."""
    line = _line(bureau, 3)
    assert bureau.revoke(requester=line[1].fields["requester"]).certificates == 2
    assert bureau.is_revoked(*line) == [False, True, True]


@pytest.mark.parametrize("by", ["requester", "user", "serial_number", "credential_id"])
def test_requesters_revoke_the_renewals_of_what_they_asked_for(bureau: Bureau, by: str) -> None:
    """Whoever asked first revokes renewals as its own, and nobody else's."""
    line, others = _line(bureau, 3), _line(bureau, 2, by=OTHER)
    named: dict[str, Any] = {
        "requester": "token:requester",
        "user": "jane",
        "serial_number": line[2].fields["serialNumber"],
        "credential_id": line[2].fields["credentialId"],
    }
    with pytest.raises((NotFound, NotPermitted)):
        bureau.revoke(OTHER, **({by: named[by]} if by != "user" else {"serial_number": named["serial_number"]}))
    count = 3 if by in {"requester", "user"} else 1
    assert bureau.preview(ASKER, **{by: named[by]}) == count
    assert bureau.revoke(ASKER, **{by: named[by]}).certificates == count
    assert bureau.is_revoked(*line) == [count == 3, count == 3, True]
    assert bureau.is_revoked(*others) == [False, False]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("by", ["serial_number", "public_key_sha256"])
def test_a_line_of_which_one_was_revoked(bureau: Bureau, by: str, place: int) -> None:
    """Whichever certificate of a line was revoked, none of it is renewed any more; the refusal says so."""
    line, others = _line(bureau, 4), _line(bureau, 2, user="joe")
    fields = line[place].fields
    value = fields["serialNumber"] if by == "serial_number" else of_key(line[place])
    assert bureau.revoke(**{by: value}).certificates == 1
    assert bureau.is_revoked(*line) == [each == place for each in range(4)]
    holder = bureau.holder(line[3])
    assert _refusal(lambda: bureau.issue("jane", by=holder, key="new")) == "line-revoked"
    assert bureau.kinds()[-1] == "refused"
    assert bureau.issue("joe", by=bureau.holder(others[1]), key="new").fields["user"] == "joe"
    assert bureau.issue("jane", key="newer").fields["user"] == "jane"  # whoever proves it anew begins another line


def test_a_branch_of_a_line(bureau: Bureau) -> None:
    """One certificate may be renewed twice: where one branch was revoked, the other ends too."""
    first = bureau.issue("jane")
    owner, thief = (bureau.issue("jane", by=bureau.holder(first), key=key) for key in ("owner", "thief"))
    bureau.revoke(serial_number=owner.fields["serialNumber"])
    assert _refusal(lambda: bureau.issue("jane", by=bureau.holder(thief), key="new")) == "line-revoked"


def test_the_holder_of_one_of_a_line_that_ended(bureau: Bureau) -> None:
    """Who holds one that was not hit itself may still take it back."""
    line = _line(bureau, 2)
    bureau.revoke(serial_number=line[0].fields["serialNumber"])
    holder = bureau.holder(line[1])
    assert bureau.revoke(holder, credential_id=line[1].fields["credentialId"]).certificates == 1


def test_a_hold_of_one_of_a_line(bureau: Bureau) -> None:
    """A hold stops a line, and lifted it does not; what is revoked for good beside it does."""
    line = _line(bureau, 3)
    held = bureau.revoke(serial_number=line[1].fields["serialNumber"], reason=HOLD)
    renew = lambda: bureau.issue("jane", by=bureau.holder(line[2]), key="new")  # noqa: E731 - said three times
    assert _refusal(renew) == "line-revoked"
    bureau.lift(held)
    assert renew().fields["user"] == "jane"
    bureau.revoke(serial_number=line[0].fields["serialNumber"])
    assert _refusal(renew) == "line-revoked"


def test_a_renewal_that_was_asked_for_before(bureau: Bureau) -> None:
    """Who proved itself before a revocation, and is recorded after it, gets nothing."""
    line = _line(bureau, 2)
    holder = bureau.holder(line[1])
    Bureau(bureau.adapter).revoke(requester="token:requester")
    assert _refusal(lambda: bureau.issue("jane", by=holder, key="new")) == "line-revoked"


def test_a_condition_of_an_append(adapter: Adapter) -> None:
    """As long as nothing was revoked no line has ended, nor one that nobody knows."""
    ledger = adapter.open()
    event = _order(Selector(user="jane"))
    assert ledger.append(event, conditions=[LineInForce(line="01")]).unmet is None


@pytest.mark.parametrize("by", ["requester", "serial_number"])
def test_what_an_earlier_version_has_ordered(bureau: Bureau, by: str) -> None:
    """An entry without `lines` means what it meant: that requester alone; a line ends if its first was hit."""
    line, ledger = _line(bureau, 3), bureau.adapter.open()
    selector = Selector(requester="token:requester")
    if by == "serial_number":
        selector = Selector(serial_number=line[1].fields["serialNumber"])
    ledger.append(_older(_order(selector)))
    assert bureau.is_revoked(*line) == ([True, False, False] if by == "requester" else [False, True, False])
    assert [row["line"] for row in stored(bureau.adapter, tables.revoked_certificates)] == [None]
    assert _findings(bureau.adapter) == []
    renew = lambda: bureau.issue("jane", by=bureau.holder(line[2]), key="new")  # noqa: E731 - said twice
    if by == "requester":
        assert _refusal(renew) == "line-revoked"
    else:
        assert renew().fields["user"] == "jane"


@pytest.mark.parametrize("said", ["token:other", None])
def test_verification_of_who_asked_first(bureau: Bureau, said: str | None) -> None:
    """Who asked first is held to the entry: another name, or none, is found."""
    line = _line(bureau, 2)
    assert [row["first_requester"] for row in stored(bureau.adapter, tables.certificates)] == [
        None,
        "token:requester",
    ]
    assert _findings(bureau.adapter) == []
    is_it = tables.certificates.c.entry_index == line[1].index
    change(bureau.adapter, tables.certificates, is_it, first_requester=said)
    assert _findings(bureau.adapter) == [("row-differs", line[1].index)]


def test_verification_of_one_that_is_no_renewal(bureau: Bureau) -> None:
    """A first requester of a certificate that renews nothing is found."""
    entry = bureau.issue()
    change(bureau.adapter, tables.certificates, tables.certificates.c.entry_index == entry.index,
           first_requester="token:other")  # fmt: skip
    assert _findings(bureau.adapter) == [("row-differs", entry.index)]


@pytest.mark.parametrize("said", ["renewal:7f", None])
def test_verification_of_lines_that_ended(bureau: Bureau, said: str | None) -> None:
    """Which line a revocation has ended is held to its entry too."""
    _line(bureau, 2)
    record = bureau.revoke(requester="token:requester")
    hits = tables.revoked_certificates
    assert _findings(bureau.adapter) == []
    with bureau.adapter.engine.begin() as connection:
        assert connection.execute(update(hits).where(hits.c.line.is_not(None)).values(line=said)).rowcount == 1
    assert _findings(bureau.adapter) == [("row-differs", record.entry.index)]
