"""CAs for clients, and certificates of theirs: good ones, and some that should prove nothing."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubemint.authentication.mtls import ClientAuthority

CLIENT_AUTH = (ExtendedKeyUsageOID.CLIENT_AUTH,)
SERVER_AUTH = (ExtendedKeyUsageOID.SERVER_AUTH,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCa:
    """A CA that vouches for clients; its lifetime is around `now`."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def authority(self, name: str) -> ClientAuthority:
        """Give it the name that a configuration would."""
        return ClientAuthority(name=name, certificates=(self.certificate,))

    def client(
        self,
        *names: tuple[x509.ObjectIdentifier, str],
        now: datetime,
        lifetime: timedelta = timedelta(hours=1),
        purposes: tuple[x509.ObjectIdentifier, ...] = CLIENT_AUTH,
        extensions: tuple[x509.ExtensionType, ...] = (),
    ) -> "ClientCertificate":
        """Sign a client certificate with this subject; CN=jane if none is given."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(subject(*(names or (cn("jane"),))), self.certificate.subject, key, now, lifetime)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return ClientCertificate(certificate=builder.sign(self.key, hashes.SHA256()), key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        """Give the certificate as TLS has it."""
        return self.certificate.public_bytes(Encoding.DER)

    def files(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write certificate and key to files."""
        certificate_file, key_file = directory / f"{name}.crt", directory / f"{name}.key"
        certificate_file.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        key_file.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate_file, key_file


def client_ca(name: str, now: datetime) -> ClientCa:
    """Make a CA; two of one name have different keys."""
    key = ec.generate_private_key(ec.SECP256R1())
    ca_name = subject(cn(name))
    certificate = (
        _builder(ca_name, ca_name, key, now, timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return ClientCa(certificate=certificate, key=key)


def cn(value: str) -> tuple[x509.ObjectIdentifier, str]:
    """Give a common name."""
    return NameOID.COMMON_NAME, value


def o(value: str) -> tuple[x509.ObjectIdentifier, str]:
    """Give an organization."""
    return NameOID.ORGANIZATION_NAME, value


def subject(*names: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """Give a name of one RDN each."""
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in names])


def _builder(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - timedelta(minutes=5))
        .not_valid_after(now.astimezone(UTC) + lifetime)
    )
