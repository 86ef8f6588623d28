"""The size and root of a log, signed: C2SP tlog-checkpoint, signed-note and tlog-cosignature.

A note is text and the signatures of any number of keys. Only the line of the key that was asked for
counts; lines of others are carried along unread, so that witnesses can add theirs (tlog-cosignature/v1).
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kubemint.errors import InvalidProof
from kubemint.transparency.notation import decode_base64, decode_hash, decode_number, encode_base64

SIGNATURES_MAX: Final = 100  # signed-note: at least 16 must be accepted, and there should be a limit

_KEY_ID_OCTETS: Final = 4
_TIMESTAMP_OCTETS: Final = 8
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")  # signed-note: none below U+0020 but newline
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_VKEY: Final = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})")
_LINE: Final = re.compile(r"— ([^ ]+) ([^ ]+)")


class SignatureType(IntEnum):
    """What a key signs: signed-note, "Signature types"."""

    NOTE = 0x01
    COSIGNATURE = 0x04


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """How large a log is and what its root is; `origin` is the log's name."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """Give the text of the note, without extension lines."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteVerifier:
    """A public key that is trusted under a name; `key_id` has four octets."""

    name: str
    signature_type: SignatureType
    public_key_octets: bytes

    @classmethod
    def from_vkey(cls, vkey: str) -> Self:
        """Read a verifier key: name, key ID and key with a plus between them.

        Raises:
            InvalidProof: it is not one, its type is another, or the ID is that of another name or key.
        """
        if (match := _VKEY.fullmatch(vkey)) is None:
            raise InvalidProof(f"not a verifier key: {vkey[:200]!a}")
        if (problem := key_name_problem(match[1])) is not None:
            raise InvalidProof(f"not a verifier key: {problem}")
        octets = decode_base64(match[3])
        if octets[0] not in set(SignatureType):
            raise InvalidProof(f"the verifier key of {match[1]!a} has the unknown type {octets[0]:#04x}")
        verifier = cls(name=match[1], signature_type=SignatureType(octets[0]), public_key_octets=octets[1:])
        if verifier.vkey != vkey:
            raise InvalidProof(f"the verifier key of {match[1]!a} does not have the ID that it says")
        return verifier

    @property
    def key_id(self) -> bytes:
        """Give what finds a line of this key; signed-note, "Signatures"."""
        return hashlib.sha256(f"{self.name}\n".encode() + self._typed_key).digest()[:_KEY_ID_OCTETS]

    @property
    def vkey(self) -> str:
        """Give the verifier key that others put into their configuration."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(self._typed_key)}"

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a signature over exactly these octets.

        Raises:
            InvalidProof: it is not this key's.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key_octets).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise InvalidProof(f"the signature of {self.name} does not hold") from error

    @property
    def _typed_key(self) -> bytes:
        return bytes([self.signature_type]) + self.public_key_octets


class NoteSigner:
    """A private key that signs notes under a name."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        """Take the key.

        Raises:
            InvalidProof: no note could be signed under this name.
        """
        if (problem := key_name_problem(name)) is not None:
            raise InvalidProof(problem)
        self.name = name
        self.verifier = NoteVerifier(
            name=name,
            signature_type=SignatureType.NOTE,
            public_key_octets=key.public_key().public_bytes_raw(),
        )
        self._key = key

    @property
    def vkey(self) -> str:
        """Give the verifier key of what is signed here."""
        return self.verifier.vkey

    def sign(self, text: str) -> str:
        """Give the signed note of a text.

        Raises:
            InvalidProof: the text cannot be that of a note.
        """
        line = signature_line(self.verifier, self._key.sign(_text_octets(text)))
        return f"{text}\n{line}\n"


def key_name_problem(name: str) -> str | None:
    """Say why notes cannot be signed under a name; None if they can. signed-note, "Format"."""
    if not name:
        return "the name of a key is empty"
    if "+" in name or any(character.isspace() for character in name):
        return f"the name of a key has a space or a plus: {name!a}"
    if _CONTROL.search(name) or _SURROGATE.search(name):
        return f"the name of a key has a character that no note can have: {name!a}"
    return None


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a note as a checkpoint; extension lines say nothing here.

    Raises:
        InvalidProof: it is not one.
    """
    _text_octets(text)
    lines = text[:-1].split("\n")
    if len(lines) < 3 or "" in lines:
        raise InvalidProof("a checkpoint has an origin, a size and a root, and no empty line")
    return Checkpoint(origin=lines[0], size=decode_number(lines[1]), root=decode_hash(lines[2]))


