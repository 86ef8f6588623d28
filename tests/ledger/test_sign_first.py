"""The first checkpoint of a ledger is signed only for a tree that there is."""

import pytest

from kubemint.errors import LedgerDamaged
from kubemint.ledger import tables
from kubemint.ledger.growing import sign_first
from kubemint.ledger.statements import Statements
from ledger.adapters import Adapter, stored
from ledger.events import issued


def test_a_head_that_fits_no_tree_is_not_signed(adapter: Adapter) -> None:
    """A frontier that does not fit the size is damage, and stays without a signature."""
    adapter.open().append(issued(1))
    adapter.execute("UPDATE head SET size = 3, checkpoint = ''")
    database = adapter.database()
    with pytest.raises(LedgerDamaged, match="not that of a tree"), database.transaction() as cursor:
        sign_first(adapter.keys, cursor, Statements(database.engine))
    (head,) = stored(adapter, tables.head)
    assert head["checkpoint"] == ""


def test_a_tree_of_entries_is_signed(adapter: Adapter) -> None:
    """A head without a signature gets one that opens, and keeps it."""
    adapter.open().append(issued(1))
    adapter.execute("UPDATE head SET checkpoint = ''")
    database = adapter.database()
    for _ in range(2):
        with database.transaction() as cursor:
            sign_first(adapter.keys, cursor, Statements(database.engine))
        assert adapter.log().head()[1].size == 1
