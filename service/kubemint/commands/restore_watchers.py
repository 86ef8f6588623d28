"""What those outside know of the log, asked before a backup of it may count again.

An old backup is a good backup of an old ledger: nothing in it tells what came after it. Anchors and witnesses
do. A witness is shown the checkpoint of the backup as it would be by the service; it cosigns it or says why not.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, assert_never

from kubemint.config_ledger import Anchor as AnchorSettings
from kubemint.config_ledger import Log
from kubemint.config_ledger import Witness as WitnessSettings
from kubemint.errors import InvalidProof
from kubemint.ledger.backup_folder import BackupFolder
from kubemint.ledger.growing import LogKeys
from kubemint.transparency.checkpoint import Checkpoint, NoteVerifier
from kubemint.transparency.following import Differs, Follows, Older, follows_from
from kubemint.transparency.tiles import nodes_from_tiles
from kubemint.transparency.tree import Nodes, consistency_proof
from kubemint.witnesses.anchors import AnchorFault, AnchorProblem, FileAnchor, UrlAnchor
from kubemint.witnesses.witness import Candidate, Fault, NotCosigned, Witness

_SECONDS: Final = 10.0  # for one answer


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


def _ask_anchor(settings: AnchorSettings, keys: LogKeys, backup: BackedUpLog) -> Testimony:
    anchor = (
        UrlAnchor(settings.url or "", settings.ca_file) if settings.file is None else FileAnchor(settings.file)
    )
    source, size = f"anchor {anchor.name}", backup.checkpoint.size
    try:
        if (held := anchor.read()) is None:
            told = "holds nothing, or does not tell it"
            return Testimony(source=source, standing=Standing.UNKNOWN, message=told)
        found = follows_from(held, backup.checkpoint, keys.open, backup.prove)
    except AnchorFault as fault:
        is_away = fault.problem is AnchorProblem.UNREACHABLE
        standing = Standing.UNKNOWN if is_away else Standing.DIFFERS
        return Testimony(source=source, standing=standing, message=fault.message)
    except InvalidProof as fault:  # the backup does not even hold together
        return Testimony(source=source, standing=Standing.DIFFERS, message=fault.message)
    match found:
        case Follows(seen=seen):
            told = f"knows {seen.size} entries, and they are the first of the backup"
            return Testimony(source=source, standing=Standing.AGREES, message=told)
        case Older(seen=seen):
            told = f"knows {seen.size} entries, and the backup has {size}"
            return Testimony(source=source, standing=Standing.AHEAD, message=told, size=seen.size)
        case Differs(problem=problem):
            return Testimony(source=source, standing=Standing.DIFFERS, message=f"holds {problem}")
        case _ as never:
            assert_never(never)


def _ask_witness(settings: WitnessSettings, backup: BackedUpLog, clock: Callable[[], datetime]) -> Testimony:
    key = NoteVerifier.from_vkey(settings.key)
    source, size = f"witness {key.name}", backup.checkpoint.size
    candidate = Candidate(note=backup.note, size=size, prove=backup.prove)
    try:
        Witness(key, settings.url, settings.ca_file, clock, _SECONDS).cosign(candidate)
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
