"""The ledger as the world sees it where witnesses are required: it ends where they have seen it end.

What is beyond that is on record and shown to nobody: not as a certificate, not in a list, not in a tile. So
an administrator who takes entries back takes nothing back that anybody has.
"""

from datetime import datetime

from sqlalchemy import Connection, Engine

from kubemint.errors import LedgerUnavailable
from kubemint.ledger.archive import NO_ARCHIVE, Archive
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.log import LedgerLog
from kubemint.ledger.reader import Filter, LedgerReader, Page
from kubemint.ledger.requests import RequestRecord
from kubemint.ledger.witnessed import read_witnessed
from kubemint.record import Entry, EventKind
from kubemint.transparency.receipt import Receipt
from kubemint.transparency.tiles import TILE_HEIGHT, TILE_WIDTH, Tile
from kubemint.witnesses.kept import KeptCheckpoint
from kubemint.witnesses.witnessing import Witnessing


class WitnessedLog(LedgerLog):
    """A log whose newest checkpoint is the last one that has all required cosignatures."""

    def __init__(
        self,
        engine: Engine,
        keys: LogKeys,
        kept: KeptCheckpoint,
        witnessing: Witnessing,
        archive: Archive = NO_ARCHIVE,
    ) -> None:
        super().__init__(engine, keys, archive)
        self._kept = kept
        self._witnessing = witnessing

    def size(self) -> int:
        """Give how many entries are witnessed. Raises as `checkpoint` does."""
        return self._open(self.checkpoint()).size

    def tile(self, tile: Tile) -> bytes | None:
        """Keep `LedgerLog.tile`."""
        end = (tile.index * TILE_WIDTH + tile.width) << TILE_HEIGHT * tile.level
        return super().tile(tile) if self._witnessing.has_covered(end) else None

    def bundle(self, index: int, width: int) -> bytes | None:
        """Keep `LedgerLog.bundle`."""
        end = index * TILE_WIDTH + width
        return super().bundle(index, width) if self._witnessing.has_covered(end) else None

    def receipt(self, index: int) -> Receipt:
        """Keep `LedgerLog.receipt`; waits a moment for witnesses who have not seen the entry yet.

        Raises:
            LedgerUnavailable: they do not see it in time, too.
        """
        self._witnessing.wait_for(index + 1)
        return super().receipt(index)

    def _newest(self, connection: Connection) -> str:
        note = read_witnessed(connection)
        if not self._kept.size_covered_by(note):
            raise LedgerUnavailable("no checkpoint has all required cosignatures yet")
        return note


class WitnessedReader(LedgerReader):
    """A reader that shows no certificate before the required witnesses have seen it.

    Where one certificate is asked for, it waits a moment and then raises LedgerUnavailable.
    """

    def __init__(
        self, engine: Engine, log: WitnessedLog, witnessing: Witnessing, archive: Archive = NO_ARCHIVE
    ) -> None:
        super().__init__(engine, archive)
        self._log = log
        self._witnessing = witnessing

    def find_by_serial(self, serial_number: str) -> Entry | None:
        """Keep `LedgerReader.find_by_serial`."""
        return self._seen(super().find_by_serial(serial_number))

    def find_by_credential_id(self, credential_id: str) -> Entry | None:
        """Keep `LedgerReader.find_by_credential_id`."""
        return self._seen(super().find_by_credential_id(credential_id))

    def page(self, wanted: Filter, now: datetime, *, limit: int, before: int | None = None) -> Page:
        """Keep `LedgerReader.page`: a list begins where witnesses have seen the log end."""
        end = self._log.size()
        return super().page(wanted, now, limit=limit, before=end if before is None else min(before, end))

    def find_request(self, request: str) -> RequestRecord | None:
        """Keep `LedgerReader.find_request`."""
        record = super().find_request(request)
        if record is not None and record.outcome is not None and record.outcome.kind is EventKind.ISSUED:
            self._witnessing.wait_for(record.outcome.index + 1)
        return record

    def _seen(self, entry: Entry | None) -> Entry | None:
        if entry is not None:
            self._witnessing.wait_for(entry.index + 1)
        return entry
