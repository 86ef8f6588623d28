"""A receipt in its holder's hands: that it is for this certificate, and that the log has its entry.

The receipt brings the entry along, and the entry the certificate. With the log's key the proof is the log's
word; without it, it shows no more than that the receipt fits together.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kubemint.client.files import read_text
from kubemint.documents import parse_json, read_file
from kubemint.errors import ConfigurationError, InvalidDocument, InvalidProof
from kubemint.record import EventKind
from kubemint.transparency.checkpoint import (
    Checkpoint,
    NoteVerifier,
    SignatureType,
    note_text,
    parse_checkpoint,
)
from kubemint.transparency.receipt import Receipt, parse_receipt, verify_receipt
from kubemint.transparency.tree import leaf_hash, verify_inclusion
from kubemint.x509.recorded import recorded_der, recorded_differences

LOG_KEY_VARIABLE: Final = "KUBEMINT_LOG_KEY"
RECEIPT_SUFFIX: Final = ".tlog-proof"  # C2SP tlog-proof, "Format"
_VKEY: Final = re.compile(r"[^+\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+")


class LogKey(click.ParamType[NoteVerifier]):
    """The public key of a log on the command line: itself, or a file with it."""

    name = "vkey"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> NoteVerifier:
        """Read it, or say how it is written."""
        if isinstance(value, NoteVerifier):
            return value
        try:
            text = value if _VKEY.fullmatch(value) else read_text(Path(value)).strip()
            verifier = NoteVerifier.from_vkey(text)
        except InvalidProof as fault:
            self.fail(fault.message, param, ctx)
        except ConfigurationError:
            self.fail(f"{value!r} is neither NAME+ID+KEY, as `kubemint log key` prints it, nor a file", param, ctx)
        if verifier.signature_type is not SignatureType.NOTE:
            self.fail("is the key of a witness, not of a log", param, ctx)
        return verifier


def log_key_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option that names the log whose receipts it believes."""
    return click.option(
        "--log-key",
        type=LogKey(),
        envvar=LOG_KEY_VARIABLE,
        help=f"Public key of the log, which must have signed the receipt [{LOG_KEY_VARIABLE}].",
    )(command)


def check_receipt(receipt: Receipt, certificate_der: bytes, verifier: NoteVerifier | None) -> Checkpoint:
    """Check that a receipt is for exactly this certificate; gives the checkpoint that its entry is in.

    Without `verifier` nobody's word is asked for: the checkpoint may be anybody's.

    Raises:
        InvalidProof: it is for another, or proves nothing.
    """
    body = receipt.extra
    if body is None:
        raise InvalidProof("the receipt does not bring the entry along")
    if verifier is not None:
        checkpoint = verify_receipt(receipt, verifier, body)
    else:
        checkpoint = parse_checkpoint(note_text(receipt.checkpoint))
        verify_inclusion(receipt.index, checkpoint.size, leaf_hash(body), receipt.proof, checkpoint.root)
    fields = _fields(body)
    if fields.get("kind") != EventKind.ISSUED.value or recorded_der(fields) != certificate_der:
        raise InvalidProof("the receipt is for another certificate")
    if differences := recorded_differences(certificate_der, fields):
        raise InvalidProof(f"the entry says something else than the certificate: {', '.join(differences)}")
    return checkpoint


def read_receipt(file: Path) -> Receipt:
    """Read a receipt from its file; nothing of it is verified.

    Raises:
        ConfigurationError, InvalidProof: it cannot be read, or is none.
    """
    try:
        return parse_receipt(read_file(file).decode())
    except UnicodeDecodeError:
        raise InvalidProof(f"{file} is no receipt: not UTF-8") from None
    except InvalidProof as fault:
        raise InvalidProof(f"{file} is no receipt: {fault.message}") from None


def first_certificate(pem: str) -> bytes:
    """Give the DER of the first certificate of a PEM text, the rest of which is its chain.

    Raises:
        InvalidProof: there is none.
    """
    try:
        return x509.load_pem_x509_certificates(pem.encode())[0].public_bytes(Encoding.DER)
    except ValueError:
        raise InvalidProof("there is no certificate in PEM that can be read") from None


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = parse_json(body)
    except InvalidDocument as fault:
        raise InvalidProof(f"the entry in the receipt is not JSON: {fault.message}") from None
    if not isinstance(fields, dict):
        raise InvalidProof("the entry in the receipt is no JSON object")
    return fields
