"""Whom and what a revocation keeps from getting certificates: refused as they are written, whoever was faster."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from issuance.desk import NOW
from kubemint.audit import revoked_event
from kubemint.errors import QuotaExceeded, RequestRefused
from kubemint.ledger import tables
from kubemint.record import BlockKind, Entry, Event, NotBlocked, RevocationOrder, Unmet
from kubemint.selector import Selector
from kubemint.x509.revocation import RevocationReason
from ledger.adapters import Adapter, stored
from ledger.events import issued, requested
from ledger.ways import WAYS, Way, unit
from revoking.bureau import ANN, ASKER, COMPROMISE, HOUR, OTHER, Bureau, of_key

every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
SECOND = timedelta(seconds=1)
KEY = "ab" * 32


def _refusal(ask: Callable[[], object]) -> str:
    with pytest.raises(RequestRefused) as refused:
        ask()
    (reason,) = refused.value.reasons
    assert reason.path == "revocations"
    return reason.code


def _suspend(bureau: Bureau, until: datetime | None = None, **selector: str) -> None:
    bureau.revoke(suspend_until=until or bureau.now + HOUR, **selector)


def test_a_suspended_user(bureau: Bureau) -> None:
    """A suspended user gets nothing, whoever asks and by whatever profile; the refusal is on record; others do."""
    _suspend(bureau, user="jane")
    for by, profile in ((ASKER, "developers"), (OTHER, "developers"), (ASKER, "marked"), (ASKER, "admins")):
        assert _refusal(lambda by=by, profile=profile: bureau.issue(by=by, profile=profile)) == "user-suspended"  # type: ignore[misc]  # one for each
    assert bureau.kinds() == ["revoked"] + ["refused"] * 4
    assert bureau.issue("joe").fields["user"] == "joe"
    assert bureau.issue("Jane").fields["user"] == "Jane"


def test_a_suspended_group(bureau: Bureau) -> None:
    """A suspended group is in no new certificate; its members may have one without it."""
    _suspend(bureau, group="team-a")
    assert _refusal(lambda: bureau.issue("jane", "developers", "team-a")) == "group-suspended"
    assert bureau.issue("jane", "developers", "team-b").fields["groups"] == ["developers", "team-b"]


def test_user_and_group(bureau: Bureau) -> None:
    """Where a record of old names both, both are kept out, each by itself; what is hit has both."""
    both, one = bureau.issue("jane", "team-a"), bureau.issue("jane")
    _record(bureau, Selector(user="jane", group="team-a"))
    assert bureau.is_revoked(both, one) == [True, False]
    assert _refusal(lambda: bureau.issue("jane")) == "user-suspended"
    assert _refusal(lambda: bureau.issue("joe", "team-a")) == "group-suspended"


def test_until_it_ends(bureau: Bureau) -> None:
    """A suspension counts until the second that it names, and no longer."""
    _suspend(bureau, user="jane", until=NOW + HOUR)
    bureau.now = NOW + HOUR - SECOND
    assert _refusal(bureau.issue) == "user-suspended"
    bureau.now = NOW + HOUR
    assert bureau.issue().fields["user"] == "jane"


def test_the_longer_of_two(bureau: Bureau) -> None:
    """Of two suspensions the longer one counts, in whichever order they came."""
    for first, second in ((1, 2), (4, 3)):
        _suspend(bureau, user="jane", until=NOW + first * HOUR)
        _suspend(bureau, user="jane", until=NOW + second * HOUR)
    bureau.now = NOW + 3.5 * HOUR
    assert _refusal(bureau.issue) == "user-suspended"


def test_without_a_suspension(bureau: Bureau) -> None:
    """A revocation alone keeps no user and no group from new certificates."""
    bureau.issue("jane", "team-a", key="one")
    bureau.revoke(user="jane")
    bureau.revoke(group="team-a", reason=RevocationReason.PRIVILEGE_WITHDRAWN)
    assert bureau.issue("jane", "team-a", key="one").fields["groups"] == ["team-a"]


def test_an_approval_that_comes_too_late(bureau: Bureau) -> None:
    """A request that waits for a suspended user cannot be approved; nothing is recorded, and it can be later."""
    asked = bureau.issue("jane", "admins", profile="admins")
    _suspend(bureau, user="jane", until=NOW + HOUR)
    assert _refusal(lambda: bureau.approve(asked)) == "user-suspended"
    assert bureau.kinds() == ["requested", "revoked"]
    bureau.now += HOUR
    bureau.approve(asked)
    assert bureau.kinds() == ["requested", "revoked", "approved", "issued"]


@pytest.mark.parametrize("named", ["group", "key"])
def test_an_approval_of_what_is_kept_out(bureau: Bureau, named: str) -> None:
    """The same holds for a group, and for a key that was revoked meanwhile."""
    asked = bureau.issue("jane", "admins", profile="admins")
    if named == "group":
        _suspend(bureau, group="admins")
    else:
        bureau.revoke(public_key_sha256=of_key(asked))
    code = {"group": "group-suspended", "key": "key-revoked"}[named]
    assert _refusal(lambda: bureau.approve(asked)) == code
    assert bureau.kinds() == ["requested", "revoked"]


def test_a_renewal_of_a_suspended_user(bureau: Bureau) -> None:
    """Who is suspended does not renew, even a certificate that was not hit."""
    entry = bureau.issue("jane")
    _record(bureau, Selector(user="jane", profile="marked"))  # as it could be ordered once
    assert bureau.is_revoked(entry) == [False]
    assert _refusal(lambda: bureau.issue("jane", by=bureau.holder(entry))) == "user-suspended"


def test_a_retry(bureau: Bureau) -> None:
    """Who sends the same again under its key gets what it had, which is revoked, and nothing new."""
    first = bureau.issue("jane", idempotency_key="k")
    _suspend(bureau, user="jane")
    assert bureau.issue("jane", idempotency_key="k") == first
    assert bureau.is_revoked(first) == [True]
    assert bureau.kinds() == ["issued", "revoked"]


def test_a_revoked_key(bureau: Bureau) -> None:
    """A revoked key is in no later certificate, whoever asks for whomever, though none was issued for it."""
    known, unknown = bureau.issue(key="one"), bureau.issue(key="two")
    record = bureau.revoke(public_key_sha256=of_key(known))
    assert (record.certificates, bureau.is_revoked(known, unknown)) == (1, [True, False])
    for by, user in ((ASKER, "jane"), (OTHER, "joe")):
        assert _refusal(lambda by=by, user=user: bureau.issue(user, by=by, key="one")) == "key-revoked"  # type: ignore[misc]  # one for each
    assert _refusal(lambda: bureau.issue(by=bureau.holder(unknown), key="one")) == "key-revoked"
    bureau.now += 1000 * HOUR
    assert _refusal(lambda: bureau.issue(key="one")) == "key-revoked"
    assert bureau.issue(key="two").fields["user"] == "jane"


def test_a_key_that_nobody_has_used_yet(bureau: Bureau) -> None:
    """An operator may keep a key out before its first CSR."""
    known = bureau.issue(key="one")
    other = Bureau(bureau.adapter)
    bureau.now += 2 * HOUR  # what was issued for it has expired
    assert bureau.revoke(public_key_sha256=of_key(known)).certificates == 0
    assert _refusal(lambda: other.issue(key="one")) == "key-revoked"


@pytest.mark.parametrize("by", ["user", "group", "requester", "serial_number"])
def test_compromise_blocks_the_keys_of_all_that_is_hit(bureau: Bureau, by: str) -> None:
    """For keyCompromise, by whatever was selected, no key of what is hit comes again; other reasons let it."""
    entries = [bureau.issue("jane", "team-a", key=key) for key in ("one", "two")]
    spared = bureau.issue("joe", "team-b", by=OTHER, key="three")
    bureau.revoke(user="jane", reason=RevocationReason.SUPERSEDED)
    assert bureau.issue("mary", by=OTHER, key="two").fields["user"] == "mary"
    fields = entries[0].fields
    value = {"user": "jane", "group": "team-a", "requester": "token:requester"}.get(by, fields["serialNumber"])
    bureau.revoke(reason=COMPROMISE, **{by: value})
    assert _refusal(lambda: bureau.issue("joe", by=OTHER, key="one")) == "key-revoked"
    if by != "serial_number":
        assert _refusal(lambda: bureau.issue("joe", by=OTHER, key="two")) == "key-revoked"
    assert bureau.issue("jane", key="three").fields["publicKeySha256"] == of_key(spared)


def test_what_is_blocked_twice(bureau: Bureau) -> None:
    """A key that two revocations keep out stays out when one of them is lifted."""
    entry = bureau.issue(key="one")
    held = bureau.revoke(public_key_sha256=of_key(entry), reason=RevocationReason.CERTIFICATE_HOLD)
    bureau.revoke(user="jane", reason=COMPROMISE)
    bureau.lift(held)
    assert _refusal(lambda: bureau.issue(key="one")) == "key-revoked"


@every_way
@pytest.mark.parametrize(
    ("selector", "blocked"),
    [
        (Selector(user="jané"), BlockKind.USER),
        (Selector(group="developers"), BlockKind.GROUP),
        (Selector(public_key_sha256=KEY), BlockKind.KEY),
    ],
    ids=lambda value: value.value if isinstance(value, BlockKind) else "",
)
def test_in_whichever_way_they_come(adapter: Adapter, way: Way, selector: Selector, blocked: BlockKind) -> None:
    """What is asked for after a revocation is refused, in the same transaction too; what came before is not."""
    wanted = NotBlocked(user="jané", groups=("viewers", "developers"), public_key_sha256=KEY, now=NOW)
    units = [
        unit(issued(1), conditions=[wanted]),
        unit(_suspension(selector)),
        unit(issued(2), conditions=[wanted]),
        unit(requested("r1"), conditions=[wanted]),
        unit(issued(3), conditions=[_other(wanted, blocked)]),
    ]
    before, _, after, request, other = way(adapter, units)
    assert (before.unmet, other.unmet) == (None, None)
    assert after.unmet == request.unmet == Unmet(condition=wanted, blocked=blocked)
    kinds = [row["kind"] for row in stored(adapter, tables.entries)]
    assert kinds == ["issued", "revoked", "issued"]


def _record(bureau: Bureau, selector: Selector) -> None:
    """Write a suspension that a desk refuses by now."""
    bureau.desk.ledger.append(_suspension(selector))


def _suspension(selector: Selector) -> Event:
    return revoked_event(
        RevocationOrder(
            revocation="a" * 32,
            selector=selector,
            reason=RevocationReason.UNSPECIFIED,
            note="",
            ordered_by=ANN,
            time=NOW,
            policy_version="sha256:" + "0" * 64,
            suspend_until=None if selector.public_key_sha256 else NOW + HOUR,
            blocks_keys=selector.public_key_sha256 is not None,
        )
    )


def _other(wanted: NotBlocked, blocked: BlockKind) -> NotBlocked:
    """Give a certificate that has not what is blocked."""
    return NotBlocked(
        user="joe" if blocked is BlockKind.USER else wanted.user,
        groups=("viewers",) if blocked is BlockKind.GROUP else wanted.groups,
        public_key_sha256="cd" * 32 if blocked is BlockKind.KEY else wanted.public_key_sha256,
        now=wanted.now,
    )


def test_a_process_that_knew_nothing(adapter: Adapter) -> None:
    """What one process suspended is refused by another at its next request."""
    here, there = Bureau(adapter), Bureau(adapter)
    assert isinstance(there.issue(), Entry)
    _suspend(here, user="jane")
    assert _refusal(there.issue) == "user-suspended"


def test_a_suspension_is_no_quota(bureau: Bureau) -> None:
    """A refusal for a suspension names no time to come again, and is no QuotaExceeded."""
    _suspend(bureau, user="jane")
    with pytest.raises(RequestRefused) as refused:
        bureau.issue()
    assert not isinstance(refused.value, QuotaExceeded)
