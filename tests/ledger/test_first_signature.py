"""The first signature: a new ledger gets one by itself, entries that were never signed only if told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect

from kubemint.errors import ConfigurationError, LedgerDamaged
from kubemint.ledger import tables
from kubemint.ledger.schema import migrate
from ledger.adapters import UNMIGRATED, Adapter, assert_sound, stored
from ledger.events import issued
from ledger.filling import bodies, entry_rows, migrate_to

COUNT = 300


@pytest.fixture(params=sorted(UNMIGRATED))
def unsigned(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """Give a ledger without entries as the last version that did not sign left it, or somebody made it look."""
    made = UNMIGRATED[request.param](tmp_path)
    migrate_to("0002", made.database().engine)
    yield made
    made.close()


@pytest.mark.parametrize("size", [COUNT, 0, COUNT - 1], ids=["whole", "head says none", "head says fewer"])
def test_entries_are_not_signed_by_themselves(unsigned: Adapter, size: int) -> None:
    """A ledger with entries and no checkpoint is refused, whatever its head says, and left as it was."""
    unsigned.load(entry_rows(bodies(COUNT)))
    unsigned.execute(f"UPDATE head SET size = {size}")
    with pytest.raises(ConfigurationError, match="kubemint ledger migrate --help"):
        migrate(unsigned.database(), unsigned.keys)
    _assert_untouched(unsigned)


@pytest.mark.parametrize("size", [0, COUNT - 1, COUNT + 1], ids=["says none", "says fewer", "says more"])
def test_a_head_that_does_not_fit_the_entries(unsigned: Adapter, size: int) -> None:
    """A ledger cut off, or with entries beyond its head, is not signed, though an operator may say so."""
    unsigned.load(entry_rows(bodies(COUNT)))
    unsigned.execute(f"UPDATE head SET size = {size}")
    with pytest.raises(LedgerDamaged):
        migrate(unsigned.database(), unsigned.keys, sign_existing=True)
    _assert_untouched(unsigned)


def test_entries_are_signed_if_somebody_says_so(unsigned: Adapter) -> None:
    """With an operator's word, entries that were never signed are signed as they stand, and the ledger goes on."""
    unsigned.load(entry_rows(bodies(COUNT)))
    unsigned.execute(f"UPDATE head SET size = {COUNT}")
    asked = []
    migrate(unsigned.database(), unsigned.keys, sign_existing=True, before_signing=lambda: asked.append(1))
    assert asked == [1]
    assert unsigned.open().append(issued(1)).entry.index == COUNT
    assert_sound(unsigned)


@pytest.mark.parametrize("count", [0, COUNT])
def test_nothing_is_signed_against_an_objection(unsigned: Adapter, count: int) -> None:
    """Where what is asked before a signature objects, there is none, and the ledger is left as it was."""
    unsigned.load(entry_rows(bodies(count)))
    unsigned.execute(f"UPDATE head SET size = {count}")
    with pytest.raises(ConfigurationError, match="an anchor"):
        migrate(unsigned.database(), unsigned.keys, sign_existing=True, before_signing=_object)
    _assert_untouched(unsigned)


def test_a_new_ledger_is_signed(unsigned: Adapter) -> None:
    """A ledger without entries is signed by itself, once: with a checkpoint, nobody is asked any more."""
    migrate(unsigned.database(), unsigned.keys)
    assert unsigned.keys.open(stored(unsigned, tables.head)[0]["checkpoint"]).size == 0
    migrate(unsigned.database(), unsigned.keys, before_signing=_object)
    assert_sound(unsigned, [unsigned.open().append(issued(1)).entry])


def _object() -> None:
    raise ConfigurationError("log.anchors", ["an anchor knows of another log"])


def _assert_untouched(adapter: Adapter) -> None:
    with adapter.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "0002"
    assert "tiles" not in inspect(adapter.engine).get_table_names()
