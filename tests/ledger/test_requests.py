"""Requests for approval: found with their approvals and their outcome, and listed page by page."""

from datetime import timedelta

import pytest

from kubemint.errors import LedgerUnavailable
from kubemint.ledger.reader import Filter, LedgerReader
from kubemint.ledger.requests import RequestRecord
from kubemint.ledger.rows import RequestState
from ledger.adapters import Adapter
from ledger.events import NOW, answered, approved, denied, issued, refused, requested

EVENTS = (
    requested("r1", by="ci"),
    requested("r2", by="cd", groups=("team-a",)),
    approved("r1", by="boss"),
    requested("r3", by="ci"),
    approved("r1", by="chief"),
    answered("r1", 1),
    denied("r3"),
    requested("r4", by="ci"),
    approved("r4"),
)
STATES = {"r4": "pending", "r3": "denied", "r2": "pending", "r1": "issued"}  # newest first


@pytest.fixture
def reader(adapter: Adapter) -> LedgerReader:
    """Give a ledger that holds `EVENTS`."""
    ledger = adapter.open()
    for event in EVENTS:
        ledger.append(event)
    return adapter.reader()


def _ids(records: tuple[RequestRecord, ...]) -> list[str]:
    return [record.entry.fields["request"] for record in records]


def test_a_request_is_found_with_what_became_of_it(reader: LedgerReader) -> None:
    """A request comes with its approvals in their order and the entry that ended it."""
    found = reader.find_request("r1")
    assert found is not None
    assert (found.entry.index, found.entry.fields, found.state) == (0, EVENTS[0].fields, RequestState.ISSUED)
    assert [entry.fields["approver"] for entry in found.approvals] == ["token:boss", "token:chief"]
    assert found.outcome is not None
    assert (found.outcome.index, found.outcome.fields) == (5, EVENTS[5].fields)


@pytest.mark.parametrize(
    ("request_id", "state", "approvals", "outcome"),
    [("r2", "pending", [], None), ("r3", "denied", [], 6), ("r4", "pending", [8], None)],
)
def test_a_request_in_every_state(
    reader: LedgerReader, request_id: str, state: str, approvals: list[int], outcome: int | None
) -> None:
    """A request that nobody answered has no outcome, one that was denied has the denial."""
    found = reader.find_request(request_id)
    assert found is not None
    assert found.state == state
    assert [entry.index for entry in found.approvals] == approvals
    assert (None if found.outcome is None else found.outcome.index) == outcome


def test_a_request_that_is_not_there(reader: LedgerReader) -> None:
    """An unknown id finds None, and so does half of one."""
    assert [reader.find_request(unknown) for unknown in ("r9", "r", "R1", "%", "")] == [None] * 5


@pytest.mark.parametrize("state", [None, *RequestState])
@pytest.mark.parametrize("requester", [None, "token:ci", "token:cd", "token:nobody"])
def test_requests_are_filtered(reader: LedgerReader, state: RequestState | None, requester: str | None) -> None:
    """A filter gives the requests of a state and of a requester, newest first, each as it is found alone."""
    by = {
        event.fields["request"]: event.fields["requester"] for event in reversed(EVENTS) if "user" in event.fields
    }
    expected = [
        request_id
        for request_id, stands in STATES.items()
        if state in {None, stands} and requester in {None, by[request_id]}
    ]
    page = reader.requests(state, requester, limit=10)
    assert (_ids(page.requests), page.next_before) == (expected, None)
    assert [reader.find_request(each) for each in expected] == list(page.requests)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_the_cursor_walks_every_request_once(reader: LedgerReader, limit: int) -> None:
    """Page after page gives every request once, newest first, and the last one has no cursor."""
    walked, before = [], None
    while True:
        page = reader.requests(limit=limit, before=before)
        assert len(page.requests) <= limit
        walked += _ids(page.requests)
        if (before := page.next_before) is None:
            break
    assert walked == list(STATES)


def test_a_request_that_ran_out_of_time_is_pending_on_record(adapter: Adapter) -> None:
    """The record has no clock: that a request is over tells its expiry to whoever looks."""
    adapter.open().append(requested("r1", time=NOW - timedelta(days=365)))
    found = adapter.reader().find_request("r1")
    assert found is not None
    assert found.state is RequestState.PENDING
    assert found.entry.fields["expires"] < NOW.isoformat()


def test_requests_are_no_certificates(adapter: Adapter) -> None:
    """A request with the same group is in no list of certificates or refusals."""
    ledger = adapter.open()
    for event in (requested("r1", groups=("team-a",)), issued(1, groups=("team-a",)), refused(groups=())):
        ledger.append(event)
    page = adapter.reader().page(Filter(group="team-a"), NOW, limit=10)
    assert [entry.index for entry in page.entries] == [1]


def test_a_reader_of_requests_says_that_it_cannot_read(adapter: Adapter) -> None:
    """Where the table cannot be read, LedgerUnavailable says so, and not that there is no request."""
    reader = adapter.reader()
    adapter.execute("ALTER TABLE approvals RENAME TO away")
    for read in (lambda: reader.find_request("r1"), lambda: reader.requests(limit=1)):
        with pytest.raises(LedgerUnavailable):
            read()
