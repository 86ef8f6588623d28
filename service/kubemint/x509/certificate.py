"""Compose a certificate from a decision, and sign it.

Nothing of the CSR gets here but its public key (promise P3). The names are those of the decision,
one RDN each, groups first and then the user, as UTF8String (RFC 5280 4.1.2.4).

The structure is RFC 5280's, written down in the library's ASN.1 declarations: what does not change from
certificate to certificate is encoded once for an issuer.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Final

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.x509.oid import NameOID

from kubemint.x509 import profile
from kubemint.x509.issuer import Issuer
from kubemint.x509.profile import CertificateTerms
from kubemint.x509.signed import Extension, Time, algorithm, extension, sign_structure, time, tlv

CREDENTIAL_ID_PREFIX: Final = "X509SHA256="  # k8s.io/apiserver, authentication/request/x509
_VERSION_3: Final = 2  # RFC 5280 4.1.2.1


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
    tbs = asn1.encode_der(_tbs_certificate(terms, issuer, serial_number))
    der = sign_structure(tbs, issuer)
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


@asn1.sequence
class _Attribute:
    type: x509.ObjectIdentifier
    value: str  # a UTF8String


@asn1.sequence
class _Validity:
    not_before: Time
    not_after: Time


@asn1.sequence
class _SubjectPublicKeyInfo:
    algorithm: asn1.TLV
    key: asn1.BitString


@asn1.sequence
class _TbsCertificate:
    version: Annotated[int, asn1.Explicit(0)]
    serial_number: int
    signature_algorithm: asn1.TLV
    issuer: asn1.TLV
    validity: _Validity
    subject: list[asn1.SetOf[_Attribute]]
    public_key: asn1.TLV
    extensions: Annotated[list[Extension], asn1.Explicit(3)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """What all certificates of an issuer have in common."""

    algorithm: asn1.TLV
    name: asn1.TLV
    before_key: tuple[Extension, ...]
    authority_key: Extension


@lru_cache(maxsize=8)
def _frame(issuer: Issuer) -> _Frame:
    return _Frame(
        algorithm=algorithm(issuer),
        name=tlv(issuer.subject_der),
        before_key=(
            extension(profile.BASIC_CONSTRAINTS, critical=True),
            extension(profile.EXTENDED_KEY_USAGE, critical=False),
        ),
        authority_key=extension(issuer.authority_key_identifier, critical=False),
    )


def _tbs_certificate(terms: CertificateTerms, issuer: Issuer, serial_number: int) -> _TbsCertificate:
    frame = _frame(issuer)
    subject = [asn1.SetOf([_Attribute(type=NameOID.ORGANIZATION_NAME, value=group)]) for group in terms.groups]
    subject.append(asn1.SetOf([_Attribute(type=NameOID.COMMON_NAME, value=terms.user)]))
    return _TbsCertificate(
        version=_VERSION_3,
        serial_number=serial_number,
        signature_algorithm=frame.algorithm,
        issuer=frame.name,
        validity=_Validity(not_before=time(terms.not_before), not_after=time(terms.not_after)),
        subject=subject,
        public_key=tlv(terms.spki_der),
        extensions=[
            *frame.before_key,
            _key_usage(profile.key_usage(terms.public_key)),
            _subject_key(terms.spki_der),
            frame.authority_key,
        ],
    )


@lru_cache(maxsize=8)
def _key_usage(usage: x509.KeyUsage) -> Extension:
    return extension(usage, critical=True)


def _subject_key(spki_der: bytes) -> Extension:
    """RFC 5280 4.2.1.2, method 1: SHA-1 of the key's bits, which names the key and proves nothing."""
    bits = asn1.decode_der(_SubjectPublicKeyInfo, spki_der).key.as_bytes()
    digest = hashlib.sha1(bits, usedforsecurity=False).digest()
    return extension(x509.SubjectKeyIdentifier(digest), critical=False)
