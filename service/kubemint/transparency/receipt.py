"""What the holder of an entry keeps to show later that it is in the log: C2SP tlog-proof.

A receipt is checked with the log's public key and nothing else. In kubemint its extra octets are the
entry itself; they are no one's word until `verify_receipt` was asked about them.
"""

from dataclasses import dataclass
from typing import Final

from kubemint.errors import InvalidProof
from kubemint.transparency.checkpoint import Checkpoint, NoteVerifier, open_checkpoint, signature_lines
from kubemint.transparency.notation import decode_base64, decode_hash, decode_number, encode_base64
from kubemint.transparency.tree import leaf_hash, verify_inclusion

PROOF_MAX_HASHES: Final = 63  # the tree has fewer than 2**63 leaves

_HEADER: Final = "c2sp.org/tlog-proof@v1"
_EXTRA: Final = "extra "
_INDEX: Final = "index "


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A proof that an entry is in a log. `checkpoint` is a signed note, `extra` what nobody signed."""

    index: int
    proof: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None

    @property
    def text(self) -> str:
        """Give the receipt as it is kept in a file (.tlog-proof)."""
        lines = [_HEADER]
        if self.extra is not None:
            lines.append(_EXTRA + encode_base64(self.extra))
        lines.append(f"{_INDEX}{self.index}")
        lines.extend(encode_base64(hashed) for hashed in self.proof)
        return "\n".join(lines) + "\n\n" + self.checkpoint


def parse_receipt(text: str) -> Receipt:
    """Read a receipt. Nothing in it is verified.

    Raises:
        InvalidProof: it is not a receipt.
    """
    head, _, unverified_checkpoint = text.partition("\n\n")
    header, *lines = head.split("\n")
    if header != _HEADER:
        raise InvalidProof(f"a receipt begins with {_HEADER}")
    extra = decode_base64(lines.pop(0).removeprefix(_EXTRA)) if lines and lines[0].startswith(_EXTRA) else None
    if not lines or not lines[0].startswith(_INDEX):
        raise InvalidProof("a receipt has the index of its entry")
    if len(lines) > 1 + PROOF_MAX_HASHES:
        raise InvalidProof(f"the proof in a receipt has {PROOF_MAX_HASHES} hashes at most")
    signature_lines(unverified_checkpoint)
    return Receipt(
        index=decode_number(lines[0].removeprefix(_INDEX)),
        proof=tuple(decode_hash(line) for line in lines[1:]),
        checkpoint=unverified_checkpoint,
        extra=extra,
    )


def verify_receipt(receipt: Receipt, verifier: NoteVerifier, body: bytes) -> Checkpoint:
    """Check that the log of this key has an entry, and give the checkpoint that it is in.

    `body` is the entry's canonical octets: those that the caller has, or the receipt's extra ones.

    Raises:
        InvalidProof: the log did not sign the checkpoint, or this entry is not at this index of it.
    """
    checkpoint = open_checkpoint(receipt.checkpoint, verifier)
    verify_inclusion(receipt.index, checkpoint.size, leaf_hash(body), receipt.proof, checkpoint.root)
    return checkpoint
