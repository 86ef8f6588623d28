"""Restore into a ledger, as a process that kills itself at a transaction: `killed.py FOLDER TARGET KEY N WHEN`.

TARGET is an `Adapter.address`, whose key signed the head of the empty ledger; KEY is that of the backup's
log, in hex. WHEN says at which point of the N-th transaction: `before` the commit, or `after` it.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import make_url

from kubemint.ledger.backup_folder import BackupFolder
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.restoring import Restoration
from kubemint.ledger.stores import open_store
from kubemint.ledger.writer import WritableDatabase
from kubemint.transparency.checkpoint import NoteSigner


class MortalDatabase:
    """A database whose process ends at a transaction, as SIGKILL ends it."""

    def __init__(self, database: WritableDatabase, number: int, when: str) -> None:
        self.engine = database.engine
        self.close = database.close
        self._database = database
        self._left = number
        self._when = when

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Keep `WritableDatabase.transaction`, up to the one that is not survived."""
        self._left -= 1
        with self._database.transaction() as cursor:
            yield cursor
            if not self._left and self._when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def signer(private_key: str) -> NoteSigner:
    """Give the signer of a key in hex."""
    return NoteSigner("log.test/ledger", Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private_key)))


def main(folder: str, target: str, private_key: str, number: str, when: str) -> None:
    """Restore until the end comes."""
    said = json.loads(target)
    database = MortalDatabase(open_store(make_url(said["url"])).writable(), int(number), when)
    keys = LogKeys(signer(private_key), (signer(said["key"]).verifier,))
    source = BackupFolder(Path(folder))
    note = source.checkpoint()
    restoration = Restoration(source, note, keys.open(note), database)
    restoration.begin(keys)
    restoration.fill(lambda _: None)
    restoration.read_back(lambda _: None)
    restoration.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
