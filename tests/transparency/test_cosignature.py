"""A witness's word counts for the checkpoint that it saw and the time that it says, and for nothing else."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kubemint.errors import InvalidProof
from kubemint.transparency.checkpoint import (
    Checkpoint,
    NoteSigner,
    NoteVerifier,
    add_signature_lines,
    cosigned_message,
    open_checkpoint,
    open_cosignature,
    signature_line,
    signature_lines,
)
from transparency.cosigner import Cosigner

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LOG = NoteSigner("log.example", Ed25519PrivateKey.generate())
CHECKPOINT = Checkpoint(origin=LOG.name, size=7, root=bytes(32))
NOTE = LOG.sign(CHECKPOINT.text)
KEY = Ed25519PrivateKey.generate()
WITNESS = Cosigner("witness.example", KEY)
COSIGNED = add_signature_lines(NOTE, [WITNESS.cosign(CHECKPOINT.text, NOW)])


def timestamped(seconds: int) -> str:
    """Give a note with a true signature of the witness over whatever number of seconds."""
    octets = seconds.to_bytes(8, "big") + KEY.sign(cosigned_message(CHECKPOINT.text, seconds))
    return add_signature_lines(NOTE, [signature_line(WITNESS.verifier, octets)])


def test_what_is_cosigned() -> None:
    """The message must be the one that tlog-cosignature describes."""
    assert cosigned_message("log.example\n7\nroot\n", 1679315147) == (
        b"cosignature/v1\ntime 1679315147\nlog.example\n7\nroot\n"
    )


def test_a_cosignature_tells_its_time() -> None:
    """The time must be that of the witness, and the log's own signature must stand beside it."""
    witness = NoteVerifier.from_vkey(WITNESS.vkey)

    assert witness == WITNESS.verifier
    assert open_cosignature(COSIGNED, witness) == NOW
    assert open_checkpoint(COSIGNED, LOG.verifier) == CHECKPOINT


def test_the_latest_time_counts() -> None:
    """Of two cosignatures of a witness, the later one must be told, in whichever order they stand."""
    lines = [WITNESS.cosign(CHECKPOINT.text, NOW + timedelta(hours=hours)) for hours in (0, 5, 3)]

    assert open_cosignature(add_signature_lines(NOTE, lines), WITNESS.verifier) == NOW + timedelta(hours=5)


def test_a_missing_cosignature_is_refused() -> None:
    """Neither the log's signature nor another witness's may do for this one."""
    other = Cosigner("other.example", Ed25519PrivateKey.generate())
    for note in (NOTE, add_signature_lines(NOTE, [other.cosign(CHECKPOINT.text, NOW)])):
        with pytest.raises(InvalidProof, match="not signed by"):
            open_cosignature(note, WITNESS.verifier)


def test_a_cosignature_is_of_one_checkpoint() -> None:
    """A line that was given for another checkpoint must be refused."""
    line = WITNESS.cosign(Checkpoint(origin=LOG.name, size=8, root=bytes(32)).text, NOW)

    with pytest.raises(InvalidProof, match="does not hold"):
        open_cosignature(add_signature_lines(NOTE, [line]), WITNESS.verifier)


def test_a_changed_cosignature_is_refused() -> None:
    """With any bit of the time or the signature changed it must be refused, beside a good one too."""
    seconds = int(NOW.timestamp())
    octets = seconds.to_bytes(8, "big") + KEY.sign(cosigned_message(CHECKPOINT.text, seconds))
    for position in range(len(octets) * 8):
        place, bit = divmod(position, 8)
        changed = octets[:place] + bytes([octets[place] ^ 1 << bit]) + octets[place + 1 :]
        for note in (NOTE, COSIGNED):
            with pytest.raises(InvalidProof):
                open_cosignature(
                    add_signature_lines(note, [signature_line(WITNESS.verifier, changed)]), WITNESS.verifier
                )


@pytest.mark.parametrize("length", [1, 7, 8, 63, 71, 73])
def test_cosignatures_of_another_length_are_refused(length: int) -> None:
    """What has no room for a time and a signature, or too much of it, must be refused."""
    note = add_signature_lines(NOTE, [signature_line(WITNESS.verifier, bytes(length))])

    with pytest.raises(InvalidProof, match="does not hold"):
        open_cosignature(note, WITNESS.verifier)


def test_times_that_are_none_are_refused() -> None:
    """Seconds that no calendar holds must be refused, though the witness signed them."""
    assert open_cosignature(timestamped(0), WITNESS.verifier) == datetime(1970, 1, 1, tzinfo=UTC)
    for seconds in (10**12, 2**63 - 1, 2**63, 2**64 - 1):
        with pytest.raises(InvalidProof, match="not a time"):
            open_cosignature(timestamped(seconds), WITNESS.verifier)


def test_the_kinds_of_signatures_are_kept_apart() -> None:
    """A log's key must not be taken for a witness's, nor a witness's for a log's, whatever they signed."""
    with pytest.raises(InvalidProof, match="another type"):
        open_cosignature(COSIGNED, LOG.verifier)
    with pytest.raises(InvalidProof, match="another type"):
        open_checkpoint(COSIGNED, WITNESS.verifier)


def test_a_key_of_both_kinds_has_two_ids() -> None:
    """A plain signature of a witness's key, under its name, must not be found as a cosignature."""
    plain = NoteSigner(WITNESS.name, KEY)

    assert plain.verifier.key_id != WITNESS.verifier.key_id
    with pytest.raises(InvalidProof, match="not signed by"):
        open_cosignature(add_signature_lines(NOTE, signature_lines(plain.sign(CHECKPOINT.text))), WITNESS.verifier)
