"""A certificate as the service gives it, in the hands of who asked: nothing is written from another answer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kubemint.client.receipts import check_receipt, first_certificate
from kubemint.errors import ConfigurationError, InvalidProof, ServiceUnavailable
from kubemint.transparency.checkpoint import NoteVerifier
from kubemint.transparency.receipt import parse_receipt

_UNCHECKED: Final = (
    "The receipt's signature was not checked: no log key (--log-key or KUBEMINT_LOG_KEY). "
    "Get it from the service's administrator (kubemint log key), over a way other than this service."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCertificate:
    """A certificate and its chain, PEM; its receipt was checked, and is None where there is none."""

    answer: Mapping[str, Any]
    user: str
    pem: str
    receipt: str | None


def held_certificate(answer: Mapping[str, Any], log_key: NoteVerifier | None) -> HeldCertificate:
    """Take the certificate out of an answer, and check its receipt; say so where nobody's signature was checked.

    Raises:
        ServiceUnavailable: the answer is not that of a certificate.
        InvalidProof: the receipt does not prove that this certificate is on record.
    """
    checked = _checked(answer)
    receipt = _receipt(checked, log_key)
    if receipt is not None and log_key is None:
        click.echo(_UNCHECKED, err=True)
    pem = checked["certificate"] + "".join(checked["chain"])
    return HeldCertificate(answer=checked, user=checked["user"], pem=pem, receipt=receipt)


def check_key(key_file: Path, key_pem: str, certificate: HeldCertificate) -> None:
    """Check that a private key is that of a certificate.

    Raises:
        ConfigurationError: it is another, or cannot be read.
    """
    try:
        key = load_pem_private_key(key_pem.encode("ascii"), None)
    except TypeError:
        raise ConfigurationError(str(key_file), ["is encrypted; a key in clear is needed here"]) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(str(key_file), ["holds no private key in PEM that can be read"]) from None
    try:
        certified = x509.load_pem_x509_certificate(certificate.pem.encode()).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ServiceUnavailable("the service's answer holds no certificate that can be read") from None
    if key.public_key() != certified:
        raise ConfigurationError(str(key_file), ["is not the key that the certificate is for"])


def report(
    certificate: HeldCertificate, kubeconfig_file: Path | None, written: tuple[Path, ...], form: str
) -> str:
    """Tell of a certificate and the files that it was written to, as people read it or as JSON."""
    answer, files = certificate.answer, [str(file) for file in written]
    if form == "json":
        return json.dumps({**answer, "files": files}, indent=2)
    groups = ", ".join(answer["groups"]) or "none"
    lines = [
        f"Certificate for {answer['user']} (groups: {groups}), good until {answer['notAfter']}.",
        f"Profile {answer['profile']}, serial number {answer['serialNumber']}, log entry {answer['logIndex']}.",
        f"Wrote {' and '.join(files)}.",
    ]
    if kubeconfig_file is not None:
        lines.append(f"Try: kubectl --kubeconfig {kubeconfig_file} auth can-i --list")
    return "\n".join(lines)


def _checked(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    texts = ("certificate", "user", "notAfter", "profile", "serialNumber")
    lists = ("chain", "groups")
    are_texts = all(isinstance(answer.get(name), str) for name in texts)
    are_lists = all(isinstance(answer.get(name), list) for name in lists)
    if not are_texts or not are_lists or "logIndex" not in answer:
        raise ServiceUnavailable("the service's answer holds no certificate; is it kubemint?")
    return answer


def _receipt(answer: Mapping[str, Any], log_key: NoteVerifier | None) -> str | None:
    """Give the receipt of a certificate; None where the service gives none and no log is known."""
    text = answer.get("receipt")
    if text is None and log_key is None:
        return None
    if not isinstance(text, str):
        raise InvalidProof("the service gave no receipt: nothing shows that the certificate is on record")
    try:
        check_receipt(parse_receipt(text), first_certificate(answer["certificate"]), log_key)
    except InvalidProof as fault:
        message = (
            f"the receipt does not show that the certificate is on record; it was not written: {fault.message}"
        )
        raise InvalidProof(message) from None
    return text
