"""Checkpoints that were seen before: what the ledger must still begin with, and may not be older than."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from kubemint.config_ledger import Anchor
from kubemint.documents import read_file
from kubemint.errors import ConfigurationError, InvalidProof
from kubemint.ledger.verify_findings import Finding, FindingCode, NotChecked, Outcome
from kubemint.ledger.verify_tree import SeenCheckpoint, opened
from kubemint.transparency.checkpoint import NoteVerifier
from kubemint.transparency.receipt import parse_receipt

_RECEIPT: Final = "c2sp.org/tlog-proof@"  # C2SP tlog-proof, "Format"


def read_seen(file: Path, verifiers: Sequence[NoteVerifier]) -> SeenCheckpoint:
    """Read a checkpoint from its file, or the one in a receipt.

    Raises:
        ConfigurationError: the file cannot be read.
        InvalidProof: no key of the log has signed what is in it.
    """
    try:
        text = read_file(file).decode()
        note = parse_receipt(text).checkpoint if text.startswith(_RECEIPT) else text
        return SeenCheckpoint(source=str(file), checkpoint=opened(note, verifiers))
    except UnicodeDecodeError:
        raise InvalidProof(f"{file} is no checkpoint: not UTF-8") from None
    except InvalidProof as fault:
        raise InvalidProof(f"{file}: {fault.message}") from None


def read_anchors(
    anchors: Iterable[Anchor], verifiers: Sequence[NoteVerifier]
) -> tuple[tuple[SeenCheckpoint, ...], tuple[Outcome, ...]]:
    """Read what the configuration's anchors hold, and say what there is to say of those that cannot be read."""
    seen: list[SeenCheckpoint] = []
    outcomes: list[Outcome] = []
    for anchor in anchors:
        if anchor.file is None:
            outcomes.append(
                NotChecked(message=f"the anchor {anchor.url}: give what it holds as --from-checkpoint")
            )
            continue
        try:
            seen.append(read_seen(anchor.file, verifiers))
        except ConfigurationError as fault:
            outcomes.append(NotChecked(message=f"the anchor {fault.message}"))
        except InvalidProof as fault:
            message = f"the anchor {fault.message}"
            outcomes.append(Finding(code=FindingCode.CHECKPOINT_UNSIGNED, message=message))
    return tuple(seen), tuple(outcomes)