def open_checkpoint(unverified_note: str, verifier: NoteVerifier) -> Checkpoint:
    """Read a checkpoint that the log of this key signed.

    Raises:
        InvalidProof: its signature is missing or does not hold, or the note is not a checkpoint of this log.
    """
    text, signatures = _find_signatures(unverified_note, verifier, SignatureType.NOTE)
    for signature in signatures:
        verifier.verify(_text_octets(text), signature)
    checkpoint = parse_checkpoint(text)
    if checkpoint.origin != verifier.name:
        raise InvalidProof(f"the checkpoint is of {checkpoint.origin!a}, not of {verifier.name}")
    return checkpoint


def open_cosignature(unverified_note: str, witness: NoteVerifier) -> datetime:
    """Give when a witness saw a checkpoint as the newest one of its log: the latest time that it signed.

    Raises:
        InvalidProof: the witness did not sign it, or a signature under its name does not hold.
    """
    text, signatures = _find_signatures(unverified_note, witness, SignatureType.COSIGNATURE)
    times = []
    for signature in signatures:
        seconds = int.from_bytes(signature[:_TIMESTAMP_OCTETS], "big")
        witness.verify(cosigned_message(text, seconds), signature[_TIMESTAMP_OCTETS:])
        times.append(_time(seconds))
    return max(times)


def cosigned_message(text: str, seconds: int) -> bytes:
    """Give what a witness signs for the text of a note at a POSIX time; tlog-cosignature, "Ed25519"."""
    return f"cosignature/v1\ntime {seconds}\n".encode() + _text_octets(text)


def signature_line(verifier: NoteVerifier, signature: bytes) -> str:
    """Give the line of a signature, without its newline."""
    return f"— {verifier.name} {encode_base64(verifier.key_id + signature)}"


def note_text(note: str) -> str:
    """Give what is signed in a note, with its last newline. It is whatever somebody wrote until it is verified.

    Raises:
        InvalidProof: it is not a note.
    """
    return _split(note)[0]


def signature_lines(note: str) -> tuple[str, ...]:
    """Give the signature lines of a note, without their newlines.

    Raises:
        InvalidProof: it is not a note.
    """
    return _split(note)[1]


def add_signature_lines(note: str, lines: Iterable[str]) -> str:
    """Add signature lines to a note, as `signature_lines` gives them; what is there already stays once.

    Raises:
        InvalidProof: it would not be a note.
    """
    present = signature_lines(note)
    added = [line for line in dict.fromkeys(lines) if line not in present]
    extended = note + "".join(f"{line}\n" for line in added)
    if signature_lines(extended) != (*present, *added):
        raise InvalidProof("not a line of a signature")
    return extended


def _split(note: str) -> tuple[str, tuple[str, ...]]:
    """Split a note at its last empty line, and check the form of all of it."""
    _text_octets(note)
    end = note.rfind("\n\n") + 1
    text, signed = note[:end], note[end + 1 :]
    lines = signed[:-1].split("\n")
    if not text or len(lines) > SIGNATURES_MAX:
        raise InvalidProof(f"a note is text, an empty line and one to {SIGNATURES_MAX} lines of signatures")
    for line in lines:
        _split_line(line)
    return text, tuple(lines)


def _split_line(line: str) -> tuple[str, bytes, bytes]:
    """Split a signature line into the name, the ID of the key and the signature."""
    if (match := _LINE.fullmatch(line)) is None or key_name_problem(match[1]) is not None:
        raise InvalidProof(f"not a line of a signature: {line[:200]!a}")
    octets = decode_base64(match[2])
    if len(octets) <= _KEY_ID_OCTETS:
        raise InvalidProof(f"a line without a signature: {line[:200]!a}")
    return match[1], octets[:_KEY_ID_OCTETS], octets[_KEY_ID_OCTETS:]


def _find_signatures(note: str, verifier: NoteVerifier, wanted: SignatureType) -> tuple[str, list[bytes]]:
    """Give the text and the signatures, of which there is one at least, that a key is said to have made."""
    if verifier.signature_type != wanted:
        raise InvalidProof(f"the key of {verifier.name} is for signatures of another type")
    text, lines = _split(note)
    known = (verifier.name, verifier.key_id)
    signatures = [signature for *key, signature in map(_split_line, lines) if tuple(key) == known]
    if not signatures:
        raise InvalidProof(f"the note is not signed by {verifier.name}")
    return text, signatures


def _text_octets(text: str) -> bytes:
    if not text.endswith("\n") or _CONTROL.search(text) or _SURROGATE.search(text):
        raise InvalidProof("a note is lines of valid text, without control characters")
    return text.encode()


def _time(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidProof(f"{seconds} seconds are not a time") from error
