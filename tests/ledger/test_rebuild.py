"""The query tables say nothing that the entries do not say: they can be made again."""

import json
from datetime import timedelta
from typing import Any

import pytest

from kubemint.ledger import tables
from kubemint.ledger.batch import write_rows
from kubemint.ledger.conditions import Pending
from kubemint.ledger.rows import query_rows
from kubemint.ledger.statements import Statements
from kubemint.record import EventKind
from kubemint.x509.certificate import credential_id
from kubemint.x509.revocation import RevocationReason
from ledger.adapters import Adapter, stored
from ledger.events import (
    NOW,
    answered,
    approved,
    certificate_der,
    denied,
    issued,
    policy_changed,
    refused,
    reinstated,
    requested,
    revoked,
    single_use,
    unfit,
)
from log.issuing import issued as certified

DAY = timedelta(days=1)
EVENTS = (
    issued(1, groups=("developers", "team-a")),
    refused(groups=("system:masters",), asked_profile="admins"),
    issued(2**159 - 1, key="retry-1", groups=()),
    unfit(subject="CN=eve"),
    unfit(),
    issued(256, by="cd", user="ü", groups=("ä",)),
    policy_changed("v1"),
    single_use(requested("r1", groups=("team-a", "team-b")), "t1"),
    requested("r2"),
    requested("r3", by="cd"),
    approved("r1"),
    approved("r2"),
    approved("r1", by="chief"),
    answered("r1", 3, groups=("team-a",)),
    single_use(denied("r2"), "t2"),
    approved("r2"),
    single_use(refused(), "t1"),
    single_use(issued(4), "t1", "corp"),
    policy_changed("v2"),
    revoked("a", user="jané", reason=RevocationReason.KEY_COMPROMISE),
    issued(5, user="jané", groups=("team-a",)),
    revoked("b", group="team-a", reason=RevocationReason.CERTIFICATE_HOLD, suspend_until=NOW + DAY),
    revoked("c", public_key_sha256="ab" * 32, reason=RevocationReason.CERTIFICATE_HOLD),
    reinstated("c"),
    single_use(revoked("d", requester="token:cd", user="nobody", suspend_until=NOW + DAY), "t3"),
    issued(6, user="jané"),
    revoked("e", issued_since=NOW, issued_until=NOW + timedelta(seconds=1), profile="developers"),
    issued(7, user="joe", time=NOW + timedelta(hours=3)),
    revoked("f", user="joe", time=NOW + timedelta(hours=5)),
    revoked("g", group="ä", user="ü", reason=RevocationReason.CERTIFICATE_HOLD, suspend_until=NOW + DAY),
    reinstated("g", time=NOW + DAY),
    certified(8, user="kim"),
    revoked("h", user="kim", reason=RevocationReason.KEY_COMPROMISE),
)


@pytest.fixture(params=[1, 5, len(EVENTS)], ids="{} an append".format)
def filled(adapter: Adapter, request: pytest.FixtureRequest) -> Adapter:
    """Give a ledger that holds `EVENTS`, which came so many at a time."""
    ledger = adapter.open()
    for start in range(0, len(EVENTS), request.param):
        ledger.append(*EVENTS[start : start + request.param])
    return adapter


def test_the_query_tables_are_made_again_from_the_entries(filled: Adapter) -> None:
    """The rows that the bodies alone lead to, entry after entry, are the rows that were there."""
    before = _stored(filled)
    assert all(before.values())
    for table in reversed(tables.QUERY_TABLES):
        filled.execute(f"DELETE FROM {table.name}")
    assert not any(_stored(filled).values())
    _rebuild(filled)
    assert _stored(filled) == before


def test_requests_stand_where_their_entries_left_them(filled: Adapter) -> None:
    """The row of a request tells how many approved while it waited, and what ended it."""
    rows = {row["id"]: row for row in stored(filled, tables.requests)}
    found = {each: (row["state"], row["approvals"], row["outcome_index"]) for each, row in rows.items()}
    assert found == {"r1": ("issued", 2, 13), "r2": ("denied", 1, 14), "r3": ("pending", 0, None)}
    assert rows["r1"]["expires_at"] == int(NOW.timestamp()) + 3600


def test_revocations_hit_what_came_before_them(filled: Adapter) -> None:
    """In whatever portions they came, each revocation has the rows of the certificates before it that fit."""
    places = {event.fields["revocation"]: place for place, event in enumerate(EVENTS) if "select" in event.fields}
    serials = {
        row["entry_index"]: int.from_bytes(row["serial_number"]) for row in stored(filled, tables.certificates)
    }
    hits = {
        name: [
            serials[row["certificate_index"]]
            for row in stored(filled, tables.revoked_certificates)
            if row["revocation_index"] == place
        ]
        for name, place in places.items()
    }
    assert hits == {
        "a": [1, 2**159 - 1, 3, 4],
        "b": [1, 3, 5],
        "c": [],
        "d": [],
        "e": [1, 2**159 - 1, 256, 3, 4, 5, 6],
        "f": [],
        "g": [256],
        "h": [8],
    }
    blocks = sorted((row["kind"], row["revocation_index"]) for row in stored(filled, tables.blocks))
    assert blocks == [("group", places["b"]), ("key", places["a"]), ("key", places["h"]), ("user", places["d"])]
    lifted = [row["lifted_index"] for row in stored(filled, tables.revocations)]
    assert lifted == [None, None, places["c"] + 1, None, None, None, places["g"] + 1, None]


def test_only_what_asks_for_groups_is_found_by_them(filled: Adapter) -> None:
    """Certificates, refusals and requests have rows of their groups; an approval has none."""
    kinds = {EVENTS[row["entry_index"]].kind for row in stored(filled, tables.entry_groups)}
    assert kinds == {EventKind.ISSUED, EventKind.REFUSED, EventKind.REQUESTED}


def test_every_entry_has_its_row_and_no_other(filled: Adapter) -> None:
    """A certificate is in one table and a refusal in the other, each once."""
    issued_indexes = [row["entry_index"] for row in stored(filled, tables.certificates)]
    refused_indexes = [row["entry_index"] for row in stored(filled, tables.refusals)]
    assert issued_indexes == [i for i, event in enumerate(EVENTS) if event.kind is EventKind.ISSUED]
    assert refused_indexes == [i for i, event in enumerate(EVENTS) if event.kind is EventKind.REFUSED]


def test_a_credential_id_is_that_of_the_recorded_certificate(filled: Adapter) -> None:
    """What finds a certificate by its credential id is the hash of the certificate in the entry."""
    for row in stored(filled, tables.certificates):
        der = certificate_der(EVENTS[row["entry_index"]])
        assert credential_id(der) == "X509SHA256=" + row["credential_id"].hex()


def _stored(adapter: Adapter) -> dict[str, list[dict[str, Any]]]:
    return {table.name: [dict(row) for row in stored(adapter, table)] for table in tables.QUERY_TABLES}


def _rebuild(adapter: Adapter) -> None:
    database = adapter.database()
    statements, entries = Statements(database.engine), stored(adapter, tables.entries)
    with database.transaction() as cursor:
        for entry in entries:
            pending = Pending()
            pending.add(query_rows(entry["index"], EventKind(entry["kind"]), json.loads(entry["body"])))
            write_rows(pending, cursor, statements)
