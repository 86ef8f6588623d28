"""Backups made and restored as the commands do, of the ledgers of the contract's adapters."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, text

from kubemint.ledger import tables
from kubemint.ledger.archive import Archive
from kubemint.ledger.backup import CopiedLog, complete, copy_log
from kubemint.ledger.backup_folder import BackupFolder
from kubemint.ledger.backup_manifest import Manifest
from kubemint.ledger.growing import LogKeys, sign_first, store_tree
from kubemint.ledger.log import LedgerLog
from kubemint.ledger.restoring import Restoration, RestoredLog
from kubemint.ledger.statements import Statements
from ledger.adapters import Adapter, stored
from ledger.filling import entry_rows

OF_THE_RECORD = tuple(
    table for table in tables.metadata.sorted_tables if table.name not in {"heartbeat", "witnessed"}
)


def ignore(_: int) -> None:
    """Show no progress."""


def back_up(adapter: Adapter, folder: Path, archive: Path | None = None) -> CopiedLog:
    """Back a ledger up."""
    into = BackupFolder(folder)
    with into.exclusive():
        log = LedgerLog(adapter.engine, adapter.keys, Archive(archive))
        copied = copy_log(log, adapter.keys, into, ignore)
        complete(into, manifest_of(copied), copied)
    return copied


def manifest_of(copied: CopiedLog) -> Manifest:
    """Give the manifest of a backup without small files."""
    return Manifest(
        version="0.0.0",
        time=datetime(2026, 11, 20, 12, 0, tzinfo=UTC),
        origin=copied.checkpoint.origin,
        size=copied.checkpoint.size,
        root=copied.checkpoint.root.hex(),
        octets=copied.octets,
        kinds=copied.kinds,
        files={},
    )


def both_keys(adapter: Adapter, of_log: LogKeys) -> LogKeys:
    """Give the keys of a log, and that of an adapter, which signed the head of the empty ledger."""
    return LogKeys(of_log.signer, (adapter.keys.signer.verifier,))


def record_bodies(adapter: Adapter, bodies: Sequence[bytes]) -> None:
    """Make an empty ledger one of these entries, whatever they are, signed as any."""
    adapter.load(entry_rows(bodies))
    engine = adapter.database().engine
    with engine.begin() as connection:
        connection.execute(text("UPDATE head SET size = :size, checkpoint = ''"), {"size": len(bodies)})
        store_tree(connection)
        sign_first(adapter.keys, connection.connection.cursor(), Statements(engine))
    engine.dispose()


def restoration(adapter: Adapter, folder: Path, of_log: LogKeys) -> Restoration:
    """Begin to restore into an adapter's ledger; from here on it has the keys of the log."""
    from_folder, keys = BackupFolder(folder), both_keys(adapter, of_log)
    note = from_folder.checkpoint()
    begun = Restoration(from_folder, note, keys.open(note), adapter.database())
    begun.begin(keys)
    adapter.keys = keys
    return begun


def restore(adapter: Adapter, folder: Path, of_log: LogKeys) -> RestoredLog:
    """Restore a backup, all of it; gives what the database gives back."""
    begun = restoration(adapter, folder, of_log)
    filled = begun.fill(ignore)
    there = begun.read_back(ignore)
    assert there == filled
    begun.finish()
    return there


def rows(adapter: Adapter, table: Table) -> list[dict[str, Any]]:
    """Give the rows of a table as both stores would."""
    return [
        {name: bytes(value) if isinstance(value, memoryview) else value for name, value in row.items()}
        for row in stored(adapter, table)
    ]


def record(adapter: Adapter) -> dict[str, list[dict[str, Any]]]:
    """Give all rows of a ledger, by table."""
    return {table.name: rows(adapter, table) for table in OF_THE_RECORD}


def kinds(adapter: Adapter) -> Counter[str]:
    """Count the entries of a ledger by kind."""
    return Counter(row["kind"] for row in rows(adapter, tables.entries))
