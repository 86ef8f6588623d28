"""Who answers OCSP questions in an issuer's place (RFC 6960 4.2.2.2), so that the CA key may rest.

The certificate says that it answers questions and does nothing else: without clientAuth, no API server
takes it for a client. Nobody asks whether it is revoked (id-pkix-ocsp-nocheck), so its life is short.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubemint.errors import SigningFailed
from kubemint.x509 import profile
from kubemint.x509.issuer import Issuer, issuer_from
from kubemint.x509.keys import judge_key

RESPONDER_LIFETIME: Final = timedelta(days=7)  # RFC 6960 4.2.2.2.1: short, as it cannot be revoked
RESPONDER_NAME: Final = "kubemint OCSP responder"

_PURPOSE: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
_USAGE: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Responder:
    """A certificate of the issuer's, with its key, that signs answers."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes

    @cached_property
    def signer(self) -> Issuer:
        """The responder as one that signs: its key decides on hash and algorithm as an issuer's does."""
        return issuer_from((self.certificate,), self.key)


def issue_responder(
    issuer: Issuer, key: CertificateIssuerPrivateKeyTypes, *, serial_number: int, now: datetime
) -> Responder:
    """Sign a certificate for a responder's key, for `RESPONDER_LIFETIME` or what is left of the issuer.

    `serial_number` must have been drawn from `profile.SERIAL_BITS` random bits and be positive. The
    certificate is not recorded here: that is the caller's.

    Raises:
        SigningFailed: the issuer's key did not sign, or what it signed is no certificate for a responder.
    """
    try:
        certificate = _order(issuer, key, serial_number, now).sign(issuer.key, issuer.signature_hash)
    except Exception as fault:  # a key may be remote hardware: whatever it raises means "not signed"
        raise SigningFailed(f"the issuer key did not sign: {type(fault).__name__}") from fault
    responder = Responder(certificate=certificate, key=key)
    if problems := list(responder_problems(responder, issuer, now)):
        raise SigningFailed(f"the signed bytes are no certificate for a responder: {', '.join(problems)}")
    return responder


def responder_problems(responder: Responder, issuer: Issuer, now: datetime) -> Iterator[str]:
    """Yield every fact for which clients would not believe this responder, or believe too much of it."""
    certificate = responder.certificate
    if _spki(certificate) != responder.key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ):
        yield "the key does not belong to the certificate"
    if _spki(certificate) == issuer.limits.spki_der:
        yield "the key is the issuer's own"
    _, reasons = judge_key(certificate.public_key())
    yield from (reason.message for reason in reasons)
    try:
        certificate.verify_directly_issued_by(issuer.certificate)
    except (ValueError, TypeError, InvalidSignature):
        yield "the certificate is not issued by the CA that it answers for"
    if now > certificate.not_valid_after_utc:
        yield f"the certificate expired at {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    if now < certificate.not_valid_before_utc:
        yield f"the certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"
    yield from _extension_problems(certificate)


def _extension_problems(certificate: x509.Certificate) -> Iterator[str]:
    try:
        values = {type(each.value): each.value for each in certificate.extensions}
    except (ValueError, x509.DuplicateExtension):
        yield "the certificate's extensions cannot be read"
        return
    if values.get(x509.ExtendedKeyUsage) != _PURPOSE:
        yield "the certificate is not for answering OCSP alone (extended key usage OCSPSigning)"
    if x509.OCSPNoCheck not in values:
        yield "clients would ask whether the certificate is revoked (no id-pkix-ocsp-nocheck)"
    usage = values.get(x509.KeyUsage)
    if isinstance(usage, x509.KeyUsage) and not usage.digital_signature:
        yield "the certificate may not sign (no digitalSignature in its key usage)"


def _order(
    issuer: Issuer, key: CertificateIssuerPrivateKeyTypes, serial_number: int, now: datetime
) -> x509.CertificateBuilder:
    public_key = key.public_key()
    return (
        x509.CertificateBuilder()
        .serial_number(serial_number)
        .issuer_name(issuer.certificate.subject)
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, RESPONDER_NAME)]))
        .public_key(public_key)
        .not_valid_before(max(now - profile.BACKDATE, issuer.limits.not_before))
        .not_valid_after(min(now + RESPONDER_LIFETIME, issuer.limits.not_after))
        .add_extension(profile.BASIC_CONSTRAINTS, critical=True)
        .add_extension(_USAGE, critical=True)
        .add_extension(_PURPOSE, critical=False)
        .add_extension(x509.OCSPNoCheck(), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(issuer.authority_key_identifier, critical=False)
    )


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
