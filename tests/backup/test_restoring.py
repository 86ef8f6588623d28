"""A restored ledger is the one that was backed up, on either store; and a part of it never counts."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.events import issued, one_of_each, refusals, revocations
from backup.folders import back_up, ignore, record, record_bodies, restoration, restore, rows
from kubemint.errors import ConfigurationError, InvalidProof, LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.backup_folder import BackupFolder
from kubemint.ledger.restored_entry import restored_entry
from kubemint.ledger.restoring import BUNDLES_A_TRANSACTION
from kubemint.record import Event
from kubemint.transparency.tiles import Tile
from kubemint.transparency.tree import leaf_hash, verify_consistency
from ledger.adapters import Adapter, SqliteAdapter, assert_sound, head_size
from ledger.events import certificate_der, refused


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


MANY = BUNDLES_A_TRANSACTION * 256 * 2 + 100  # three transactions of entries, one before and one after them
_CHILD = Path(__file__).with_name("killed.py")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SqliteAdapter, Path]]:
    """Give a ledger of many entries and its backup."""
    folder = tmp_path_factory.mktemp("large")
    adapter = SqliteAdapter(folder / "ledger.db")
    ledger = adapter.open()
    ledger.append(*one_of_each())
    for some in refusals(MANY - 12):
        ledger.append(*some)
    back_up(adapter, folder / "backup")
    yield adapter, folder / "backup"
    adapter.close()


def test_every_row_comes_back(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """Entries, tiles, head and query tables are those that were there, from either store to either store."""
    ledger = adapter.open()
    for some in refusals(600):
        ledger.append(*some)
    ledger.append(*one_of_each(), *revocations())
    back_up(adapter, tmp_path / "backup")
    restore(target, tmp_path / "backup", adapter.keys)
    assert record(target) == record(adapter)
    assert all(record(target).values())
    assert_sound(target)


def test_a_restored_ledger_goes_on(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """It grows from where it was, with conditions and idempotency keys as before, and proves that it does."""
    adapter.open().append(*one_of_each())
    old = back_up(adapter, tmp_path / "backup").checkpoint
    restore(target, tmp_path / "backup", adapter.keys)
    again = target.open().append(issued(9, key="retry-1"))
    assert again.repeated
    assert again.entry.index == 1
    recorded = target.open().append(issued(10))
    assert recorded.entry.index == old.size
    proof, before, after = target.log().consistency(old.size, None)
    assert before.root == old.root
    verify_consistency(old.size, old.root, after.size, after.root, proof)
    assert_sound(target)


def test_a_backup_of_a_restored_ledger(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """It goes on in the same folder."""
    adapter.open().append(*one_of_each())
    back_up(adapter, tmp_path / "backup")
    restore(target, tmp_path / "backup", adapter.keys)
    target.open().append(issued(10))
    assert back_up(target, tmp_path / "backup").checkpoint.size == 13


def test_an_empty_backup(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """It makes a ledger that is ready for its first entry."""
    back_up(adapter, tmp_path / "backup")
    restore(target, tmp_path / "backup", adapter.keys)
    assert target.open().append(issued(1)).entry.index == 0


# Killed after a commit is killed before the next one, but for the last.
@pytest.mark.parametrize(
    ("number", "when"), [(1, "before"), (2, "before"), (3, "before"), (4, "before"), (5, "before"), (5, "after")]
)
def test_a_restore_that_was_killed_is_begun_again(
    target: Adapter, large: tuple[SqliteAdapter, Path], number: int, when: str
) -> None:
    """Wherever it died: until the whole is there, the ledger takes no entry; begun again, it ends as it should."""
    source, folder = large
    address, key = target.address, json.loads(source.address)["key"]
    command = (sys.executable, str(_CHILD), str(folder), address, key, str(number), when)
    child = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr
    if (number, when) != (5, "after"):
        _assert_does_not_count(target, begun=(number, when) != (1, "before"))
        restore(target, folder, source.keys)
    else:
        target.keys = source.keys
    assert record(target) == record(source)
    assert_sound(target)


def test_what_is_there_is_not_written_again(target: Adapter, large: tuple[SqliteAdapter, Path]) -> None:
    """A restore that begins again goes on behind what is there."""
    source, folder = large
    restoration(target, folder, source.keys).fill(ignore)
    target.execute("DELETE FROM refusals")
    restore(target, folder, source.keys)
    assert rows(target, tables.refusals) == []
    assert len(rows(target, tables.entries)) == MANY


def test_nothing_counts_before_the_end(target: Adapter, large: tuple[SqliteAdapter, Path]) -> None:
    """With every entry in its place, the head is at 0, no policy is on record, and nobody can append."""
    source, folder = large
    begun = restoration(target, folder, source.keys)
    begun.fill(ignore)
    begun.read_back(ignore)
    _assert_does_not_count(target, begun=True)
    assert rows(target, tables.policies) == []
    begun.finish()
    assert head_size(target) == MANY
    assert len(rows(target, tables.policies)) == 2


def test_a_ledger_that_has_entries_is_left_alone(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """A backup replaces nothing."""
    adapter.open().append(*one_of_each())
    back_up(adapter, tmp_path / "backup")
    target.open().append(issued(1))
    before = record(target)
    with pytest.raises(ConfigurationError, match="has entries already"):
        restore(target, tmp_path / "backup", adapter.keys)
    assert record(target) == before


@pytest.mark.parametrize("note", ["", "log.test/ledger\\n0\\n"])
def test_a_head_that_nobody_signed_is_left_alone(
    adapter: Adapter, target: Adapter, tmp_path: Path, note: str
) -> None:
    """An empty ledger is one whose emptiness the log has signed."""
    adapter.open().append(*one_of_each())
    back_up(adapter, tmp_path / "backup")
    target.execute(f"UPDATE head SET checkpoint = '{note}'")
    with pytest.raises(ConfigurationError, match="has entries already"):
        restore(target, tmp_path / "backup", adapter.keys)


def test_entries_behind_an_empty_head_are_left_alone(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """Whoever moved the head back left entries: that is no empty ledger."""
    adapter.open().append(*one_of_each())
    back_up(adapter, tmp_path / "backup")
    empty = rows(target, tables.head)[0]["checkpoint"]
    target.open().append(issued(1))
    target.execute(f"UPDATE head SET size = 0, checkpoint = '{empty}'")
    with pytest.raises(ConfigurationError, match="has entries already"):
        restore(target, tmp_path / "backup", adapter.keys)


def test_a_newer_backup_goes_on_where_an_older_was_cut_off(
    adapter: Adapter, target: Adapter, tmp_path: Path
) -> None:
    """What is there is its beginning too."""
    for some in refusals(300):
        adapter.open().append(*some)
    back_up(adapter, tmp_path / "old")
    restoration(target, tmp_path / "old", adapter.keys).fill(ignore)
    adapter.open().append(*one_of_each())
    back_up(adapter, tmp_path / "new")
    restore(target, tmp_path / "new", adapter.keys)
    assert record(target) == record(adapter)


def test_another_backup_does_not_go_on(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """Of two logs no one ledger is made."""
    adapter.open().append(*one_of_each())
    back_up(adapter, tmp_path / "backup")
    other = SqliteAdapter(tmp_path / "other.db", bytes.fromhex(json.loads(adapter.address)["key"]))
    other.open().append(*reversed(one_of_each()))
    back_up(other, tmp_path / "other")
    restoration(target, tmp_path / "backup", adapter.keys).fill(ignore)
    with pytest.raises(InvalidProof, match="the beginning of another backup"):
        restore(target, tmp_path / "other", adapter.keys)
    other.close()


def test_an_entry_that_was_changed_meanwhile_is_found(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """What the database gives back is hashed again."""
    adapter.open().append(*one_of_each())
    back_up(adapter, tmp_path / "backup")
    begun = restoration(target, tmp_path / "backup", adapter.keys)
    begun.fill(ignore)
    is_sqlite = target.engine.dialect.name == "sqlite"
    target.execute(f"DROP TRIGGER entries_no_update{'' if is_sqlite else ' ON entries'}")
    body = "x'7b7d'" if is_sqlite else "'{}'::bytea"
    target.execute(f'UPDATE entries SET body = {body} WHERE "index" = 4')
    with pytest.raises(InvalidProof, match="does not give back"):
        begun.read_back(ignore)
    with pytest.raises(InvalidProof, match="was not read back"):
        begun.finish()
    _assert_does_not_count(target, begun=True)


def test_what_was_not_read_back_does_not_count(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """A ledger that nobody has looked at after it was filled, or that holds a part, must not count."""
    adapter.open().append(*one_of_each())
    back_up(adapter, tmp_path / "backup")
    begun = restoration(target, tmp_path / "backup", adapter.keys)
    with pytest.raises(InvalidProof, match="does not give back"):
        begun.read_back(ignore)
    begun.fill(ignore)
    with pytest.raises(InvalidProof, match="was not read back"):
        begun.finish()
    _assert_does_not_count(target, begun=True)


def test_what_reads_well_and_was_not_signed_does_not_count(
    adapter: Adapter, target: Adapter, tmp_path: Path
) -> None:
    """An entry that was replaced together with its hash is found by the root that the log has signed."""
    adapter.open().append(*one_of_each())
    back_up(adapter, tmp_path / "backup")
    begun = restoration(target, tmp_path / "backup", adapter.keys)
    begun.fill(ignore)
    is_sqlite = target.engine.dialect.name == "sqlite"
    target.execute(f"DROP TRIGGER entries_no_update{'' if is_sqlite else ' ON entries'}")
    body, hashed = b"{}".hex(), leaf_hash(b"{}").hex()
    values = [f"x'{octets}'" if is_sqlite else f"decode('{octets}', 'hex')" for octets in (body, hashed)]
    target.execute('UPDATE entries SET body = {}, leaf_hash = {} WHERE "index" = 4'.format(*values))
    assert begun.read_back(ignore).frontier.size == 12
    with pytest.raises(InvalidProof, match="what the log has signed"):
        begun.finish()
    _assert_does_not_count(target, begun=True)


def test_a_head_that_moves_meanwhile_stops_it(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """Whoever else writes to the ledger is not overwritten."""
    adapter.open().append(*one_of_each())
    back_up(adapter, tmp_path / "backup")
    begun = restoration(target, tmp_path / "backup", adapter.keys)
    begun.fill(ignore)
    begun.read_back(ignore)
    target.execute("UPDATE head SET checkpoint = 'other'")
    with pytest.raises(LedgerUnavailable, match="somebody else"):
        begun.finish()


def test_what_the_database_does_not_take(adapter: Adapter, target: Adapter, tmp_path: Path) -> None:
    """A row that is in its way is our error, and the restore is not over."""
    adapter.open().append(*one_of_each())
    back_up(adapter, tmp_path / "backup")
    begun = restoration(target, tmp_path / "backup", adapter.keys)
    target.execute("DROP TABLE token_uses")
    with pytest.raises(LedgerUnavailable):
        begun.fill(ignore)
    assert head_size(target) == 0


def _body(event: Event, **fields: Any) -> bytes:
    return Event(kind=event.kind, time=event.time, fields={**event.fields, **fields}).body


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (_body(issued(1), certificate=issued(2).fields["certificate"]), "tells of: serialNumber, credentialId"),
        (_body(issued(1), certificate="*"), "the certificate of entry 1 is not the one"),
        (_body(issued(1), user="root"), "tells of: user"),
        (_body(issued(1), serialNumber="xyz"), "entry 1 of the backup cannot be read"),
        (_body(issued(1), kind="unheard-of"), "is it of a newer version"),
        (b'{"kind":"issued","time":"2026-11-20T12:00:00Z"}', "cannot be read"),
        (b'{"kind":"issued","kind":"issued"}', "is not JSON"),
        (b"[]", "cannot be read"),
        (b"\xff", "is not JSON"),
    ],
)
def test_an_entry_that_does_not_hold(tmp_path: Path, body: bytes, told: str) -> None:
    """Though the log has signed it, an entry that cannot be read or contradicts itself is not restored."""
    source, target = (SqliteAdapter(tmp_path / f"{name}.db") for name in ("source", "target"))
    record_bodies(source, [refused().body, body])
    from_folder = BackupFolder(tmp_path / "backup")
    from_folder.write_bundle(0, (refused().body, body))
    from_folder.write_tile(Tile(0, 0, 2), source.log().tile(Tile(0, 0, 2)) or b"")
    from_folder.write("checkpoint", source.log().checkpoint().encode())
    with pytest.raises(InvalidProof, match=told):
        restore(target, tmp_path / "backup", source.keys)
    assert head_size(target) == 0
    source.close()
    target.close()


@given(st.binary() | st.text().map(str.encode) | st.dictionaries(st.text(), st.text()).map(_json))
def test_a_body_that_is_garbage(body: bytes) -> None:
    """Garbage raises our error and nothing else."""
    with pytest.raises(InvalidProof):
        restored_entry(0, body)


@pytest.mark.parametrize("event", [*one_of_each(), *revocations()])
@given(data=st.data())
def test_an_entry_with_a_value_of_another_type(event: Event, data: st.DataObject) -> None:
    """An entry of which one field is something else is read, or raises our error and nothing else."""
    name = data.draw(st.sampled_from(sorted(event.fields)))
    value = data.draw(st.none() | st.integers() | st.text() | st.lists(st.text()) | st.just({}))
    with suppress(InvalidProof):
        restored_entry(0, _json({**event.fields, name: value}))


def _assert_does_not_count(target: Adapter, *, begun: bool) -> None:
    assert head_size(target) == 0
    if begun:
        with pytest.raises(LedgerUnavailable):
            target.open().append(issued(1))


def test_a_certificate_is_the_one_that_was_issued(tmp_path: Path) -> None:
    """The bytes of a certificate are the same after a restore."""
    source, target = (SqliteAdapter(tmp_path / f"{name}.db") for name in ("source", "target"))
    event = issued(1)
    source.open().append(event)
    back_up(source, tmp_path / "backup")
    restore(target, tmp_path / "backup", source.keys)
    found = target.reader().find_by_credential_id(event.fields["credentialId"])
    assert found is not None
    assert found.fields == event.fields
    assert certificate_der(event)
    source.close()
    target.close()
