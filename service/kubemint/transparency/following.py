"""Whether a log is the one that somebody saw before, grown or not: the one rule for all who kept a checkpoint.

A log only adds entries. So whatever was signed of it once is how it begins now (RFC 6962 2.1.2). What the log's
key has not signed speaks for no log, and whoever finds it where a checkpoint should be must not pass over it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kubemint.errors import InvalidProof
from kubemint.transparency.checkpoint import Checkpoint
from kubemint.transparency.tree import verify_consistency


@dataclass(frozen=True, slots=True, kw_only=True)
class Follows:
    """The log begins with the entries that were seen."""

    seen: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Older:
    """The log has fewer entries than were seen: a copy of before. Whether it was the same is not known."""

    seen: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Differs:
    """The log has other entries, or what is kept is no checkpoint of it; `problem` says what they hold."""

    problem: str


def follows_from(
    unverified_note: str,
    log: Checkpoint,
    open_checkpoint: Callable[[str], Checkpoint],
    prove: Callable[[int], Sequence[bytes]],
) -> Follows | Older | Differs:
    """Compare what somebody kept of a log with what the log is now.

    `open_checkpoint` raises InvalidProof for a note that none of the log's keys has signed. `prove` proves that
    the log begins with so many entries, which are no more than it has; what it raises is raised here.
    """
    try:
        seen = open_checkpoint(unverified_note)
    except InvalidProof as fault:
        return Differs(problem=f"no checkpoint of this log: {fault.message}")
    if seen.size > log.size:
        return Older(seen=seen)
    proof = prove(seen.size)
    try:
        verify_consistency(seen.size, seen.root, log.size, log.root, proof)
    except InvalidProof:
        return Differs(problem=f"a checkpoint of other entries than the first {seen.size} of this log")
    return Follows(seen=seen)
