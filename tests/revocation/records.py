"""What is revoked in the tests, files for openssl, and questions as OCSP clients ask them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from kubemint.x509.certificate import sign_certificate
from kubemint.x509.crl import sign_crl
from kubemint.x509.issuer import Issuer
from kubemint.x509.ocsp import CertificateStatus, Good, Revoked, Unknown
from kubemint.x509.revocation import RevocationReason, RevokedCertificate
from x509.terms import terms_for

LISTING_USAGES = ("digital_signature", "key_cert_sign", "crl_sign")
SERIAL_NUMBER = 0x5EC0DE << 128
DAY = timedelta(days=1)


def leaf_of(issuer: Issuer, now: datetime, serial_number: int = SERIAL_NUMBER) -> x509.Certificate:
    """Sign an ordinary certificate."""
    terms = terms_for("ecdsa-p256", now)
    return x509.load_der_x509_certificate(sign_certificate(terms, issuer, serial_number).der)


def revoked(
    now: datetime, *serial_numbers: int, reason: RevocationReason = RevocationReason.KEY_COMPROMISE
) -> tuple[RevokedCertificate, ...]:
    """Revoke each of these an hour ago."""
    at = now - timedelta(hours=1)
    return tuple(RevokedCertificate(serial_number=each, revoked_at=at, reason=reason) for each in serial_numbers)


def list_of(issuer: Issuer, now: datetime, entries: Iterable[RevokedCertificate] = (), **changes: Any) -> bytes:
    """Sign list number 7, good for a day, but for the changes."""
    ordinary = {"number": 7, "this_update": now, "next_update": now + DAY}
    return sign_crl(issuer, tuple(entries), **(ordinary | changes))


def write(folder: Path, **files: x509.Certificate | bytes) -> dict[str, Path]:
    """Write certificates as PEM and octets as they are; the names are those of the files."""
    paths = {name: folder / name for name in files}
    for name, content in files.items():
        paths[name].write_bytes(content if isinstance(content, bytes) else content.public_bytes(Encoding.PEM))
    return paths


def question(
    issuer: Issuer,
    serial_number: int = SERIAL_NUMBER,
    *,
    algorithm: hashes.HashAlgorithm | None = None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> bytes:
    """Ask about a certificate of the issuer, as SHA-1 names it unless another hash is given."""
    algorithm = algorithm or hashes.SHA1()
    own = ocsp.OCSPRequestBuilder().add_certificate(issuer.certificate, issuer.certificate, algorithm).build()
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        own.issuer_name_hash, own.issuer_key_hash, serial_number, algorithm
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.build().public_bytes(Encoding.DER)


def record_of(*entries: RevokedCertificate, good: Iterable[int] = ()) -> Any:
    """Give a record that knows these alone, and remembers what it was asked in `asked`."""
    known: dict[int, CertificateStatus] = dict.fromkeys(good, Good())
    known |= {each.serial_number: Revoked(revoked_at=each.revoked_at, reason=each.reason) for each in entries}
    return Record(known)


class Record:
    """A record in memory."""

    def __init__(self, known: dict[int, CertificateStatus]) -> None:
        self.known = known
        self.asked: list[int] = []

    def __call__(self, serial_number: int) -> CertificateStatus:
        """Say what is known of a certificate."""
        self.asked.append(serial_number)
        return self.known.get(serial_number, Unknown())
