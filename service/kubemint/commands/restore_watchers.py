"""What those outside know of the log, asked before a backup of it may count again.

An old backup is a good backup of an old ledger: nothing in it tells what came after it. Anchors and witnesses
do. A witness is shown the checkpoint of the backup as it would be by the service; it cosigns it or says why not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from http import HTTPStatus
from typing import Final

from kubemint.config_ledger import Anchor, Log, Witness
from kubemint.errors import InvalidProof
from kubemint.ledger.backup_folder import BackupFolder
from kubemint.ledger.growing import LogKeys
from kubemint.transparency.checkpoint import Checkpoint, NoteVerifier
from kubemint.transparency.tiles import nodes_from_tiles
from kubemint.transparency.tree import Nodes, consistency_proof, verify_consistency
from kubemint.witnesses.exchange import ExchangeFailed, exchange
from kubemint.witnesses.witness import Candidate, Fault, NotCosigned
from kubemint.witnesses.witness import Witness as WitnessClient

_SECONDS: Final = 10.0  # for one answer
_ANCHOR_MAX_OCTETS: Final = 64 * 1024


class Standing(Enum):
    """How a backup stands to what somebody outside knows."""

    AGREES = "agrees"
    AHEAD = "ahead"
    DIFFERS = "differs"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """What one of them says; `size` is how many entries it knows, where it knows more than the backup."""

    source: str
    standing: Standing
    message: str
    size: int = 0


class BackedUpLog:
    """The log of a backup, to be held against what others know of it."""

    def __init__(self, folder: BackupFolder, note: str, checkpoint: Checkpoint) -> None:
        self.note = note
        self.checkpoint = checkpoint
        self._node: Nodes = nodes_from_tiles(folder.tile, checkpoint.size)

    def prove(self, old_size: int) -> tuple[bytes, ...]:
        """Prove that the log begins with its first `old_size` entries.

        Raises:
            InvalidProof: the tiles of the backup cannot be read.
        """
        return consistency_proof(old_size, self.checkpoint.size, self._node)


def ask_watchers(
    settings: Log, keys: LogKeys, backup: BackedUpLog, clock: Callable[[], datetime]
) -> Iterator[Testimony]:
    """Ask every anchor and every witness of a configuration."""
    for anchor in settings.anchors:
        yield _ask_anchor(anchor, keys, backup)
    for witness in settings.witnesses:
        yield _ask_witness(witness, backup, clock)


def _ask_anchor(anchor: Anchor, keys: LogKeys, backup: BackedUpLog) -> Testimony:
    source, ours = f"anchor {anchor.file or anchor.url}", backup.checkpoint
    try:
        known = keys.open(_anchored(anchor).decode())
    except (OSError, ExchangeFailed) as fault:
        told = f"cannot be read: {getattr(fault, 'strerror', None) or fault}"
        return Testimony(source=source, standing=Standing.UNKNOWN, message=told)
    except (InvalidProof, UnicodeDecodeError) as fault:
        return Testimony(
            source=source, standing=Standing.UNKNOWN, message=f"has no checkpoint of this log: {fault}"
        )
    if known.size > ours.size:
        told = f"knows {known.size} entries, and the backup has {ours.size}"
        return Testimony(source=source, standing=Standing.AHEAD, message=told, size=known.size)
    try:
        verify_consistency(known.size, known.root, ours.size, ours.root, backup.prove(known.size))
    except InvalidProof as fault:
        return Testimony(source=source, standing=Standing.DIFFERS, message=fault.message)
    told = f"knows {known.size} entries, and they are the first of the backup"
    return Testimony(source=source, standing=Standing.AGREES, message=told)


def _anchored(anchor: Anchor) -> bytes:
    if anchor.file is not None:
        with anchor.file.open("rb") as stream:
            return stream.read(_ANCHOR_MAX_OCTETS)
    reply = exchange("GET", anchor.url or "", ca_file=anchor.ca_file, seconds=_SECONDS)
    if reply.status != HTTPStatus.OK:
        raise ExchangeFailed(f"status {reply.status}")
    return reply.body


def _ask_witness(witness: Witness, backup: BackedUpLog, clock: Callable[[], datetime]) -> Testimony:
    key = NoteVerifier.from_vkey(witness.key)
    source, size = f"witness {key.name}", backup.checkpoint.size
    candidate = Candidate(note=backup.note, size=size, prove=backup.prove)
    try:
        WitnessClient(key, witness.url, witness.ca_file, clock, _SECONDS).cosign(candidate)
    except NotCosigned as fault:
        return Testimony(
            source=source,
            standing=_STANDINGS.get(fault.fault, Standing.UNKNOWN),
            message=str(fault),
            size=fault.size,
        )
    except InvalidProof as fault:
        return Testimony(source=source, standing=Standing.DIFFERS, message=fault.message)
    told = f"has cosigned the {size} entries of the backup"
    return Testimony(source=source, standing=Standing.AGREES, message=told)


_STANDINGS: Final = {Fault.LOG_OLDER: Standing.AHEAD, Fault.LOG_DIFFERS: Standing.DIFFERS}
