"""A backup is a whole log of one moment, made while others write; the next one adds what is new."""

import os
import threading
from pathlib import Path

import pytest

from backup.events import issued, one_of_each, refusals
from backup.folders import back_up, kinds, rows
from kubemint.errors import ConfigurationError, LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.archive import Archive
from kubemint.ledger.backup_folder import BackupFolder
from kubemint.ledger.backup_tree import bundle_widths
from kubemint.transparency.tiles import Tile, nodes_from_tiles
from kubemint.transparency.tree import root
from ledger.adapters import Adapter, SqliteAdapter, new_keys


def _fill(adapter: Adapter, count: int) -> None:
    ledger = adapter.open()
    for some in refusals(count):
        ledger.append(*some)


def _files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def _bodies(folder: Path, size: int) -> list[bytes]:
    read = BackupFolder(folder)
    return [body for index, width in bundle_widths(size) for body in read.bundle(index, width)]


def test_a_backup_is_of_one_moment_while_others_append(adapter: Adapter, tmp_path: Path) -> None:
    """What was copied is the first entries, as many as its checkpoint says, and its tiles lead to the root."""
    _fill(adapter, 300)
    ledger, stop = adapter.open(), threading.Event()

    def append() -> None:
        serial = 10
        while not stop.is_set():
            ledger.append(issued(serial))
            serial += 1

    thread = threading.Thread(target=append)
    thread.start()
    try:
        copies = [back_up(adapter, tmp_path / "backup") for _ in range(5)]
    finally:
        stop.set()
        thread.join()
    size = copies[-1].checkpoint.size
    assert 300 <= copies[0].checkpoint.size < size
    folder = BackupFolder(tmp_path / "backup")
    assert adapter.keys.open(folder.checkpoint()) == copies[-1].checkpoint
    assert _bodies(tmp_path / "backup", size) == [row["body"] for row in rows(adapter, tables.entries)[:size]]
    assert root(size, nodes_from_tiles(folder.tile, size)) == copies[-1].checkpoint.root


def test_what_is_there_is_not_written_again(adapter: Adapter, tmp_path: Path) -> None:
    """A second backup leaves full bundles and tiles alone, and takes away the partial ones of the first."""
    _fill(adapter, 520)
    assert back_up(adapter, tmp_path / "backup").bundles_written == 3
    files = _files(tmp_path / "backup")
    inodes = {name: os.stat(tmp_path / "backup" / name).st_ino for name in files}
    adapter.open().append(*one_of_each())
    assert back_up(adapter, tmp_path / "backup").bundles_written == 1
    after = _files(tmp_path / "backup")
    gone = {"tile/entries/002.p/8", "tile/0/002.p/8"}
    assert files - after == gone
    assert after - files == {"tile/entries/002.p/20", "tile/0/002.p/20"}
    for name in files - gone - {"checkpoint", "manifest.json"}:
        assert os.stat(tmp_path / "backup" / name).st_ino == inodes[name], name
    assert back_up(adapter, tmp_path / "backup").bundles_written == 0
    assert _files(tmp_path / "backup") == after


