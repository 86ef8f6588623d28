"""Compose a certificate from a decision, and sign it.

Nothing of the CSR gets here but its public key (promise P3). The names are those of the decision,
one RDN each, groups first and then the user, as UTF8String (RFC 5280 4.1.2.4).
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from kubemint.errors import SigningFailed
from kubemint.x509 import profile
from kubemint.x509.issuer import Issuer
from kubemint.x509.profile import CertificateTerms

CREDENTIAL_ID_PREFIX: Final = "X509SHA256="  # k8s.io/apiserver, authentication/request/x509


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCertificate:
    """A certificate as it leaves the process. `serial_number` is what `format_serial` gives."""

    der: bytes
    serial_number: str
    credential_id: str
    not_before: datetime
    not_after: datetime


def sign_certificate(terms: CertificateTerms, issuer: Issuer, serial_number: int) -> SignedCertificate:
    """Sign what the terms say.

    `serial_number` must have been drawn from `profile.SERIAL_BITS` random bits and be positive.

    Raises:
        SigningFailed: the key could not, or would not, sign.
    """
    try:
        certificate = _builder(terms, issuer, serial_number).sign(issuer.key, issuer.signature_hash)
    except Exception as fault:  # a key may be remote hardware: whatever it raises means "not signed"
        raise SigningFailed(f"the issuer key did not sign: {type(fault).__name__}") from fault
    der = certificate.public_bytes(Encoding.DER)
    return SignedCertificate(
        der=der,
        serial_number=format_serial(serial_number),
        credential_id=credential_id(der),
        not_before=terms.not_before,
        not_after=terms.not_after,
    )


def format_serial(serial_number: int) -> str:
    """Write a serial number as `openssl x509 -serial` does, in lower case: hex, two digits an octet."""
    return serial_number.to_bytes((serial_number.bit_length() + 7) // 8, "big").hex()


def credential_id(certificate_der: bytes) -> str:
    """Name a certificate as kube-apiserver 1.32 and later does in audit logs and webhooks."""
    return CREDENTIAL_ID_PREFIX + hashlib.sha256(certificate_der).hexdigest()


def _builder(terms: CertificateTerms, issuer: Issuer, serial_number: int) -> x509.CertificateBuilder:
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in terms.groups]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, terms.user))
    return (
        _frame(issuer)
        .serial_number(serial_number)
        .subject_name(x509.Name(subject))
        .public_key(terms.public_key)
        .not_valid_before(terms.not_before)
        .not_valid_after(terms.not_after)
        .add_extension(profile.key_usage(terms.public_key), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(terms.public_key), critical=False)
    )


@lru_cache(maxsize=8)
def _frame(issuer: Issuer) -> x509.CertificateBuilder:
    """Give what all certificates of an issuer have in common."""
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer.certificate.subject)
        .add_extension(profile.BASIC_CONSTRAINTS, critical=True)
        .add_extension(profile.EXTENDED_KEY_USAGE, critical=False)
        .add_extension(issuer.authority_key_identifier, critical=False)
    )
