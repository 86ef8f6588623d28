"""Conditions of an append: judged by all that was written before it, in whichever way it came."""

import pytest

from kubemint.errors import LedgerUnavailable
from kubemint.ledger import tables
from kubemint.record import Event, EventKind, PolicyDiffers, Recorded, RequestOpen, TokenUnused, Unmet
from ledger.adapters import Adapter, assert_sound, indexes, stored
from ledger.events import answered, approved, denied, issued, policy_changed, refused, requested, single_use
from ledger.ways import WAYS, Way, unit

TOKEN = TokenUnused(authority="github", token_id="t1")
OPEN = RequestOpen(request="r1", approvals=0)

every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def _refuse(_: Unmet) -> Event:
    return refused()


def _outcomes(recorded: list[Recorded]) -> list[bool]:
    """Tell of each append whether its conditions held."""
    return [each.unmet is None for each in recorded]


@every_way
def test_a_token_counts_once(adapter: Adapter, way: Way) -> None:
    """Of two events with the same single-use token, the first is written."""
    twice = [unit(single_use(issued(serial), "t1"), conditions=[TOKEN]) for serial in (1, 2)]
    first, second = way(adapter, twice)
    assert (first.unmet, first.entry.index) == (None, 0)
    assert (second.unmet, second.entries) == (Unmet(condition=TOKEN), ())
    assert_sound(adapter, first.entries)
    assert indexes(adapter) == [0]


@every_way
def test_tokens_of_other_authorities_are_other_tokens(adapter: Adapter, way: Way) -> None:
    """A token id counts within its authority, and each id by itself."""
    uses = [("github", "t1"), ("corp", "t1"), ("github", "t2")]
    units = [
        unit(
            single_use(issued(serial), token_id, authority),
            conditions=[TokenUnused(authority=authority, token_id=token_id)],
        )
        for serial, (authority, token_id) in enumerate(uses, 1)
    ]
    assert _outcomes(way(adapter, units)) == [True, True, True]


@every_way
@pytest.mark.parametrize("first", [issued(1), refused(), requested("r1")], ids=lambda event: event.kind.value)
def test_every_event_of_a_token_uses_it_up(adapter: Adapter, way: Way, first: Event) -> None:
    """A refusal and a request use a token as a certificate does."""
    units = [unit(single_use(first, "t1")), unit(single_use(issued(9), "t1"), conditions=[TOKEN])]
    assert _outcomes(way(adapter, units)) == [True, False]


@every_way
def test_what_tells_of_a_replay_names_the_token_too(adapter: Adapter, way: Way) -> None:
    """The refusal of a replay is written though its token is on record, and the first use stays on record."""
    units = [
        unit(single_use(issued(1), "t1")),
        unit(single_use(refused(), "t1")),
        unit(single_use(refused(), "t1")),
    ]
    assert [each.entry.index for each in way(adapter, units)] == [0, 1, 2]
    (row,) = stored(adapter, tables.token_uses)
    assert dict(row) == {"authority": "github", "token_id": "t1", "entry_index": 0}


@every_way
def test_what_is_told_otherwise_stands_in_its_place(adapter: Adapter, way: Way) -> None:
    """Where a condition does not hold, the event made of it is written, and none of the others."""
    told: list[Unmet] = []

    def tell(unmet: Unmet) -> Event:
        told.append(unmet)
        return refused()

    units = [
        unit(single_use(issued(1), "t1")),
        unit(single_use(issued(2), "t1"), issued(3), conditions=[TOKEN], otherwise=tell),
        unit(issued(4)),
    ]
    _, second, third = way(adapter, units)
    assert [entry.kind for entry in second.entries] == [EventKind.REFUSED]
    assert (second.unmet, second.entry.index) == (Unmet(condition=TOKEN), 1)
    assert told == [Unmet(condition=TOKEN)]
    assert third.entry.index == 2
    assert_sound(adapter, [*second.entries, *third.entries])


@every_way
def test_conditions_that_hold_make_nothing_of_otherwise(adapter: Adapter, way: Way) -> None:
    """What would be told otherwise is not made where nothing is to be told."""

    def never(_: Unmet) -> Event:
        raise AssertionError

    (recorded,) = way(adapter, [unit(issued(1), conditions=[TOKEN], otherwise=never)])
    assert (recorded.unmet, recorded.entry.kind) == (None, EventKind.ISSUED)


@every_way
def test_all_conditions_must_hold(adapter: Adapter, way: Way) -> None:
    """The first of several conditions that does not hold is the one that is told."""
    missing = RequestOpen(request="r9", approvals=0)
    (recorded,) = way(adapter, [unit(issued(1), conditions=[TOKEN, missing, PolicyDiffers(version="v1")])])
    assert (recorded.unmet, recorded.entries) == (Unmet(condition=missing), ())


@every_way
def test_a_retry_is_answered_before_any_condition(adapter: Adapter, way: Way) -> None:
    """A second try under an idempotency key gives the first one's entry, though its token is used by now."""
    units = [
        unit(single_use(issued(serial, key="k"), "t1"), conditions=[TOKEN], otherwise=_refuse) for serial in (1, 2)
    ]
    first, second = way(adapter, units)
    assert (second.entries, second.repeated, second.unmet) == (first.entries, True, None)
    assert indexes(adapter) == [0]


