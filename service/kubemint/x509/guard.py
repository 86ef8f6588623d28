"""The last look: read the signed bytes as kube-apiserver will, and compare with the decision.

What was composed is not what was signed until this has looked (promise P3); and whatever policy,
profile or door was used, nothing that says `system:masters` passes (promise P2). The guard shares
no code with `certificate.py` on purpose.
"""

from collections.abc import Iterator
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kubemint.errors import SigningFailed
from kubemint.x509.certificate import SignedCertificate
from kubemint.x509.issuer import Issuer
from kubemint.x509.profile import CertificateTerms

FORBIDDEN_GROUPS: Final = frozenset({"system:masters"})  # passes RBAC and every webhook: cannot be taken back
_EXTENSIONS: Final = {  # OID and criticality of everything that may be in there (RFC 5280 4.2.1)
    "2.5.29.19": True,
    "2.5.29.15": True,
    "2.5.29.37": False,
    "2.5.29.14": False,
    "2.5.29.35": False,
}


def guard(certificate: SignedCertificate, terms: CertificateTerms, issuer: Issuer) -> None:
    """Let a certificate pass only if it says exactly what was decided and the issuer signed it.

    Raises:
        SigningFailed: it does not; the certificate must be forgotten.
    """
    try:
        parsed = x509.load_der_x509_certificate(certificate.der)
        faults = list(_faults(parsed, certificate, terms, issuer))
        parsed.verify_directly_issued_by(issuer.certificate)
    except (ValueError, TypeError, InvalidSignature) as fault:
        raise SigningFailed("the signed bytes are not a certificate of this issuer") from fault
    if faults:
        raise SigningFailed(f"the signed bytes differ from the decision: {', '.join(faults)}")


def _faults(
    parsed: x509.Certificate, certificate: SignedCertificate, terms: CertificateTerms, issuer: Issuer
) -> Iterator[str]:
    user, groups, others = _identity(parsed)
    if user != terms.user:
        yield "user"
    if groups != terms.groups:
        yield "groups"
    if others:
        yield "subject"
    if not FORBIDDEN_GROUPS.isdisjoint(groups):
        yield "forbidden group"
    if _spki(parsed) != terms.spki_der:
        yield "public key"
    if _spki(parsed) == issuer.limits.spki_der:
        yield "issuer's own key"
    if (parsed.not_valid_before_utc, parsed.not_valid_after_utc) != (terms.not_before, terms.not_after):
        yield "validity"
    if parsed.serial_number != int(certificate.serial_number, 16) or parsed.serial_number <= 0:
        yield "serial number"
    yield from _profile_faults(parsed)


def _identity(parsed: x509.Certificate) -> tuple[str, tuple[str, ...], int]:
    """Read user and groups as Go does: the last CN, every O; and count what is neither."""
    user, groups, others = "", [], 0
    for attribute in parsed.subject:
        match attribute.oid.dotted_string:
            case "2.5.4.3":  # commonName
                others += bool(user)
                user = str(attribute.value)
            case "2.5.4.10":  # organizationName
                groups.append(str(attribute.value))
            case _:
                others += 1
    return user, tuple(groups), others


def _profile_faults(parsed: x509.Certificate) -> Iterator[str]:
    if parsed.version is not x509.Version.v3:
        yield "version"
    extensions = {extension.oid.dotted_string: extension for extension in parsed.extensions}
    if {oid: extension.critical for oid, extension in extensions.items()} != _EXTENSIONS:
        yield "extensions"
        return
    if extensions["2.5.29.19"].value.ca:
        yield "CA:TRUE"
    if [usage.dotted_string for usage in extensions["2.5.29.37"].value] != ["1.3.6.1.5.5.7.3.2"]:
        yield "extended key usage"  # clientAuth alone, RFC 5280 4.2.1.12


def _spki(parsed: x509.Certificate) -> bytes:
    return parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
