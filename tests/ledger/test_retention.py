"""Dropping the rows of what was over long ago: on both stores, the same rows, and never another."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table
from sqlalchemy.engine import make_url

from kubemint.errors import LedgerUnavailable
from kubemint.ledger import retention, tables
from kubemint.ledger.maintenance import Maintenance
from kubemint.ledger.partitions import make_ahead
from kubemint.ledger.reader import Filter
from kubemint.ledger.retention import Dropped, count_over, retain
from kubemint.ledger.stores import open_store
from kubemint.record import BlockKind, Event, NotBlocked
from kubemint.x509.revocation import RevocationReason
from ledger.adapters import Adapter, PostgresAdapter, assert_sound, stored
from ledger.events import NOW, issued, policy_changed, refused, requested, revoked, single_use

DAY = timedelta(days=1)
KEPT = 90 * DAY
TODAY = NOW + 200 * DAY
CUTOFF = TODAY - KEPT
HOLD, COMPROMISE = RevocationReason.CERTIFICATE_HOLD, RevocationReason.KEY_COMPROMISE
HITS = tables.revoked_certificates
OTHERS = (
    tables.entries,
    tables.head,
    tables.tiles,
    tables.idempotency_keys,
    tables.token_uses,
    tables.requests,
    tables.policies,
    tables.revocations,
)


def _old() -> list[Event]:
    """Give events of long ago; two of their certificates are good for years."""
    return [
        policy_changed("v1"),
        issued(1, key="k1"),
        issued(2, lifetime=1000 * DAY, groups=("admins",)),
        refused(),
        requested("r1"),
        single_use(issued(3, groups=("developers", "admins")), "once"),
        issued(4, lifetime=(CUTOFF - NOW), groups=()),  # expires at the cutoff
        issued(5, lifetime=(CUTOFF - NOW) - timedelta(seconds=1)),
    ]


def _new() -> list[Event]:
    return [issued(6, time=CUTOFF), refused(time=CUTOFF + DAY), issued(7, time=TODAY - DAY)]


def _fill(adapter: Adapter) -> None:
    make_ahead(adapter.engine, NOW)
    ledger = adapter.open()
    for event in (*_old(), *_new()):
        ledger.append(event)


def _serials(adapter: Adapter) -> list[int]:
    rows = stored(adapter, tables.certificates)
    return sorted(int.from_bytes(row["serial_number"], "big") for row in rows)


def _rows(adapter: Adapter, some: Sequence[Table]) -> list[Any]:
    return [stored(adapter, table) for table in some]


def test_rows_of_what_is_over_go_and_all_else_stays(adapter: Adapter) -> None:
    """Certificates that expired, and refusals made, longer ago than the retention are found no more."""
    _fill(adapter)
    before = _rows(adapter, OTHERS)
    dropped = retain(adapter.database(), KEPT, TODAY)
    assert dropped == Dropped(certificates=3, refusals=1, groups=6)
    assert _serials(adapter) == [2, 4, 6, 7]
    assert [row["decided_at"] for row in stored(adapter, tables.refusals)] == [int((CUTOFF + DAY).timestamp())]
    assert _rows(adapter, OTHERS) == before
    assert_sound(adapter)
    assert retain(adapter.database(), KEPT, TODAY) == Dropped(certificates=0, refusals=0, groups=0)


def test_what_is_dropped_is_still_repeated(adapter: Adapter) -> None:
    """A retry under the key of a certificate whose row is gone gets that certificate, and no second one."""
    _fill(adapter)
    retain(adapter.database(), KEPT, TODAY)
    again = adapter.open().append(issued(9, key="k1"))
    assert again.repeated
    assert again.entry.index == 1
    assert adapter.reader().find_by_serial("01") is None


def test_what_revocations_hit_goes_with_the_certificates(adapter: Adapter) -> None:
    """That a certificate was revoked is forgotten when it is long over, and never before."""
    make_ahead(adapter.engine, NOW)
    ledger = adapter.open()
    ledger.append(*_old(), revoked("a", profile="developers", reason=COMPROMISE))
    ledger.append(*_new(), revoked("b", profile="developers", time=TODAY - DAY, reason=HOLD))
    assert [(row["revocation_index"], row["certificate_index"]) for row in stored(adapter, HITS)] == [
        *((8, index) for index in (1, 2, 5, 6, 7)),
        *((12, index) for index in (2, 11)),
    ]
    before = _rows(adapter, OTHERS)
    retain(adapter.database(), KEPT, TODAY)
    assert [(row["revocation_index"], row["certificate_index"]) for row in stored(adapter, HITS)] == [
        *((8, index) for index in (2, 6)),
        *((12, index) for index in (2, 11)),
    ]
    assert _rows(adapter, OTHERS) == before
    assert [row["kind"] for row in stored(adapter, tables.blocks)] == ["key"]


def test_hits_go_though_their_certificates_are_gone(adapter: Adapter) -> None:
    """What a run that was cut off has left is found by the next one."""
    _fill(adapter)
    adapter.open().append(revoked("a", profile="developers"))
    adapter.execute("DELETE FROM certificates WHERE entry_index < 8")
    adapter.execute("DELETE FROM refusals")
    retain(adapter.database(), KEPT, TODAY)
    assert [row["certificate_index"] for row in stored(adapter, HITS)] == [2, 6, 8, 10]


def test_suspensions_that_ended_long_ago_go(adapter: Adapter) -> None:
    """Whom a suspension kept out until long ago is forgotten; who is kept out still is not, and keys never are."""
    ends = {"old": CUTOFF - timedelta(seconds=1), "late": CUTOFF, "still": TODAY + DAY}
    ledger = adapter.open()
    for user, end in ends.items():
        ledger.append(revoked(user, user=user, suspend_until=end))
        ledger.append(revoked(f"g-{user}", group=user, suspend_until=end))
    ledger.append(revoked("key", public_key_sha256="ab" * 32, reason=COMPROMISE))
    retain(adapter.database(), KEPT, TODAY)
    blocks = [(row["kind"], bytes(row["value"])) for row in stored(adapter, tables.blocks)]
    assert blocks == [
        *(("group", name) for name in (b"late", b"still")),
        ("key", b"\xab" * 32),
        *(("user", name) for name in (b"late", b"still")),
    ]
    refused_still = NotBlocked(user="still", groups=(), public_key_sha256="00" * 32, now=TODAY)
    unmet = ledger.append(issued(20, time=TODAY), conditions=(refused_still,)).unmet
    assert unmet is not None
    assert unmet.blocked is BlockKind.USER


def test_groups_of_unexpired_certificates_still_lead_to_them(adapter: Adapter) -> None:
    """A search by group finds the certificates that are left, and only those."""
    _fill(adapter)
    retain(adapter.database(), KEPT, TODAY)
    found = adapter.reader().page(Filter(group="admins"), TODAY, limit=10)
    assert [entry.fields["serialNumber"] for entry in found.entries] == ["02"]


def test_a_dry_run_counts_and_drops_nothing(adapter: Adapter) -> None:
    """What would be dropped is counted as it would be, and every row stays."""
    _fill(adapter)
    before = _rows(adapter, tables.metadata.sorted_tables)
    assert count_over(adapter.engine, KEPT, TODAY) == Dropped(certificates=3, refusals=1, groups=6)
    assert _rows(adapter, tables.metadata.sorted_tables) == before


def test_nothing_is_over_in_a_young_ledger(adapter: Adapter) -> None:
    """A ledger younger than the retention, or empty, loses nothing."""
    nothing = Dropped(certificates=0, refusals=0, groups=0)
    assert retain(adapter.database(), KEPT, TODAY) == nothing
    _fill(adapter)
    before = _serials(adapter)
    assert retain(adapter.database(), KEPT, NOW + DAY) == nothing
    assert _serials(adapter) == before


def test_it_is_done_in_steps_between_which_others_write(adapter: Adapter) -> None:
    """Many rows go in several transactions, and somebody who issues meanwhile is not kept out."""
    ledger = adapter.open()
    count = retention.STEP_ENTRIES + 20
    _append_many(ledger, [issued(serial) for serial in range(1, count + 1)])
    pauses: list[int] = []

    def pause(_: float) -> None:
        pauses.append(ledger.append(issued(5000 + len(pauses), time=TODAY)).entry.index)

    dropped = retain(adapter.database(), KEPT, TODAY, pause=pause)
    assert dropped.certificates == count
    assert len(pauses) == 2
    assert _serials(adapter) == [5000, 5001]


def test_a_ledger_that_cannot_be_written(adapter: Adapter) -> None:
    """Where the tables are not those of a ledger, the error is ours."""
    _fill(adapter)
    adapter.execute("ALTER TABLE refusals RENAME TO away")
    with pytest.raises(LedgerUnavailable):
        retain(adapter.database(), KEPT, TODAY)
    with pytest.raises(LedgerUnavailable):
        count_over(adapter.engine, KEPT, TODAY)


def test_a_service_makes_partitions_and_drops(adapter: Adapter) -> None:
    """What runs once a day does both, and a ledger without retention keeps every row."""
    _fill(adapter)
    store = open_store(make_url(adapter.url))
    kept = Maintenance(store, lambda: None, lambda: TODAY).run_once()
    assert kept == Dropped(certificates=0, refusals=0, groups=0)
    assert len(_serials(adapter)) == 7
    dropped = Maintenance(store, lambda: KEPT, lambda: TODAY).run_once()
    assert dropped == Dropped(certificates=3, refusals=1, groups=6)
    assert make_ahead(adapter.engine, TODAY) == ()


def test_one_replica_does_it() -> None:
    """While one replica maintains a PostgreSQL, another does nothing; it does when the first is done."""
    adapter = PostgresAdapter()
    _fill(adapter)
    store = open_store(make_url(adapter.url))
    began, go_on = threading.Event(), threading.Event()

    def slow_clock() -> datetime:
        began.set()
        assert go_on.wait(30)
        return TODAY

    first = threading.Thread(target=Maintenance(store, lambda: None, slow_clock).run_once)
    first.start()
    assert began.wait(30)
    assert Maintenance(store, lambda: KEPT, lambda: TODAY).run_once() is None
    go_on.set()
    first.join(30)
    dropped = Maintenance(store, lambda: KEPT, lambda: TODAY.astimezone(UTC)).run_once()
    assert dropped is not None
    assert dropped.certificates == 3
    adapter.close()


def _append_many(ledger: Any, events: Sequence[Event]) -> None:
    for start in range(0, len(events), 100):
        ledger.append(*events[start : start + 100])
