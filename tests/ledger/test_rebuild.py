"""The query tables say nothing that the entries do not say: they can be made again."""

import json
from typing import Any

import pytest
from sqlalchemy import Table

from kubemint.audit import EventKind
from kubemint.ledger import tables
from kubemint.ledger.rows import query_rows
from kubemint.x509.certificate import credential_id
from ledger.adapters import Adapter, stored
from ledger.events import certificate_der, issued, refused, unfit

QUERY_TABLES = (tables.certificates, tables.refusals, tables.entry_groups)
EVENTS = (
    issued(1, groups=("developers", "team-a")),
    refused(groups=("system:masters",), asked_profile="admins"),
    issued(2**159 - 1, key="retry-1", groups=()),
    unfit(subject="CN=eve"),
    unfit(),
    issued(256, by="cd", user="ü", groups=("ä",)),
)


@pytest.fixture
def filled(adapter: Adapter) -> Adapter:
    """Give a ledger that holds `EVENTS`."""
    ledger = adapter.open()
    for event in EVENTS:
        ledger.append(event)
    return adapter


@pytest.mark.parametrize("table", QUERY_TABLES, ids=lambda table: table.name)
def test_a_query_table_is_made_again_from_the_entries(filled: Adapter, table: Table) -> None:
    """The rows that the bodies alone lead to are the rows that are stored."""
    rows = [dict(row) for row in stored(filled, table)]
    assert rows
    assert sorted(rows, key=repr) == sorted(_rebuilt(filled)[table], key=repr)


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


def _rebuilt(adapter: Adapter) -> dict[Table, list[dict[str, Any]]]:
    rows: dict[Table, list[dict[str, Any]]] = {table: [] for table in QUERY_TABLES}
    for entry in stored(adapter, tables.entries):
        found = query_rows(entry["index"], EventKind(entry["kind"]), json.loads(entry["body"]))
        rows[found.table].append(found.row)
        rows[tables.entry_groups].extend(found.groups)
    return rows
