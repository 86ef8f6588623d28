"""Approval: what counts, what cannot, and that there is one outcome, all of it on record."""

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from issuance.approving import (
    ANN,
    ASKER,
    BOB,
    CID,
    POLICY,
    SIEM,
    TWO,
    UNKNOWN,
    Office,
    codes,
    corporate,
    opinion,
    person,
)
from issuance.desk import NOW, ca
from issuance.faulty_keys import FlipsABit
from kubemint.errors import ApprovalConflict, NotFound, NotPermitted, QuotaExceeded, SigningFailed
from kubemint.issuance import WAITING_MAX
from kubemint.ledger.reader import LedgerReader
from kubemint.ledger.requests import RequestRecord
from kubemint.record import EventKind
from kubemint.register import CurrentState, Difference, state_of
from kubemint.requester import Method, Renewal, SingleUse
from ledger.adapters import SqliteAdapter, assert_sound

OTHER_DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def office(record: SqliteAdapter) -> Office:
    """Give an office where one approval is enough."""
    return Office(record)


@pytest.fixture
def strict(office: Office) -> Office:
    """Give one where two are needed."""
    office.use(TWO)
    return office


def test_one_approval(office: Office) -> None:
    """An approval must sign what was asked, with a lifetime from the signature on, and be on record before it."""
    asked = office.ask("admins", expiration_seconds=1800)
    assert asked.kind is EventKind.REQUESTED
    office.later(minutes=30)

    record = office.approve(asked, ANN)

    assert office.kinds() == ["requested", "approved", "issued"]
    (approved,), issued = record.approvals, record.outcome
    assert (approved.fields["requester"], approved.fields["reason"]) == ("token:ann", "ticket 7")
    assert (approved.fields["digest"], approved.fields["policy"]) == (
        asked.fields["digest"],
        office.policy.version,
    )
    assert issued is not None
    certificate = x509.load_der_x509_certificate(base64.b64decode(issued.fields["certificate"]))
    certificate.verify_directly_issued_by(ca()[0])
    assert certificate.subject.rfc4514_string() == "CN=jane,O=admins"
    assert certificate.not_valid_after_utc == office.now + timedelta(seconds=1800)


def test_what_the_issued_entry_tells(office: Office) -> None:
    """The entry must name the requester who asked, the request, who approved and when it was asked."""
    asked = office.ask("admins")
    office.later(hours=1)
    issued = office.approve(asked, ANN).outcome

    assert issued is not None
    kept = ("requester", "evidence", "submissionSha256", "publicKeySha256", "request", "profile", "groups")
    assert {name: issued.fields[name] for name in kept} == {name: asked.fields[name] for name in kept}
    assert issued.fields["approvedBy"] == ["token:ann"]
    assert issued.fields["provenAt"] == asked.fields["time"]
    assert "idempotencyKey" not in issued.fields


def test_two_approvals(strict: Office) -> None:
    """Where two are needed, one must leave the request open, and the second must sign."""
    asked = strict.ask("admins")

    first = strict.approve(asked, ANN)
    assert (first.outcome, state_of(first, strict.now)) == (None, CurrentState.PENDING)
    second = strict.approve(asked, BOB)

    assert strict.kinds() == ["requested", "approved", "approved", "issued"]
    assert second.outcome is not None
    assert second.outcome.fields["approvedBy"] == ["token:ann", "token:bob"]


def test_denied(strict: Office) -> None:
    """A denial must end the request for good, whatever was approved before."""
    asked = strict.ask("admins")
    strict.approve(asked, ANN)

    record = strict.deny(asked, BOB)

    assert state_of(record, strict.now) is CurrentState.DENIED
    for verdict in (strict.approve, strict.deny):
        with pytest.raises(ApprovalConflict) as conflict:
            verdict(asked, CID)
        assert codes(conflict.value) == {"approval-decided"}
    assert strict.kinds() == ["requested", "approved", "denied"]


def test_who_approved_may_deny(strict: Office) -> None:
    """An operator must be able to take an approval back, as long as nothing was signed."""
    asked = strict.ask("admins")
    strict.approve(asked, ANN)

    assert state_of(strict.deny(asked, ANN), strict.now) is CurrentState.DENIED


