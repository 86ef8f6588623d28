"""The checkpoint that is kept with its cosignatures: what it covers, and how more of them come to it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from kubemint.errors import InvalidProof
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.log import LedgerLog
from kubemint.transparency.checkpoint import NoteVerifier, add_signature_lines, note_text
from kubemint.transparency.cosigned import cosignatures
from kubemint.witnesses.witness import Candidate

Lines = Mapping[NoteVerifier, str]
Store = Callable[[int, str, str], bool]
"""Keep a note of a size in place of the one before; False if that is not there any more."""

_TRIES: Final = 10  # each one lost means that another process stored what it got


class KeptCheckpoint:
    """The row that all processes share, and nothing in it believed. Threads share it.

    `required` and `optional` are the keys of witnesses that count; lines of others are dropped.
    """

    def __init__(
        self,
        log: LedgerLog,
        keys: LogKeys,
        required: Sequence[NoteVerifier],
        optional: Sequence[NoteVerifier],
        store: Store,
    ) -> None:
        self._log = log
        self._keys = keys
        self._required = tuple(required)
        self._witnesses = (*required, *optional)
        self._store = store

    def read(self) -> str:
        """Give the note, whatever it is. Raises LedgerUnavailable."""
        return self._log.witnessed()

    def is_complete(self, lines: Lines) -> bool:
        """Tell whether there is a line of every required witness."""
        return all(key in lines for key in self._required)

    def size_covered_by(self, note: str) -> int:
        """Give how many entries a note covers that has all required witnesses; 0 if it has not."""
        with suppress(InvalidProof):
            if self.is_complete(cosignatures(note, self._required)):
                return self._keys.open(note).size
        return 0

    def lines_of(self, stored: str, note: str) -> dict[NoteVerifier, str]:
        """Give the cosignatures of a note, if it is the one that is stored."""
        with suppress(InvalidProof):
            return cosignatures(stored, self._witnesses) if note_text(stored) == note_text(note) else {}
        return {}

    def add(self, candidate: Candidate, lines: Lines) -> str:
        """Keep a checkpoint with complete lines, unless a larger one is kept; gives what is kept then.

        Raises:
            LedgerUnavailable: the ledger could not be read or written.
        """
        before = self.read()
        for _ in range(_TRIES):
            if self._size_of(before) > candidate.size:
                break
            merged = {**self.lines_of(before, candidate.note), **lines}
            note = add_signature_lines(candidate.note, merged.values())
            if self._store(candidate.size, note, before):
                return note
            before = self.read()
        return before

    def _size_of(self, stored: str) -> int:
        with suppress(InvalidProof):
            return self._keys.open(stored).size
        return 0
