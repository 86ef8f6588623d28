"""The ledger as the world sees it where witnesses are required: it ends where they have seen it end.

What is beyond that is on record and shown to nobody: not as a certificate, not in a list, not in a tile. So
an administrator who takes entries back takes nothing back that anybody has.
"""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, Engine

from kubemint.errors import LedgerUnavailable
from kubemint.ledger.archive import NO_ARCHIVE, Archive
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.log import LedgerLog
from kubemint.ledger.reader import Filter, LedgerReader, Page
from kubemint.ledger.requests import RequestPage, RequestRecord
from kubemint.ledger.rows import RequestState
from kubemint.ledger.witnessed import read_witnessed
from kubemint.record import Entry, EventKind
from kubemint.register import CurrentState
from kubemint.transparency.checkpoint import Checkpoint
from kubemint.transparency.receipt import Receipt
from kubemint.transparency.tiles import TILE_HEIGHT, TILE_WIDTH, Tile
from kubemint.witnesses.kept import KeptCheckpoint
from kubemint.witnesses.witnessing import Witnessing

_NO_MATTER_WHEN: Final = datetime(1970, 1, 1, tzinfo=UTC)  # whether they are over is not asked


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

    def head(self) -> tuple[str, Checkpoint]:
        """Keep `LedgerLog.head`: the newest one that is witnessed, with its cosignatures."""
        note = self.checkpoint()
        return note, self._open(note)

    def size(self) -> int:
        """Give how many entries are witnessed. Raises as `checkpoint` does."""
        return self.head()[1].size

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


class WitnessedReader:
    """Reads what may be shown, and can do no more: no certificate before its required witnesses have seen it.

    Where one is asked for, it waits a moment and then raises LedgerUnavailable; in lists it is not there yet.
    Requests for approval and what operators say of them are on record at once, and shown at once.
    """

    def __init__(
        self, engine: Engine, log: WitnessedLog, witnessing: Witnessing, archive: Archive = NO_ARCHIVE
    ) -> None:
        self._reader = LedgerReader(engine, archive)
        self._log = log
        self._witnessing = witnessing

    def find_by_serial(self, serial_number: str) -> Entry | None:
        """Keep `LedgerReader.find_by_serial`."""
        return self._seen(self._reader.find_by_serial(serial_number))

    def find_by_credential_id(self, credential_id: str) -> Entry | None:
        """Keep `LedgerReader.find_by_credential_id`."""
        return self._seen(self._reader.find_by_credential_id(credential_id))

    def page(self, wanted: Filter, now: datetime, *, limit: int, before: int | None = None) -> Page:
        """Keep `LedgerReader.page`: a list begins where witnesses have seen the log end."""
        end = self._log.size()
        return self._reader.page(wanted, now, limit=limit, before=end if before is None else min(before, end))

    def latest_certificate_of(self, user: str) -> Entry | None:
        """Keep `LedgerReader.latest_certificate_of`: of those that are witnessed."""
        latest = self._reader.latest_certificate_of(user)
        if latest is None or self._is_seen(latest):
            return latest
        page = self.page(Filter(user=user), _NO_MATTER_WHEN, limit=1)
        return page.entries[0] if page.entries else None

    def find_request(self, request: str) -> RequestRecord | None:
        """Keep `LedgerReader.find_request`."""
        record = self._reader.find_request(request)
        if record is not None:
            self._seen(_certificate_of(record))
        return record

    def requests(
        self,
        state: RequestState | CurrentState | None = None,
        requester: str | None = None,
        *,
        now: datetime | None = None,
        limit: int,
        before: int | None = None,
    ) -> RequestPage:
        """Keep `LedgerReader.requests`: one whose certificate is not witnessed yet is left out until it is."""
        page = self._reader.requests(state, requester, now=now, limit=limit, before=before)
        shown = tuple(record for record in page.requests if self._is_seen(_certificate_of(record)))
        return RequestPage(requests=shown, next_before=page.next_before)

    def _seen(self, certificate: Entry | None) -> Entry | None:
        if certificate is not None:
            self._witnessing.wait_for(certificate.index + 1)
        return certificate

    def _is_seen(self, certificate: Entry | None) -> bool:
        return certificate is None or self._witnessing.has_covered(certificate.index + 1)


def _certificate_of(record: RequestRecord) -> Entry | None:
    """Give the certificate that a request has led to."""
    outcome = record.outcome
    return outcome if outcome is not None and outcome.kind is EventKind.ISSUED else None
