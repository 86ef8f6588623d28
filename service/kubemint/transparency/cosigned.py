"""Checkpoints with the cosignatures of witnesses: which of them hold, and how they come together.

A line counts by itself: one that does not hold takes nothing from another of the same witness.
"""

from collections.abc import Iterable
from datetime import datetime

from kubemint.errors import InvalidProof
from kubemint.transparency.checkpoint import (
    NoteVerifier,
    add_signature_lines,
    note_text,
    open_cosignature,
    signature_lines,
)


def newest_cosignature(note: str, witness: NoteVerifier) -> tuple[str, datetime]:
    """Give the line that a witness signed last, and its time.

    Raises:
        InvalidProof: the witness has not cosigned, or not so that it holds.
    """
    text = note_text(note)
    found: list[tuple[datetime, str]] = []
    for line in signature_lines(note):
        try:
            found.append((open_cosignature(f"{text}\n{line}\n", witness), line))
        except InvalidProof:
            continue
    if not found:
        raise InvalidProof(f"{witness.name} has not cosigned the checkpoint")
    time, line = max(found)
    return line, time


def cosignatures(note: str, witnesses: Iterable[NoteVerifier]) -> dict[NoteVerifier, str]:
    """Give one line for each of these witnesses that has cosigned a note.

    Raises:
        InvalidProof: it is not a note.
    """
    signature_lines(note)
    lines: dict[NoteVerifier, str] = {}
    for witness in witnesses:
        try:
            lines[witness], _ = newest_cosignature(note, witness)
        except InvalidProof:
            continue
    return lines


def with_cosignatures_of(note: str, other: str) -> str:
    """Give a note with the lines that another note of the same text has too; of another text, as it is.

    Raises:
        InvalidProof: one of them is not a note, or both together have too many lines.
    """
    if note_text(note) != note_text(other):
        return note
    return add_signature_lines(note, signature_lines(other))