def test_an_operator_may_withdraw_its_own(office: Office) -> None:
    """Nobody needs to wait for another to end what it asked for itself."""
    asked = office.ask("admins", requester=ANN)

    assert state_of(office.deny(asked, ANN), office.now) is CurrentState.DENIED


@pytest.mark.parametrize("who", [ASKER, SIEM, person("stranger")])
@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_operators_only(office: Office, who: Any, verdict: str) -> None:
    """The requester, an auditor and a stranger must not decide, and learn nothing of what there is."""
    asked = office.ask("admins")
    for request in (asked.fields["request"], UNKNOWN):
        with pytest.raises(NotPermitted):
            getattr(office.desk, verdict)(replace(opinion(asked, who), request=request))
    assert office.kinds() == ["requested"]


@pytest.mark.parametrize("request_id", [UNKNOWN, "", "%", "x" * 1000, "\x00"])
def test_unknown_requests(office: Office, request_id: str) -> None:
    """What is not on record cannot be decided."""
    asked = office.ask("admins")
    for verdict in (office.desk.approve, office.desk.deny):
        with pytest.raises(NotFound):
            verdict(replace(opinion(asked, ANN), request=request_id))


OWN = {
    "the same identity": (ANN, ANN),
    "another token of the same identity": (ANN, replace(ANN, evidence="token sha256:fedcba9876543210")),
    "another issuer that knows the same address": (
        person("hr:1", Method.OIDC, "corp", {"email": "Ann@corp.example"}),
        corporate("2", email="ann@corp.example"),
    ),
    "a token that is called as the other's subject": (ANN, corporate("ann")),
    "an identity of one, an address of the other": (
        person("corp:ann@corp.example", Method.OIDC, "corp", {}),
        corporate("2", email=" ANN@corp.example "),
    ),
    "an address in a list": (corporate("1", email="ann@corp.example"), corporate("2", email=["ann@corp.example"])),
    "an address in another form of Unicode": (
        corporate("1", email="zo\u00eb@corp.example"),
        corporate("2", email="zoe\u0308@corp.example"),
    ),
    "a certificate that is renewed": (
        replace(
            person("c", Method.RENEWAL),
            renews=Renewal(
                line="01", profile="admins", user="jane", groups=("admins",), first=ANN, first_proven_at=NOW
            ),
        ),
        ANN,
    ),
}


@pytest.mark.parametrize(("requester", "approver"), OWN.values(), ids=OWN)
def test_nobody_approves_its_own(office: Office, requester: Any, approver: Any) -> None:
    """One person must not be requester and approver, however it proves who it is."""
    office.use(POLICY.replace("approval: required", "renewal: {for: 7d}\n    approval: required"))
    asked = office.ask("admins", requester=requester)

    with pytest.raises(ApprovalConflict) as conflict:
        office.approve(asked, approver)

    assert codes(conflict.value) == {"approval-own"}
    assert office.kinds() == ["requested"]


def test_nobody_approves_a_certificate_in_its_own_name(office: Office) -> None:
    """What another asked for in the approver's name is the approver's own."""
    asked = office.ask("admins", user="ann@corp.example")

    with pytest.raises(ApprovalConflict) as conflict:
        office.approve(asked, corporate("2", email="ann@corp.example"))

    assert codes(conflict.value) == {"approval-own"}
    assert office.approve(asked, corporate("3", email="bob@corp.example")).outcome is not None


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (ANN, ANN),
        (ANN, replace(ANN, evidence="token sha256:fedcba9876543210")),
        (corporate("1", preferred_username="bob"), corporate("2", preferred_username="BOB")),
    ],
)
def test_nobody_approves_twice(strict: Office, first: Any, again: Any) -> None:
    """Two approvals must be of two people."""
    asked = strict.ask("admins")
    strict.approve(asked, first)

    with pytest.raises(ApprovalConflict) as conflict:
        strict.approve(asked, again)

    assert codes(conflict.value) == {"approval-twice"}
    assert strict.kinds() == ["requested", "approved"]


