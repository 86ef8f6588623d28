"""A token that counts once: its first decision counts, granted or refused, and there is no second."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest

from csrs import bad_csr, good_csr
from issuance.desk import POLICY, Desk, requester
from issuance.doors import submission
from kubemint.errors import IdempotencyConflict, MalformedRequest, RequestRefused, UnacceptableRequest
from kubemint.ledger import tables
from kubemint.record import EventKind
from kubemint.requester import Requester, SingleUse
from ledger.adapters import SqliteAdapter, stored

CSR = good_csr()
QUOTA = POLICY.replace(
    "max: 24h}\n  monitoring", "max: 24h}\n    quota: {certificates: 1, per: 10m}\n  monitoring"
)


def once(token_id: str = "t-1", name: str = "requester") -> Requester:
    """Give a requester whose token counts once."""
    return replace(requester(name), single_use=SingleUse(token_id=token_id))


def refusal_codes(desk: Desk, who: Requester, csr: bytes = CSR) -> list[str]:
    """Ask for what must be refused; give the reasons."""
    with pytest.raises(RequestRefused) as refusal:
        desk.issue(submission(csr), who)
    return [reason.code for reason in refusal.value.reasons]


def test_the_second_use(desk: Desk, record: SqliteAdapter) -> None:
    """The second use of a token is refused, told why, and is on record with the id of the token."""
    desk.issue(submission(CSR), once())
    assert refusal_codes(desk, once()) == ["token-used"]
    issued, refused = record.announced
    assert (issued.kind, refused.kind) == (EventKind.ISSUED, EventKind.REFUSED)
    assert (
        issued.fields["singleUse"] == {"authority": "requester", "tokenId": "t-1"} == refused.fields["singleUse"]
    )


def test_sixteen_at_once_at_two_replicas(record: SqliteAdapter) -> None:
    """Sixteen that show one token at once, to two replicas, get one certificate."""
    desks, start = [Desk(record.open()) for _ in range(2)], Barrier(16)

    def ask(number: int) -> str:
        start.wait(10)
        try:
            return desks[number % 2].issue(submission(CSR), once()).entry.kind.value
        except RequestRefused as refusal:
            return refusal.reasons[0].code

    with ThreadPoolExecutor(16) as pool:
        outcomes = sorted(pool.map(ask, range(16)))
    assert outcomes == ["issued"] + ["token-used"] * 15
    assert sorted(row["kind"] for row in stored(record, tables.entries)) == ["issued"] + ["refused"] * 15


def test_another_token(desk: Desk) -> None:
    """Another token, and one of the same id of another authority, are unused."""
    both = POLICY.replace("[{token: requester}]", "[{token: requester}, {token: other}]")
    desk.policy = Desk(desk.issuance.ledger, both).policy
    for who in (once(), once("t-2"), once(name="other")):
        assert desk.issue(submission(CSR), who).entry.kind is EventKind.ISSUED


def test_a_refused_request_uses_the_token_up(desk: Desk) -> None:
    """The first decision counts: who was refused for its groups cannot try others with the same token."""
    assert refusal_codes(desk, once(), good_csr(groups=["admins"])) == ["group-not-allowed"]
    assert refusal_codes(desk, once()) == ["token-used"]


@pytest.mark.parametrize(
    ("csr", "error"), [(bad_csr("OU"), UnacceptableRequest), (b"no CSR", MalformedRequest)], ids=["OU", "no CSR"]
)
def test_an_unfit_csr_uses_the_token_up(desk: Desk, csr: bytes, error: type[Exception]) -> None:
    """A CSR that is refused for itself is a decision too."""
    with pytest.raises(error):
        desk.issue(submission(csr), once())
    assert refusal_codes(desk, once()) == ["token-used"]


def test_a_request_beyond_the_quota_uses_the_token_up(record: SqliteAdapter) -> None:
    """A refusal for the quota is a decision too, and is the last of the token when the window has passed."""
    desk = Desk(record.open(), QUOTA)
    desk.issue(submission(CSR), once("t-1"))
    with pytest.raises(Exception, match="enough certificates"):
        desk.issue(submission(CSR), once("t-2"))
    desk.now += timedelta(minutes=11)
    assert refusal_codes(desk, once("t-2")) == ["token-used"]


def test_a_dry_run_uses_nothing_up(desk: Desk) -> None:
    """To ask what would be decided is no decision."""
    for _ in range(3):
        desk.explain(submission(CSR), once())
    assert desk.issue(submission(CSR), once()).entry.kind is EventKind.ISSUED


def test_a_retry(desk: Desk, record: SqliteAdapter) -> None:
    """Who sends the same again under its Idempotency-Key gets the same certificate, with the used token."""
    first = desk.issue(submission(CSR), once(), idempotency_key="k")
    again = desk.issue(submission(CSR), once(), idempotency_key="k")
    assert (again.repeated, again.entry) == (True, first.entry)
    with pytest.raises(IdempotencyConflict):
        desk.issue(submission(good_csr(user="eve")), once(), idempotency_key="k")
    with pytest.raises(RequestRefused):
        desk.issue(submission(CSR), once(), idempotency_key="another")
    assert [entry.kind.value for entry in record.announced] == ["issued", "refused"]


def test_retries_at_once(record: SqliteAdapter) -> None:
    """Eight retries at once with one token and one key get one certificate, all of them."""
    desks, start = [Desk(record.open()) for _ in range(2)], Barrier(8)

    def ask(number: int) -> str:
        start.wait(10)
        entry = desks[number % 2].issue(submission(CSR), once(), idempotency_key="k").entry
        return str(entry.fields["credentialId"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert [row["kind"] for row in stored(record, tables.entries)] == ["issued"]
