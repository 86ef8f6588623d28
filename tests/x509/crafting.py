"""Certificates that the issuer's key signs and that `sign_certificate` never composes."""

from cryptography import x509

from csrs import extended_key_usage, key_usage
from kubemint.x509.certificate import SignedCertificate, format_serial
from kubemint.x509.issuer import Issuer
from kubemint.x509.profile import CertificateTerms
from x509 import der
from x509.der import SEQUENCE, tlv

SERIAL_NUMBER = 0x5EC0DE << 128
VERSION_3 = tlv(0xA0, der.integer(2))
Extensions = list[tuple[x509.ExtensionType, bool]]


def profile(terms: CertificateTerms) -> Extensions:
    """List the extensions that a certificate for an EC key has, each with its criticality."""
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (key_usage("digital_signature"), True),
        (extended_key_usage("client_auth"), False),
        (x509.SubjectKeyIdentifier.from_public_key(terms.public_key), False),
        (x509.AuthorityKeyIdentifier(b"kubernetes-ca-ski", None, None), False),
    ]


def ordinary_subject(terms: CertificateTerms) -> bytes:
    """Encode the subject that the terms ask for."""
    return der.name(*(("O", group) for group in terms.groups), ("CN", terms.user))


def crafted(
    terms: CertificateTerms,
    issuer: Issuer,
    *,
    extensions: Extensions | None = None,
    subject: bytes | None = None,
    version: bytes = VERSION_3,
    inner_algorithm: bytes | None = None,
    outer_algorithm: bytes | None = None,
) -> SignedCertificate:
    """Put a certificate together in DER and sign it; what is not given is as in the profile."""
    wanted = profile(terms) if extensions is None else extensions
    encoded = [
        der.extension(each.oid.dotted_string, each.public_bytes(), critical=it_is) for each, it_is in wanted
    ]
    moments = (f"{moment:%y%m%d%H%M%SZ}".encode() for moment in (terms.not_before, terms.not_after))
    to_be_signed = tlv(
        SEQUENCE,
        version,
        der.integer(SERIAL_NUMBER),
        inner_algorithm or der.signature_algorithm(issuer.key),
        issuer.certificate.subject.public_bytes(),
        tlv(SEQUENCE, *(tlv(der.UTC_TIME, moment) for moment in moments)),
        ordinary_subject(terms) if subject is None else subject,
        terms.spki_der,
        tlv(0xA3, tlv(SEQUENCE, *encoded)),
    )
    return SignedCertificate(
        der=der.signed(to_be_signed, issuer.key, algorithm=outer_algorithm),
        serial_number=format_serial(SERIAL_NUMBER),
        credential_id="",
        not_before=terms.not_before,
        not_after=terms.not_after,
    )