def test_an_operators_token_counts_once(office: Office) -> None:
    """Where tokens count once, one must carry one verdict; the requester's own use is behind it."""
    once = SingleUse(token_id="jti-1")
    asker, operator = (replace(corporate(name), single_use=once) for name in ("1", "2"))
    asked = office.ask("admins", requester=replace(asker, single_use=replace(once, token_id="jti-0")))
    other = office.ask("admins")
    assert office.approve(asked, operator).outcome is not None

    for verdict in (office.approve, office.deny):
        with pytest.raises(ApprovalConflict) as conflict:
            verdict(other, operator)
        assert codes(conflict.value) == {"token-used"}
    assert office.kinds().count("approved") == 1


@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_another_digest(office: Office, verdict: str) -> None:
    """A verdict on other terms than those on record must not count."""
    asked = office.ask("admins")

    with pytest.raises(ApprovalConflict) as conflict:
        getattr(office, verdict)(asked, ANN, OTHER_DIGEST)

    assert codes(conflict.value) == {"approval-digest"}
    assert office.kinds() == ["requested"]


def test_the_digest_of_another_request(office: Office) -> None:
    """An approval must not be carried from one request to another, where the user asks for more."""
    small, large = office.ask("viewers"), office.ask("admins")

    with pytest.raises(ApprovalConflict) as conflict:
        office.approve(large, ANN, small.fields["digest"])

    assert codes(conflict.value) == {"approval-digest"}


@pytest.mark.parametrize("verdict", ["approve", "deny"])
@pytest.mark.parametrize(("seconds", "is_open"), [(7199.9, True), (7200, False), (7201, False)])
def test_expiry(office: Office, verdict: str, seconds: float, is_open: bool) -> None:
    """A request must be open for as long as the profile says and not a moment longer."""
    asked = office.ask("admins")
    office.later(seconds=seconds)

    if is_open:
        assert getattr(office, verdict)(asked, ANN).outcome is not None
        return
    with pytest.raises(ApprovalConflict) as conflict:
        getattr(office, verdict)(asked, ANN)
    assert codes(conflict.value) == {"approval-expired"}
    assert office.see(asked, ANN).state is CurrentState.EXPIRED


def test_every_reason_is_told(strict: Office) -> None:
    """Whoever is turned down must learn all that stands against it."""
    asked = strict.ask("admins", requester=ANN)
    strict.approve(asked, BOB)
    strict.later(hours=3)

    with pytest.raises(ApprovalConflict) as own:
        strict.approve(asked, ANN, OTHER_DIGEST)
    with pytest.raises(ApprovalConflict) as twice:
        strict.approve(asked, BOB)

    assert codes(own.value) == {"approval-own", "approval-expired", "approval-digest"}
    assert codes(twice.value) == {"approval-twice", "approval-expired"}


CHANGED = {
    "the group is not given any more": (("groups: [admins, viewers", "groups: [viewers"), {"group-not-allowed"}),
    "the requester is gone": (("{token: requester}, ", ""), {"no-profile"}),
    "the lifetime is too long": (("default: 1h, max: 8h", "default: 30m, max: 30m"), {"lifetime-too-long"}),
    "a group is added": (
        ("approval: required", "approval: required\n    required: [viewers]"),
        {"approval-digest"},
    ),
    "the profile has another name": (("  admins:", "  others:"), {"approval-digest"}),
}


@pytest.mark.parametrize(("change", "reasons"), CHANGED.values(), ids=CHANGED)
def test_the_policy_changed(office: Office, change: tuple[str, str], reasons: set[str]) -> None:
    """An approval must count under the rules of its moment, for exactly what was asked, or not at all."""
    asked = office.ask("admins", expiration_seconds=3600)
    office.use(POLICY.replace(*change))

    with pytest.raises(ApprovalConflict) as conflict:
        office.approve(asked, ANN)

    assert codes(conflict.value) == reasons
    assert office.kinds() == ["requested"]
    assert state_of(office.deny(asked, ANN), office.now) is CurrentState.DENIED


def test_another_default_is_another_digest(office: Office) -> None:
    """Where no lifetime was asked for, a changed default must not slip in under an approval."""
    asked = office.ask("admins")
    office.use(POLICY.replace("default: 1h", "default: 8h"))

    with pytest.raises(ApprovalConflict) as conflict:
        office.approve(asked, ANN)

    assert codes(conflict.value) == {"approval-digest"}


