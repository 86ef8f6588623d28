"""CAs as kubeadm makes them, and some that must not sign client certificates: files to import."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True, kw_only=True)
class CaFiles:
    """A CA certificate and its key, written down."""

    certificate_file: Path
    key_file: Path

    @property
    def options(self) -> tuple[str | Path, ...]:
        """Give the options that import it."""
        return "--ca-certificate", self.certificate_file, "--ca-key", self.key_file


@cache
def rsa_key(owner: str) -> rsa.RSAPrivateKey:
    """Make an RSA key, as kubeadm does; each owner has one."""
    return rsa.generate_private_key(65537, 2048)


def kubeadm_ca(
    directory: Path,
    *,
    name: str = "kubernetes",
    starts: timedelta = -timedelta(days=1),
    lifetime: timedelta = timedelta(days=3650),
    is_ca: bool = True,
    passphrase: bytes | None = None,
    key_of: str = "ca",
) -> CaFiles:
    """Write ca.crt and ca.key as kubeadm does: RSA 2048, PKCS#1; or with one thing wrong."""
    certificate_file, key_file = directory / "given-ca.crt", directory / "given-ca.key"
    start = datetime.now(UTC) + starts
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(rsa_key("ca").public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(_kubeadm_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(rsa_key("ca").public_key()), critical=False)
        .sign(rsa_key("ca"), hashes.SHA256())
    )
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(_key_pem(rsa_key(key_of), passphrase))
    return CaFiles(certificate_file=certificate_file, key_file=key_file)


def _key_pem(key: Any, passphrase: bytes | None) -> bytes:
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        encryption = BestAvailableEncryption(passphrase)
    form = PrivateFormat.TraditionalOpenSSL if passphrase is None else PrivateFormat.PKCS8
    pem: bytes = key.private_bytes(Encoding.PEM, form, encryption)
    return pem


def _kubeadm_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
