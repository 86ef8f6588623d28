"""So many certificates for a requester in any window, whoever asks at the same time, and no more."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest

from csrs import bad_csr, good_csr
from issuance.desk import NOW, POLICY, Desk, requester
from issuance.doors import submission
from kubemint.errors import QuotaExceeded, RequestRefused, UnacceptableRequest
from kubemint.ledger import tables
from kubemint.record import EventKind
from ledger.adapters import SqliteAdapter, assert_sound, stored

CSR = good_csr()
PER = timedelta(minutes=10)
QUOTA = POLICY.replace(
    "max: 24h}\n  monitoring", "max: 24h}\n    quota: {certificates: 3, per: 10m}\n  monitoring"
)
SHARED = QUOTA.replace("[{token: requester}]", "[{token: requester}, {token: other}]")


@pytest.fixture
def desk(record: SqliteAdapter) -> Desk:
    """Give a desk where three certificates in ten minutes are enough."""
    return Desk(record.open(), QUOTA)


def kinds(record: SqliteAdapter) -> list[str]:
    """Give the kinds of all entries."""
    return [row["kind"] for row in stored(record, tables.entries)]


def test_the_one_too_many(desk: Desk, record: SqliteAdapter) -> None:
    """The fourth is refused with the reason, the rule and the moment to come again, and is on record."""
    for _ in range(3):
        desk.issue(submission(CSR), requester())
    desk.now += timedelta(seconds=1)
    with pytest.raises(QuotaExceeded) as refusal:
        desk.issue(submission(CSR), requester())
    (reason,) = refusal.value.reasons
    assert (reason.code, reason.path) == ("quota-exceeded", "profiles.developers.quota")
    assert refusal.value.retry_at == NOW + PER + timedelta(seconds=1)
    assert kinds(record) == ["issued"] * 3 + ["refused"]
    last = record.announced[-1]
    assert last.kind is EventKind.REFUSED
    assert [told["code"] for told in last.fields["reasons"]] == ["quota-exceeded"]
    assert last.fields["policy"] == desk.policy.version


def test_the_window_passes(desk: Desk) -> None:
    """At the moment that the refusal names there is one more, and not before; each that grows old makes room."""
    for _ in range(3):
        desk.issue(submission(CSR), requester())
        desk.now += timedelta(minutes=1)
    for minutes in (10, 11, 12):
        desk.now = NOW + timedelta(minutes=minutes, seconds=-1)
        with pytest.raises(QuotaExceeded) as refusal:
            desk.issue(submission(CSR), requester())
        desk.now = refusal.value.retry_at
        assert desk.now <= NOW + timedelta(minutes=minutes, seconds=1)
        desk.issue(submission(CSR), requester())


def test_a_requester_and_a_profile_have_their_own(record: SqliteAdapter) -> None:
    """What one requester has used up leaves the other's whole; so it is for another profile."""
    desk = Desk(record.open(), SHARED)
    for name in ("requester", "other"):
        for _ in range(3):
            desk.issue(submission(CSR), requester(name))
        with pytest.raises(QuotaExceeded):
            desk.issue(submission(CSR), requester(name))
    monitoring = good_csr(user="prometheus", groups=["system:monitoring"])
    assert desk.issue(submission(monitoring), requester("prometheus")).entry.kind is EventKind.ISSUED


def test_a_retry_is_not_counted(desk: Desk) -> None:
    """A retry gets its certificate, uses nothing up, and gets it even when nothing is left."""
    first = desk.issue(submission(CSR), requester(), idempotency_key="k")
    for _ in range(5):
        assert desk.issue(submission(CSR), requester(), idempotency_key="k").repeated
    for _ in range(2):
        desk.issue(submission(CSR), requester())
    with pytest.raises(QuotaExceeded):
        desk.issue(submission(CSR), requester())
    assert desk.issue(submission(CSR), requester(), idempotency_key="k").entry == first.entry


def test_refusals_are_not_counted(desk: Desk) -> None:
    """What was refused, for itself or by the policy, uses nothing up; nor does a dry run."""
    for _ in range(5):
        with pytest.raises(RequestRefused):
            desk.issue(submission(good_csr(groups=["admins"])), requester())
        with pytest.raises(UnacceptableRequest):
            desk.issue(submission(bad_csr("OU")), requester())
        desk.explain(submission(CSR), requester())
    for _ in range(3):
        desk.issue(submission(CSR), requester())


def test_what_is_refused_anyway(desk: Desk) -> None:
    """A request that the policy refuses is refused for that, whether something is left or not."""
    for _ in range(3):
        desk.issue(submission(CSR), requester())
    with pytest.raises(RequestRefused) as refusal:
        desk.issue(submission(good_csr(groups=["admins"])), requester())
    assert [reason.code for reason in refusal.value.reasons] == ["group-not-allowed"]


def test_many_at_once_over_two_replicas(record: SqliteAdapter) -> None:
    """Sixteen at once, at two desks that share the ledger alone, get three certificates."""
    desks, start = [Desk(record.open(), QUOTA) for _ in range(2)], Barrier(16)
    serials = iter(range(1000, 2000))
    replicas = [
        type(desk.issuance)(
            current_policy=desk.issuance.current_policy,
            issuer=desk.issuance.issuer,
            ledger=desk.issuance.ledger,
            clock=desk.issuance.clock,
            draw_serial=lambda: next(serials),
            draw_name=desk.issuance.draw_name,
        )
        for desk in desks
    ]

    def ask(number: int) -> str:
        start.wait(10)
        try:
            return replicas[number % 2].issue(submission(CSR), requester()).entry.kind.value
        except QuotaExceeded:
            return "refused"

    with ThreadPoolExecutor(16) as pool:
        outcomes = sorted(pool.map(ask, range(16)))
    assert outcomes == ["issued"] * 3 + ["refused"] * 13
    assert sorted(kinds(record)) == outcomes
    assert_sound(record)


def test_a_smaller_quota_counts_at_once(desk: Desk) -> None:
    """A policy that allows fewer counts those that are there already."""
    for _ in range(2):
        desk.issue(submission(CSR), requester())
    desk.policy = Desk(desk.issuance.ledger, QUOTA.replace("certificates: 3", "certificates: 2")).policy
    with pytest.raises(QuotaExceeded):
        desk.issue(submission(CSR), requester())