def test_more_approvals_are_needed_today(office: Office) -> None:
    """A policy that wants more people must get them for what is open already."""
    asked = office.ask("admins")
    office.use(TWO)

    assert office.approve(asked, ANN).outcome is None
    assert office.approve(asked, BOB).outcome is not None


@pytest.mark.parametrize("text", [POLICY, POLICY.replace("    approvals: 1\n", "").replace("2h", "3h")])
def test_fewer_approvals_are_needed_today(strict: Office, text: str) -> None:
    """A request must get as many approvals as it was made with, even if the policy wants fewer now."""
    asked = strict.ask("admins")
    strict.use(text)

    assert strict.approve(asked, ANN).outcome is None
    assert strict.approve(asked, BOB).outcome is not None


def test_no_approval_is_needed_today(strict: Office) -> None:
    """The same must hold where the profile is free by now."""
    asked = strict.ask("admins")
    free = TWO.replace("    approval: required\n    approvals: 2\n    approvalWithin: 2h\n", "")
    assert free != TWO
    strict.use(free)

    assert strict.approve(asked, ANN).outcome is None
    assert strict.approve(asked, BOB).outcome is not None


def test_the_approval_of_a_former_operator(strict: Office) -> None:
    """Who is no operator any more must not have approved: the request waits for another."""
    asked = strict.ask("admins")
    strict.approve(asked, ANN)
    strict.use(TWO.replace("operator: [{token: ann}, ", "operator: ["))

    assert strict.approve(asked, BOB).outcome is None
    done = strict.approve(asked, CID)

    assert done.outcome is not None
    assert done.outcome.fields["approvedBy"] == ["token:bob", "token:cid"]


def test_the_quota_counts_at_the_signature(office: Office) -> None:
    """More requests than the quota may wait, and no more certificates come of them; nothing else is written."""
    office.use(POLICY.replace("approval: required", "quota: {certificates: 1, per: 1h}\n    approval: required"))
    first, second = office.ask("admins"), office.ask("admins")
    assert office.approve(first, ANN).outcome is not None

    with pytest.raises(QuotaExceeded) as exceeded:
        office.approve(second, ANN)

    left = exceeded.value.retry_at - office.now
    assert timedelta(hours=1) <= left <= timedelta(hours=1, seconds=1)
    assert office.kinds() == ["requested", "requested", "approved", "issued"]
    office.later(minutes=61)
    assert office.approve(second, ANN).outcome is not None


def test_a_fault_in_signing_records_nothing(record: SqliteAdapter) -> None:
    """Without a signature there must be no approval either, and the request stays open."""
    office = Office(record, key=FlipsABit(ca()[1]))
    asked = office.ask("admins")

    with pytest.raises(SigningFailed):
        office.approve(asked, ANN)

    assert office.kinds() == ["requested"]
    assert office.see(asked, ANN).state is CurrentState.PENDING


@pytest.mark.parametrize("text", [POLICY, TWO], ids=["one", "two"])
def test_racing_approvers(office: Office, text: str) -> None:
    """However many approve at once, there must be one certificate, of as many approvals as are needed."""
    operators = [f"op-{number}" for number in range(8)]
    named = ", ".join(f"{{token: {name}}}" for name in operators)
    office.use(text.replace("operator: [", f"operator: [{named}, "))
    asked = office.ask("admins")
    start = threading.Barrier(len(operators))

    def approve(name: str) -> None:
        start.wait()
        with suppress(ApprovalConflict):
            office.approve(asked, person(name))

    with ThreadPoolExecutor(len(operators)) as threads:
        list(threads.map(approve, operators))

    needed = 1 if text is POLICY else 2
    assert office.kinds() == ["requested", *["approved"] * needed, "issued"]
    assert_sound(office.record)


def test_approval_and_denial_at_once(office: Office) -> None:
    """Of an approval and a denial that race, exactly one must count."""
    for _ in range(5):
        asked = office.ask("admins")
        start = threading.Barrier(2)

        def decide(verdict: Any, who: Any, asked: Any = asked, start: Any = start) -> bool:
            start.wait()
            try:
                verdict(asked, who)
            except ApprovalConflict:
                return False
            return True

        with ThreadPoolExecutor(2) as threads:
            done = [threads.submit(decide, office.approve, ANN), threads.submit(decide, office.deny, BOB)]
            assert sorted(future.result() for future in done) == [False, True]
    kinds = office.kinds()
    assert kinds.count("issued") + kinds.count("denied") == 5
    assert kinds.count("issued") == kinds.count("approved")


