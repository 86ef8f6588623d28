"""What a verification of the ledger can find: one line each, with a code that stays."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

Progress = Callable[[int, int], None]
"""Be told how many entries were looked at, and of how many."""


class FindingCode(StrEnum):
    """What is wrong; part of what scripts rely on."""

    ENTRY_CHANGED = "entry-changed"
    ENTRY_MISSING = "entry-missing"
    ENTRY_UNKNOWN = "entry-unknown"
    ENTRY_UNREADABLE = "entry-unreadable"
    CERTIFICATE_DIFFERS = "certificate-differs"
    TILE_DIFFERS = "tile-differs"
    TILE_MISSING = "tile-missing"
    TILE_UNKNOWN = "tile-unknown"
    HEAD_DIFFERS = "head-differs"
    CHECKPOINT_UNSIGNED = "checkpoint-unsigned"
    CHECKPOINT_OLDER = "checkpoint-older"
    HISTORY_REWRITTEN = "history-rewritten"
    ROW_MISSING = "row-missing"
    ROW_DIFFERS = "row-differs"
    ROW_UNKNOWN = "row-unknown"
    INDEX_DAMAGED = "index-damaged"
    RECEIPT_INVALID = "receipt-invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it must be; `index` is the entry's that it is about, if it is about one."""

    code: FindingCode
    message: str
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotChecked:
    """Something that could not be looked at, in a sentence: neither in order nor a finding."""

    message: str


Outcome = Finding | NotChecked
