"""The last look: read the signed bytes as kube-apiserver will, and compare with the decision.

What was composed is not what was signed until this has looked (promise P3); and whatever policy,
profile or door was used, nothing that says `system:masters` passes (promise P2). The guard shares
no code with `certificate.py` on purpose: it reads the DER itself, down to the octets of each extension.
"""

from collections.abc import Iterator
from typing import Annotated, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import rsa

from kubemint.errors import SigningFailed
from kubemint.x509.certificate import SignedCertificate
from kubemint.x509.issuer import Issuer
from kubemint.x509.names import AttributeTypeAndValue
from kubemint.x509.profile import CertificateTerms

FORBIDDEN_GROUPS: Final = frozenset({"system:masters"})  # passes RBAC and every webhook: cannot be taken back

_VERSION_3: Final = 2  # RFC 5280 4.1.2.1
_UTF8_STRING: Final = b"\x0c"
_KEY_USAGE: Final = bytes.fromhex("03020780")  # BIT STRING: digitalSignature
_KEY_USAGE_RSA: Final = bytes.fromhex("030205a0")  # … and keyEncipherment
_EXACT: Final = {  # RFC 5280 4.2.1: OID → critical, octets of the value
    "2.5.29.19": (True, bytes.fromhex("3000")),  # basicConstraints: CA:FALSE
    "2.5.29.37": (False, bytes.fromhex("300a06082b06010505070302")),  # extendedKeyUsage: clientAuth alone
}
_KEY_USAGE_OID: Final = "2.5.29.15"
_SUBJECT_KEY_IDENTIFIER: Final = "2.5.29.14"
_AUTHORITY_KEY_IDENTIFIER: Final = "2.5.29.35"


@asn1.sequence
class _Validity:
    not_before: asn1.UTCTime | asn1.GeneralizedTime
    not_after: asn1.UTCTime | asn1.GeneralizedTime


@asn1.sequence
class _Extension:
    oid: x509.ObjectIdentifier
    critical: Annotated[bool, asn1.Default(False)]
    value: bytes


@asn1.sequence
class _TbsCertificate:
    """RFC 5280 4.1. Unique identifiers have no place here, so a certificate with them does not decode."""

    version: Annotated[int, asn1.Explicit(0)]
    serial_number: int
    signature_algorithm: asn1.TLV
    issuer: asn1.TLV
    validity: _Validity
    subject: list[asn1.SetOf[AttributeTypeAndValue]]
    public_key: asn1.TLV
    extensions: Annotated[list[_Extension], asn1.Explicit(3)]


@asn1.sequence
class _Certificate:
    tbs: asn1.TLV
    signature_algorithm: asn1.TLV
    signature: asn1.BitString


def guard(certificate: SignedCertificate, terms: CertificateTerms, issuer: Issuer) -> None:
    """Let a certificate pass only if it says exactly what was decided and the issuer signed it.

    Raises:
        SigningFailed: it does not; the certificate must be forgotten.
    """
    try:
        parsed = x509.load_der_x509_certificate(certificate.der)
        tbs = asn1.decode_der(_TbsCertificate, parsed.tbs_certificate_bytes)
        issuer.verify(parsed.signature, parsed.tbs_certificate_bytes)
        faults = list(_faults(tbs, certificate, terms, issuer))
        faults += _algorithm_faults(parsed, tbs, certificate, issuer)
    except (ValueError, TypeError, x509.InvalidVersion, InvalidSignature) as fault:
        raise SigningFailed("the signed bytes are not a certificate of this issuer") from fault
    if faults:
        raise SigningFailed(f"the signed bytes differ from the decision: {', '.join(faults)}")


def _faults(
    tbs: _TbsCertificate, certificate: SignedCertificate, terms: CertificateTerms, issuer: Issuer
) -> Iterator[str]:
    user, groups, others = _identity(tbs)
    if user != terms.user:
        yield "user"
    if groups != terms.groups:
        yield "groups"
    if others:
        yield "subject"
    if asn1.encode_der(tbs.issuer) != issuer.subject_der:
        yield "issuer"
    if not FORBIDDEN_GROUPS.isdisjoint(groups):
        yield "forbidden group"
    if asn1.encode_der(tbs.public_key) != terms.spki_der:
        yield "public key"
    if asn1.encode_der(tbs.public_key) == issuer.limits.spki_der:
        yield "issuer's own key"
    validity = (tbs.validity.not_before.as_datetime(), tbs.validity.not_after.as_datetime())
    if validity != (terms.not_before, terms.not_after):
        yield "validity"
    if tbs.serial_number != int(certificate.serial_number, 16) or tbs.serial_number <= 0:
        yield "serial number"
    yield from _profile_faults(tbs, terms, issuer)


def _algorithm_faults(
    parsed: x509.Certificate, tbs: _TbsCertificate, certificate: SignedCertificate, issuer: Issuer
) -> Iterator[str]:
    """RFC 5280 4.1.1.2: named twice, inside and outside of what is signed, and the same both times."""
    outer = asn1.decode_der(_Certificate, certificate.der)
    same = bytes(outer.signature_algorithm.data) == bytes(tbs.signature_algorithm.data)
    if not same or parsed.signature_algorithm_oid != issuer.signature_algorithm:
        yield "signature algorithm"


def _identity(tbs: _TbsCertificate) -> tuple[str, tuple[str, ...], int]:
    """Read user and groups as Go does: the last CN, every O; and count what is neither."""
    user, groups, others, users = "", [], 0, 0
    for rdn in tbs.subject:
        attributes = rdn.as_list()
        others += len(attributes) != 1
        for attribute in attributes:
            name = bytes(attribute.value.data).decode("utf-8")
            others += attribute.value.tag_bytes != _UTF8_STRING
            match attribute.type.dotted_string:
                case "2.5.4.3":  # commonName
                    users += 1
                    user = name
                case "2.5.4.10":  # organizationName
                    groups.append(name)
                case _:
                    others += 1
    return user, tuple(groups), others + abs(users - 1)


def _profile_faults(tbs: _TbsCertificate, terms: CertificateTerms, issuer: Issuer) -> Iterator[str]:
    if tbs.version != _VERSION_3:
        yield "version"
    found = {extension.oid.dotted_string: (extension.critical, extension.value) for extension in tbs.extensions}
    usage = _KEY_USAGE_RSA if isinstance(terms.public_key, rsa.RSAPublicKey) else _KEY_USAGE
    expected = {**_EXACT, _KEY_USAGE_OID: (True, usage)}
    for oid, value in expected.items():
        if found.pop(oid, None) != value:
            yield f"extension {oid}"
    if found.pop(_SUBJECT_KEY_IDENTIFIER, None) != (False, _identifier_of(terms)):
        yield f"extension {_SUBJECT_KEY_IDENTIFIER}"
    if found.pop(_AUTHORITY_KEY_IDENTIFIER, None) != (False, issuer.authority_key_identifier.public_bytes()):
        yield f"extension {_AUTHORITY_KEY_IDENTIFIER}"
    if found or len(tbs.extensions) != len(expected) + 2:
        yield "extensions"


def _identifier_of(terms: CertificateTerms) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(terms.public_key).public_bytes()
