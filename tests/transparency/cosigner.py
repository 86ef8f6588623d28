"""A witness as tests need one: it signs whatever checkpoint it is shown, with a time (C2SP tlog-cosignature)."""

from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kubemint.transparency.checkpoint import NoteVerifier, SignatureType, cosigned_message, signature_line


class Cosigner:
    """The key of a witness. `vkey` is what a log's configuration names."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self.name = name
        self.verifier = NoteVerifier(
            name=name,
            signature_type=SignatureType.COSIGNATURE,
            public_key_octets=key.public_key().public_bytes_raw(),
        )
        self.vkey = self.verifier.vkey
        self._key = key

    def cosign(self, note_text: str, now: datetime) -> str:
        """Give the line, without its newline, that says that this was the newest checkpoint at a time."""
        seconds = int(now.timestamp())
        signature = self._key.sign(cosigned_message(note_text, seconds))
        return signature_line(self.verifier, seconds.to_bytes(8, "big") + signature)
