"""A certificate out of whatever its holder has: PEM, DER, or the kubeconfig that it is in."""

import base64
import binascii
from pathlib import Path
from typing import Any

from cryptography import x509

from kubemint.documents import parse_yaml, read_file
from kubemint.errors import ConfigurationError, InvalidDocument


def read_certificate(file: Path) -> x509.Certificate:
    """Read the first certificate of a file, or the one of the user that a kubeconfig uses now.

    Raises:
        ConfigurationError: it cannot be read, or holds none; the message names the file.
    """
    octets = read_file(file)
    if not octets.lstrip().startswith((b"-----", b"\x30")) and (embedded := _in_kubeconfig(octets, file)):
        octets = embedded
    try:
        if b"-----BEGIN" in octets:
            return x509.load_pem_x509_certificates(octets)[0]
        return x509.load_der_x509_certificate(octets)
    except ValueError:
        problem = "holds no certificate that can be read, in PEM, DER or a kubeconfig"
        raise ConfigurationError(str(file), [problem]) from None


def _in_kubeconfig(octets: bytes, file: Path) -> bytes | None:
    """Give the certificate in a kubeconfig; None if this is no kubeconfig."""
    try:
        document = parse_yaml(octets)
    except InvalidDocument:
        return None
    if not isinstance(document, dict) or document.get("kind") != "Config":
        return None
    user = _entry(document, "users", "user", _name_of_user(document))
    encoded = user.get("client-certificate-data")
    if not isinstance(encoded, str):
        raise ConfigurationError(str(file), ["is a kubeconfig, and has no client-certificate-data for its user"])
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(str(file), ["client-certificate-data is not base64"]) from None


def _name_of_user(document: dict[str, Any]) -> object:
    return _entry(document, "contexts", "context", document.get("current-context")).get("user")


def _entry(document: dict[str, Any], listed: str, kind: str, name: object) -> dict[str, Any]:
    """Give the entry of a name, or the only one there is; empty where there is none."""
    found = document.get(listed)
    entries = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    named = [entry for entry in entries if entry.get("name") == name] or (entries if len(entries) == 1 else [])
    value = named[0].get(kind) if named else None
    return value if isinstance(value, dict) else {}
