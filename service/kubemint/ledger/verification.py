"""The whole ledger again, from its entries: in order, or findings that say what is not.

Two ways lead here. Who has the database looks at everything in it; who has nothing but what the service
publishes looks at the log. Both walk the entries once, bundle after bundle, in memory that does not grow.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

from cryptography import x509
from sqlalchemy import Engine

from kubemint.errors import InvalidProof
from kubemint.ledger.verify_entries import ToldEntry, read_entry
from kubemint.ledger.verify_findings import Finding, FindingCode, NotChecked, Outcome, Progress
from kubemint.ledger.verify_indexes import index_findings
from kubemint.ledger.verify_pages import EntryPages, StoredHead, beyond_the_head, read_head, read_tile, reading
from kubemint.ledger.verify_requests import request_findings
from kubemint.ledger.verify_revocations import RevocationCheck
from kubemint.ledger.verify_rows import RowCheck
from kubemint.ledger.verify_tree import SeenCheckpoint, StoredEntry, StoredTile, TreeWalk, opened
from kubemint.transparency.checkpoint import Checkpoint, NoteVerifier
from kubemint.transparency.tiles import TILE_WIDTH, Tile, tile_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known from elsewhere: the log's keys, the CAs that issue (empty: any), checkpoints seen earlier."""

    verifiers: tuple[NoteVerifier, ...]
    issuers: tuple[x509.Certificate, ...]
    seen: tuple[SeenCheckpoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How long rows of what is over are kept (None: for ever), and where bodies of old entries are."""

    retention: timedelta | None = None
    archive: Path | None = None


class PublishedLog(Protocol):
    """A log as its service publishes it: C2SP tlog-tiles."""

    def checkpoint(self) -> str:
        """Give the newest checkpoint."""

    def tile(self, tile: Tile) -> bytes:
        """Give the hashes of a tile."""

    def bundle(self, index: int, width: int) -> Sequence[bytes]:
        """Give the entries of a bundle."""


def verify_ledger(
    engine: Engine, known: Known, kept: Kept, *, now: datetime, progress: Progress
) -> Iterator[Outcome]:
    """Verify the ledger as it is in its database; what is added meanwhile is left for the next time.

    Raises:
        LedgerUnavailable: the ledger cannot be read, or there is no room for a scratch database beside it.
    """
    with reading(engine) as connection:
        head = read_head(connection)
    if head is None:
        yield Finding(code=FindingCode.HEAD_DIFFERS, message="the ledger has lost its head")
        return
    signed, witnessed, unsigned = _open_head(head, known.verifiers)
    yield from unsigned
    walk = TreeWalk(head.size, (*known.seen, *witnessed))
    yield from walk.start()
    pages = EntryPages(kept.archive, head.archived)
    rows = RowCheck.since(head.size, kept.retention, now)
    with closing(RevocationCheck(head.size, rows.dropped_before)) as revocations:
        for first in range(0, head.size, TILE_WIDTH):
            indexes = range(first, min(head.size, first + TILE_WIDTH))
            with reading(engine) as connection:
                entries = pages.bundle(connection, first // TILE_WIDTH, head.size)
                findings = [*walk.add(first // TILE_WIDTH, entries, partial(read_tile, connection))]
                told, unfit = _tell(entries, walk.broken, known.issuers)
                findings += [*unfit, *rows.bundle(connection, indexes, told)]
                findings += request_findings(connection, indexes, told, pages)
                findings += revocations.bundle(connection, indexes, told, pages)
            yield from findings
            progress(indexes.stop, head.size)
    yield from walk.finish(signed, head.frontier)
    yield from rows.finish(engine, pages)
    with reading(engine) as connection:
        beyond = beyond_the_head(connection)
    yield from beyond
    yield from index_findings(engine)


def verify_published(log: PublishedLog, known: Known, *, progress: Progress) -> Iterator[Outcome]:
    """Verify a log as it is published: checkpoint, tiles, entries, and the certificates in them.

    Raises:
        ServiceUnavailable, ServiceRefused: it is not published completely.
        InvalidProof: what is published is no log.
    """
    try:
        signed = opened(log.checkpoint(), known.verifiers)
    except InvalidProof as fault:
        yield Finding(code=FindingCode.CHECKPOINT_UNSIGNED, message=f"the newest checkpoint: {fault.message}")
        return
    walk = TreeWalk(signed.size, known.seen)
    yield from walk.start()
    for first in range(0, signed.size, TILE_WIDTH):
        width = min(signed.size - first, TILE_WIDTH)
        entries = _entries(log.bundle(first // TILE_WIDTH, width), first, width)
        yield from walk.add(first // TILE_WIDTH, entries, lambda tile: StoredTile(hashes=log.tile(tile)))
        yield from _tell(entries, walk.broken, known.issuers)[1]
        progress(first + width, signed.size)
    for tile, hashes in walk.edge():
        if log.tile(tile) != hashes:
            message = f"tile {tile_path(tile)} is not that of the entries below it"
            yield Finding(code=FindingCode.TILE_DIFFERS, message=message)
    yield from walk.finish(signed, None)
    yield NotChecked(message="query tables and indexes: they are seen with the database alone")
    if not known.issuers:
        yield NotChecked(message="who signed the certificates: no CA is named")


def _entries(bodies: Sequence[bytes], first: int, width: int) -> list[StoredEntry | None]:
    given = list(bodies[:width])
    entries: list[StoredEntry | None] = [
        StoredEntry(index=first + offset, body=body) for offset, body in enumerate(given)
    ]
    return entries + [None] * (width - len(given))


def _open_head(
    head: StoredHead, verifiers: Sequence[NoteVerifier]
) -> tuple[Checkpoint | None, list[SeenCheckpoint], list[Finding]]:
    """Give what the head says under a signature, what witnesses have signed, and what is not signed."""
    signed: Checkpoint | None = None
    witnessed: list[SeenCheckpoint] = []
    findings: list[Finding] = []
    try:
        signed = opened(head.checkpoint, verifiers)
    except InvalidProof as fault:
        message = f"the checkpoint of the head: {fault.message}"
        findings.append(Finding(code=FindingCode.CHECKPOINT_UNSIGNED, message=message))
    try:
        if head.witnessed:
            cosigned = opened(head.witnessed, verifiers)
            witnessed.append(SeenCheckpoint(source="the witnessed checkpoint", checkpoint=cosigned))
    except InvalidProof as fault:
        message = f"the witnessed checkpoint: {fault.message}"
        findings.append(Finding(code=FindingCode.CHECKPOINT_UNSIGNED, message=message))
    return signed, witnessed, findings


def _tell(
    entries: Sequence[StoredEntry | None], broken: frozenset[int], issuers: Sequence[x509.Certificate]
) -> tuple[dict[int, ToldEntry], list[Finding]]:
    """Read the entries whose bytes are the ones that were hashed."""
    told: dict[int, ToldEntry] = {}
    findings: list[Finding] = []
    for entry in entries:
        if entry is None or entry.index in broken:
            continue
        read, unfit = read_entry(entry, issuers)
        findings += unfit
        if read is not None:
            told[entry.index] = read
    return told, findings