class Meanwhile:
    """A register that lets something happen once, after a request was read."""

    def __init__(self, reader: LedgerReader, happens: Any) -> None:
        self._reader = reader
        self._happens = happens
        self.latest_certificate_of = reader.latest_certificate_of

    def find_request(self, request: str) -> RequestRecord | None:
        """Read it, and let it happen."""
        found = self._reader.find_request(request)
        happens, self._happens = self._happens, None
        if happens is not None:
            happens()
        return found


def test_an_approval_that_came_meanwhile_counts(strict: Office) -> None:
    """Whoever finds that another has approved since it read must not lose its own approval."""
    asked = strict.ask("admins")
    slow = replace(strict.desk, register=Meanwhile(strict.reader, lambda: strict.approve(asked, ANN)))

    record = slow.approve(opinion(asked, BOB))

    assert record.outcome is not None
    assert strict.kinds() == ["requested", "approved", "approved", "issued"]


def test_a_decision_that_came_meanwhile_counts(office: Office) -> None:
    """Whoever finds that another has decided since it read must hear it, and change nothing."""
    asked = office.ask("admins")
    slow = replace(office.desk, register=Meanwhile(office.reader, lambda: office.deny(asked, ANN)))

    with pytest.raises(ApprovalConflict) as conflict:
        slow.approve(opinion(asked, BOB))

    assert codes(conflict.value) == {"approval-decided"}
    assert office.kinds() == ["requested", "denied"]


def test_who_sees_what(office: Office) -> None:
    """Operators and auditors see all, the requester its own without claims, others nothing."""
    office.approve(office.ask("viewers", "team-a", expiration_seconds=600), ANN)
    asked = office.ask("admins", "team-a", key_type="ecdsa-p384")

    for viewer in (ANN, SIEM):
        seen = office.see(asked, viewer)
        assert seen.in_full
        assert seen.difference == Difference(
            serial_number="01",
            groups_added=("admins",),
            groups_removed=("viewers",),
            lifetime_seconds=600,
            same_key=False,
        )
    own = office.see(asked, ASKER)
    assert (own.in_full, own.difference) == (False, None)
    with pytest.raises(NotFound) as stranger:
        office.see(asked, person("stranger"))
    with pytest.raises(NotFound) as unknown:
        office.see(replace(asked, fields={"request": UNKNOWN}), person("stranger"))
    assert stranger.value.message == unknown.value.message


def test_a_first_certificate_has_no_difference(office: Office) -> None:
    """Where the user never had a certificate, or this one is issued, there is nothing to compare with."""
    asked = office.ask("admins")
    assert office.see(asked, ANN).difference is None
    office.approve(asked, ANN)
    assert office.see(asked, ANN).difference is None


def test_lists_tell_waiting_from_expired(office: Office) -> None:
    """A list by state must go by the hour."""
    old = office.ask("admins")
    office.later(hours=2, minutes=1)
    new = office.ask("admins")
    denied = office.ask("admins")
    office.deny(denied, ANN)

    listed = {
        state: [record.entry.index for record in office.reader.requests(state, now=office.now, limit=9).requests]
        for state in (None, *CurrentState)
    }

    assert listed == {
        None: [denied.index, new.index, old.index],
        CurrentState.PENDING: [new.index],
        CurrentState.EXPIRED: [old.index],
        CurrentState.DENIED: [denied.index],
        CurrentState.ISSUED: [],
    }


def test_who_asks_for_too_much_waits(office: Office) -> None:
    """Twenty of one requester's requests wait at most; another's do, and one more when one is decided."""
    asked = [office.ask("admins", user=f"user-{number}") for number in range(WAITING_MAX)]
    with pytest.raises(QuotaExceeded) as refusal:
        office.ask("admins", user="one-too-many")
    assert [reason.code for reason in refusal.value.reasons] == ["requests-too-many"]
    assert office.kinds().count("refused") == 1
    office.ask("admins", requester=ANN)
    office.deny(asked[0], ANN)
    office.ask("admins", user="one-more")