@every_way
def test_a_request_holds_its_key(adapter: Adapter, way: Way) -> None:
    """A request that carries an idempotency key comes back for whatever is asked under it again."""
    waiting = requested("r1")
    with_key = Event(kind=waiting.kind, time=waiting.time, fields={**waiting.fields, "idempotencyKey": "k"})
    other = requested("r2")
    again = Event(kind=other.kind, time=other.time, fields={**other.fields, "idempotencyKey": "k"})
    first, second, third = way(adapter, [unit(with_key), unit(again), unit(issued(1, key="k"))])
    assert (first.repeated, second.repeated, third.repeated) == (False, True, True)
    assert [first.entry.index, second.entry.index, third.entry.index] == [0, 0, 0]
    assert second.entry.kind is EventKind.REQUESTED


@every_way
def test_a_request_is_open_until_it_is_answered(adapter: Adapter, way: Way) -> None:
    """A request is open once it is on record, and no longer once its certificate is."""
    units = [
        unit(denied("r1"), conditions=[OPEN]),
        unit(requested("r1")),
        unit(approved("r1"), answered("r1", 1), conditions=[OPEN]),
        unit(approved("r1"), conditions=[RequestOpen(request="r1", approvals=1)]),
        unit(denied("r1"), conditions=[OPEN]),
    ]
    assert _outcomes(way(adapter, units)) == [False, True, True, False, False]


@every_way
def test_a_denied_request_is_not_open(adapter: Adapter, way: Way) -> None:
    """After a denial, nobody approves."""
    units = [unit(requested("r1")), unit(denied("r1"), conditions=[OPEN]), unit(approved("r1"), conditions=[OPEN])]
    assert _outcomes(way(adapter, units)) == [True, True, False]


@every_way
def test_two_do_not_both_approve_as_the_first(adapter: Adapter, way: Way) -> None:
    """Whoever approves says how many approvals it saw: of two that saw none, one is told otherwise."""
    units = [
        unit(requested("r1")),
        unit(approved("r1", by="boss"), conditions=[OPEN]),
        unit(approved("r1", by="chief"), conditions=[OPEN]),
        unit(approved("r1", by="chief"), conditions=[RequestOpen(request="r1", approvals=1)]),
    ]
    assert _outcomes(way(adapter, units)) == [True, True, False, True]
    (row,) = stored(adapter, tables.requests)
    assert (row["approvals"], row["state"]) == (2, "pending")
    assert [row["entry_index"] for row in stored(adapter, tables.approvals)] == [1, 2]


@every_way
def test_requests_are_told_apart(adapter: Adapter, way: Way) -> None:
    """What is approved of one request opens, closes and counts for no other."""
    units = [
        unit(requested("r1"), requested("r2")),
        unit(denied("r1"), conditions=[OPEN]),
        unit(approved("r2"), conditions=[RequestOpen(request="r2", approvals=0)]),
    ]
    assert _outcomes(way(adapter, units)) == [True, True, True]
    assert [(row["state"], row["approvals"]) for row in stored(adapter, tables.requests)] == [
        ("denied", 0),
        ("pending", 1),
    ]


@every_way
def test_what_comes_after_the_outcome_changes_nothing(adapter: Adapter, way: Way) -> None:
    """The first outcome of a request stands, even where somebody appends without a condition."""
    units = [unit(requested("r1")), unit(denied("r1")), unit(approved("r1")), unit(answered("r1", 1))]
    way(adapter, units)
    (row,) = stored(adapter, tables.requests)
    assert (row["state"], row["approvals"], row["outcome_index"]) == ("denied", 0, 1)


@every_way
def test_a_policy_is_recorded_once(adapter: Adapter, way: Way) -> None:
    """The same version is not written twice in a row; one that comes back after another is."""
    versions = ["v1", "v1", "v2", "v2", "v1"]
    units = [unit(policy_changed(each), conditions=[PolicyDiffers(version=each)]) for each in versions]
    assert _outcomes(way(adapter, units)) == [True, False, True, False, True]
    assert [row["version"] for row in stored(adapter, tables.policies)] == ["v1", "v2", "v1"]


def test_an_approval_and_its_certificate_are_one(adapter: Adapter) -> None:
    """Where the certificate cannot be written, its approval is not either."""
    ledger = adapter.open()
    ledger.append(issued(1))
    ledger.append(requested("r1"))
    with pytest.raises(LedgerUnavailable):
        ledger.append(approved("r1"), answered("r1", 1), conditions=[OPEN])  # its serial number is on record
    assert indexes(adapter) == [0, 1]
    assert stored(adapter, tables.approvals) == []
    recorded = ledger.append(approved("r1"), answered("r1", 2), conditions=[OPEN])
    assert [entry.index for entry in recorded.entries] == [2, 3]
    assert recorded.entry.kind is EventKind.ISSUED
    (row,) = stored(adapter, tables.requests)
    assert (row["state"], row["approvals"], row["outcome_index"]) == ("issued", 1, 3)
    assert_sound(adapter, recorded.entries)


def test_a_request_has_its_id_for_itself(adapter: Adapter) -> None:
    """A second request under the same id is not written, and no approval of one that is not on record."""
    ledger = adapter.open()
    ledger.append(requested("r1"))
    for event in (requested("r1"), approved("r2")):
        with pytest.raises(LedgerUnavailable):
            ledger.append(event)
    assert indexes(adapter) == [0]


def test_nothing_is_nothing(adapter: Adapter) -> None:
    """An append whose condition does not hold, and that has nothing to tell, leaves no trace."""
    adapter.count_commits()
    recorded = adapter.open().append(denied("r1"), conditions=[OPEN])
    assert (recorded.entries, recorded.repeated, recorded.unmet) == ((), False, Unmet(condition=OPEN))
    assert (indexes(adapter), adapter.commits()) == ([], 0)
