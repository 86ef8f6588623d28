"""Whether a certificate is the one that an entry of the record tells of, field by field.

Apart from what issues, and after the fact: it serves whoever looks through the record, and whoever holds a
receipt. The entry may be anybody's.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from kubemint.x509.certificate import credential_id, format_serial


def recorded_der(fields: Mapping[str, Any]) -> bytes | None:
    """Give the certificate that an entry holds; None if what it holds is not base64."""
    text = fields.get("certificate")
    if not isinstance(text, str):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def recorded_differences(
    certificate_der: bytes, unverified_fields: Mapping[str, Any], issuers: Sequence[x509.Certificate] = ()
) -> tuple[str, ...]:
    """Name the fields of an `issued` entry in which its certificate says something else; none if all agree.

    With `issuers`, one of them must have signed it. Bytes that are no certificate are one difference.
    """
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        differences = [*_differences(certificate, certificate_der, unverified_fields)]
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm) as fault:
        return (f"certificate ({fault})",)
    if issuers and not any(_is_signed_by(certificate, issuer) for issuer in issuers):
        differences.append("issuer")
    return tuple(differences)


def _differences(certificate: x509.Certificate, der: bytes, fields: Mapping[str, Any]) -> Iterator[str]:
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    said: dict[str, object] = {
        "serialNumber": format_serial(certificate.serial_number),
        "credentialId": credential_id(der),
        "publicKeySha256": hashlib.sha256(spki).hexdigest(),
    }
    for name, value in said.items():
        if fields.get(name) != value:
            yield name
    if _names(certificate, NameOID.COMMON_NAME) != [fields.get("user")]:
        yield "user"
    if _names(certificate, NameOID.ORGANIZATION_NAME) != fields.get("groups"):
        yield "groups"
    if _moment(fields.get("notBefore")) != certificate.not_valid_before_utc:
        yield "notBefore"
    if _moment(fields.get("notAfter")) != certificate.not_valid_after_utc:
        yield "notAfter"
    if recorded_der(fields) != der:
        yield "certificate"


def _names(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str | bytes]:
    return [attribute.value for attribute in certificate.subject.get_attributes_for_oid(oid)]


def _moment(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