@pytest.mark.parametrize("name", ["tile/entries/000", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"])
@pytest.mark.parametrize(
    "damage", [lambda octets: octets[:-1], lambda octets: bytes([octets[0] ^ 1]) + octets[1:]]
)
def test_a_damaged_file_is_mended(tmp_path: Path, name: str, damage) -> None:
    """The next backup writes what is not what it must be."""
    adapter = SqliteAdapter(tmp_path / "ledger.db")
    _fill(adapter, 300)
    back_up(adapter, tmp_path / "backup")
    file = tmp_path / "backup" / name
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    back_up(adapter, tmp_path / "backup")
    assert file.read_bytes() == whole
    adapter.close()


def test_entries_are_counted_by_kind(adapter: Adapter, tmp_path: Path) -> None:
    """The manifest says how many entries of each kind there are, and how many octets they have."""
    adapter.open().append(*one_of_each())
    copied = back_up(adapter, tmp_path / "backup")
    assert copied.kinds == kinds(adapter)
    assert copied.octets == sum(len(row["body"]) for row in rows(adapter, tables.entries))
    assert BackupFolder(tmp_path / "backup").manifest().kinds == copied.kinds


def test_an_empty_ledger(adapter: Adapter, tmp_path: Path) -> None:
    """There is a backup of nothing, too."""
    assert back_up(adapter, tmp_path / "backup").checkpoint.size == 0
    assert _files(tmp_path / "backup") == {"checkpoint", "manifest.json"}


def test_nobody_else_can_read_it(adapter: Adapter, tmp_path: Path) -> None:
    """It tells who has which rights: files and folders are the owner's alone, and nothing unfinished stays."""
    adapter.open().append(*one_of_each())
    back_up(adapter, tmp_path / "backup")
    for place in (tmp_path / "backup", *(tmp_path / "backup").rglob("*")):
        assert place.stat().st_mode & 0o077 == 0, place
        assert not place.name.startswith(".")


@pytest.mark.parametrize("change", ['UPDATE entries SET body = {octet} WHERE "index" = 3', "DELETE FROM tiles"])
def test_a_damaged_ledger_is_not_backed_up(adapter: Adapter, tmp_path: Path, change: str) -> None:
    """What is not what was signed replaces no backup, and the one that is there stays."""
    _fill(adapter, 300)
    back_up(adapter, tmp_path / "backup")
    before = (tmp_path / "backup" / "checkpoint").read_bytes()
    (tmp_path / "backup" / "tile/entries/000").unlink()
    adapter.open().append(*one_of_each())
    _let_change(adapter)
    adapter.execute(change.format(octet="x'41'" if adapter.engine.dialect.name == "sqlite" else "'\\x41'"))
    with pytest.raises(LedgerUnavailable):
        back_up(adapter, tmp_path / "backup")
    assert (tmp_path / "backup" / "checkpoint").read_bytes() == before


def test_a_head_that_nobody_signed_is_not_backed_up(adapter: Adapter, tmp_path: Path) -> None:
    """A checkpoint of another key is none."""
    adapter.open().append(*one_of_each())
    adapter.keys, _ = new_keys()
    with pytest.raises(LedgerUnavailable):
        back_up(adapter, tmp_path / "backup")
    assert not (tmp_path / "backup" / "checkpoint").exists()


def test_an_older_ledger_does_not_replace_a_newer_backup(tmp_path: Path) -> None:
    """What looks like the same log with fewer entries is an old copy of it."""
    private_key = new_keys()[1]
    new, old = (SqliteAdapter(tmp_path / f"{name}.db", private_key) for name in ("new", "old"))
    new.open().append(*one_of_each())
    old.open().append(*one_of_each()[:-1])
    back_up(new, tmp_path / "backup")
    with pytest.raises(ConfigurationError, match=r"holds 12 entries, and the ledger 11: the ledger is the older"):
        back_up(old, tmp_path / "backup")
    new.close()
    old.close()


def test_a_rewritten_ledger_does_not_replace_a_backup(tmp_path: Path) -> None:
    """Whoever has the log's key can sign another history: the backup of the true one stays."""
    private_key = new_keys()[1]
    true, other = (SqliteAdapter(tmp_path / f"{name}.db", private_key) for name in ("true", "other"))
    true.open().append(*one_of_each())
    other.open().append(*reversed(one_of_each()))
    other.open().append(issued(77))
    back_up(true, tmp_path / "backup")
    before = _bodies(tmp_path / "backup", 12)
    with pytest.raises(ConfigurationError, match="other entries than the first 12 of this log"):
        back_up(other, tmp_path / "backup")
    assert _bodies(tmp_path / "backup", 12) == before
    true.close()
    other.close()


@pytest.mark.parametrize("checkpoint", [b"", b"\xff", b"log.test/ledger\n0\n"])
def test_a_folder_of_something_else(adapter: Adapter, tmp_path: Path, checkpoint: bytes) -> None:
    """Nothing is written where a checkpoint lies that this log did not sign."""
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "checkpoint").write_bytes(checkpoint)
    with pytest.raises(ConfigurationError, match="holds no checkpoint"):
        back_up(adapter, tmp_path / "backup")
    assert _files(tmp_path / "backup") == {"checkpoint"}


def test_one_backup_into_a_folder_at_a_time(adapter: Adapter, tmp_path: Path) -> None:
    """A second one is told to wait, and leaves everything alone."""
    folder = BackupFolder(tmp_path / "backup")
    with folder.exclusive(), pytest.raises(ConfigurationError, match="another backup into it is under way"):
        back_up(adapter, tmp_path / "backup")
    back_up(adapter, tmp_path / "backup")


def test_a_folder_that_cannot_be_made(adapter: Adapter, tmp_path: Path) -> None:
    """A file where the folder should be is our error, not a traceback."""
    (tmp_path / "backup").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        back_up(adapter, tmp_path / "backup")


def test_archived_entries_are_in_it(adapter: Adapter, tmp_path: Path) -> None:
    """What the ledger has in its archive alone is copied from there; without the archive there is no backup."""
    _fill(adapter, 300)
    whole = [row["body"] for row in rows(adapter, tables.entries)]
    tile = adapter.log().tile(Tile(0, 0))
    assert tile is not None
    Archive(tmp_path / "archive").write_bundle(0, whole[:256], tile)
    empty = "x''" if adapter.engine.dialect.name == "sqlite" else "''::bytea"
    adapter.execute("UPDATE head SET archived = 256")
    adapter.execute(f'UPDATE entries SET body = {empty} WHERE "index" < 256')
    with pytest.raises(LedgerUnavailable, match="archive"):
        back_up(adapter, tmp_path / "backup")
    back_up(adapter, tmp_path / "backup", tmp_path / "archive")
    assert _bodies(tmp_path / "backup", 300) == whole


def _let_change(adapter: Adapter) -> None:
    on = "" if adapter.engine.dialect.name == "sqlite" else " ON entries"
    adapter.execute(f"DROP TRIGGER entries_no_update{on}")
