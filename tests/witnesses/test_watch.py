"""A service's watch begins with it and ends with it."""

import threading
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from kubemint.config_ledger import Anchor, Log, Witness
from kubemint.errors import LedgerUnavailable
from kubemint.ledger.stores import open_store
from kubemint.witnesses.anchors import FileAnchor
from kubemint.witnesses.watch import open_watch
from ledger.adapters import SqliteAdapter
from ledger.events import issued
from witnesses.watching import eventually, now
from witnesses.witness import TestWitness


def test_a_watch_that_is_closed_is_over(sqlite_adapter: SqliteAdapter, tmp_path: Path, w1: TestWitness) -> None:
    """At its end the anchors have what was witnessed, nobody waits any more, no thread or connection is left."""
    w1.trust(sqlite_adapter.keys.signer.vkey)
    anchor = FileAnchor(tmp_path / "checkpoint")
    settings = Log(
        key_uri="file:log.key",
        passphrase_file=None,
        origin="log.test/ledger",
        former_keys=(),
        public=False,
        witnesses=(Witness(key=w1.vkey, url=w1.url, ca_file=None, required=True),),
        anchors=(Anchor(file=anchor.file, url=None, ca_file=None),),
    )
    store = open_store(make_url(sqlite_adapter.url))
    reading = store.for_reading(1)
    before = {thread.ident for thread in threading.enumerate()}
    watch = open_watch(settings, store, sqlite_adapter.keys, reading, now)
    recorded = sqlite_adapter.open().append(issued(1))
    watch.committed()
    assert recorded.receipt is not None
    assert sqlite_adapter.keys.open(watch.receipt(recorded.receipt).checkpoint).size == 1
    watch.close()
    reading.dispose()
    assert sqlite_adapter.keys.open(anchor.read() or "").size == 1
    with pytest.raises(LedgerUnavailable, match="stopping"):
        watch.check()
    names = {"witnesses", "witness", "anchors"}
    eventually(lambda: not {one.name for one in threading.enumerate() if one.ident not in before} & names)
    sqlite_adapter.close()  # SQLite keeps a file that was closed until nobody in the process has a lock on it
    assert not _open_files(sqlite_adapter.file)


def _open_files(file: Path) -> list[str]:
    """Name those of a database that this process holds open."""
    held = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(one) for one in held if str(one).startswith(str(file))]
