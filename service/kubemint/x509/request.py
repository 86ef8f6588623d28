"""From the bytes of a PKCS#10 request (RFC 2986) to a `SigningRequest` that cannot be wrong.

Everything in a CSR is either understood or refused by name (promise P4): silently dropping what was
asked for is how other services came to sign something that nobody had judged. Cheap checks come
before costly ones: the signature is verified only under a key of a size that we would sign.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, SignatureAlgorithmOID

from kubemint.errors import MalformedRequest, Reason, UnacceptableRequest
from kubemint.x509.keys import judge_key
from kubemint.x509.names import AttributeTypeAndValue, describe_subject, read_subject
from kubemint.x509.profile import excess_key_usages

CSR_MAX_OCTETS: Final = 16 * 1024  # an RSA-4096 CSR with a hundred groups has 6 KiB
EXPIRATION_MAX_SECONDS: Final = 2**31 - 1  # Kubernetes: spec.expirationSeconds is an int32

_PEM_LABELS: Final = re.compile(rb"-----BEGIN ([^\r\n]*?)-----")
_CSR_LABELS: Final = (b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST")  # RFC 7468 7
_EXTENSION_REQUEST: Final = x509.ObjectIdentifier("1.2.840.113549.1.9.14")  # RFC 2985 5.4.2
_ATTRIBUTE_NAMES: Final = {
    "1.2.840.113549.1.9.7": "challengePassword",
    "1.2.840.113549.1.9.2": "unstructuredName",
}
_EXTENSION_NAMES: Final = {
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME: "subjectAltName; Kubernetes takes no name from it",
    ExtensionOID.SUBJECT_KEY_IDENTIFIER: "subjectKeyIdentifier; the issuer computes it",
    ExtensionOID.CERTIFICATE_POLICIES: "certificatePolicies",
    ExtensionOID.NAME_CONSTRAINTS: "nameConstraints",
}
_SIGNATURE_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


class CsrEncoding(StrEnum):
    """How the bytes of a CSR are wrapped."""

    PEM = "pem"
    DER = "der"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What came in at a door, unread: the CSR's bytes and what was asked for beside it."""

    csr: bytes
    encoding: CsrEncoding
    expiration_seconds: int | None = None
    profile: str | None = None

    @property
    def sha256(self) -> str:
        """Tell whether two submissions ask for the same: hex SHA-256 over all that was sent."""
        beside = json.dumps([self.encoding.value, self.expiration_seconds, self.profile]).encode("ascii")
        return hashlib.sha256(beside + b"\n" + self.csr).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningRequest:
    """A CSR whose signature holds, whose every part is accounted for and whose key is sound."""

    csr_der: bytes
    user: str
    groups: tuple[str, ...]
    public_key: CertificatePublicKeyTypes
    spki_der: bytes
    key_type: str
    expiration_seconds: int | None
    profile: str | None


@asn1.sequence
class _RequestInfo:
    """CertificationRequestInfo (RFC 2986 4.1), of which only the subject is read here."""

    version: int
    subject: list[asn1.SetOf[AttributeTypeAndValue]]
    public_key: asn1.TLV
    attributes: Annotated[asn1.SetOf[asn1.TLV], asn1.Implicit(0)]


def read_request(submission: Submission) -> SigningRequest:
    """Decode and judge a CSR.

    Raises:
        MalformedRequest: the bytes are not one CSR.
        UnacceptableRequest: they are one that is never signed; every reason is in it.
    """
    csr_der = _csr_der(submission)
    csr, info, public_key = _parse(csr_der)
    subject, subject_reasons = read_subject([rdn.as_list() for rdn in info.subject])
    key_type, key_reasons = judge_key(public_key)
    reasons = [*subject_reasons, *key_reasons, *_signature_reasons(csr, key_is_sound=key_type is not None)]
    reasons += _attribute_reasons(csr)
    reasons += _extension_reasons(csr, public_key)
    if reasons or subject is None or key_type is None:
        raise _unacceptable(info, reasons)
    return SigningRequest(
        csr_der=csr_der,
        user=subject.user,
        groups=subject.groups,
        public_key=public_key,
        spki_der=public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        key_type=key_type,
        expiration_seconds=submission.expiration_seconds,
        profile=submission.profile,
    )


def _csr_der(submission: Submission) -> bytes:
    csr_der = submission.csr
    if submission.encoding is CsrEncoding.PEM:
        csr_der = _unwrap_pem(submission.csr)
    if not csr_der:
        raise _malformed("csr-missing", "There is no CSR in the request.")
    if len(csr_der) > CSR_MAX_OCTETS:
        raise _malformed("csr-too-large", f"The CSR has more than {CSR_MAX_OCTETS} octets.")
    return csr_der


def _unwrap_pem(pem: bytes) -> bytes:
    labels = _PEM_LABELS.findall(pem)
    if any(b"PRIVATE KEY" in label for label in labels):
        raise _malformed(
            "private-key-sent",
            "The request contains a private key. It was not kept, but it has left its owner: make a new one, "
            "and send the CSR alone.",
        )
    if any(label not in _CSR_LABELS for label in labels):
        found = ", ".join(sorted({label.decode("ascii", "replace")[:40] for label in labels}))
        raise _malformed("csr-wrong-pem", f"The PEM holds {found}; send one CERTIFICATE REQUEST.")
    if len(labels) != 1:
        found = f"{len(labels)} CSRs" if labels else "no PEM block"
        raise _malformed("csr-not-one", f"The request holds {found}; send one CERTIFICATE REQUEST in PEM.")
    begin, end = (b"-----%s %s-----" % (word, labels[0]) for word in (b"BEGIN", b"END"))
    body, found_end, _ = pem.partition(begin)[2].partition(end)
    try:
        return base64.b64decode(b"".join(body.split()) if found_end else b"-", validate=True)
    except binascii.Error:
        raise _malformed("csr-undecodable", "The PEM block is damaged.") from None


def _parse(
    csr_der: bytes,
) -> tuple[x509.CertificateSigningRequest, _RequestInfo, CertificatePublicKeyTypes]:
    try:
        csr = x509.load_der_x509_csr(csr_der)
        info = asn1.decode_der(_RequestInfo, csr.tbs_certrequest_bytes)
    except (ValueError, x509.InvalidVersion):
        raise _malformed("csr-undecodable", "The bytes are not a DER CSR (RFC 2986).") from None
    try:
        return csr, info, csr.public_key()
    except (ValueError, UnsupportedAlgorithm):
        reason = _reason(
            "key-type", "the public key is invalid, or of a kind that is not supported", "csr.publicKey"
        )
        raise _unacceptable(info, [reason]) from None


def _signature_reasons(csr: x509.CertificateSigningRequest, *, key_is_sound: bool) -> Iterator[Reason]:
    """Judge proof of possession (RFC 2986 4.2); under an unsound key the signature says nothing."""
    try:
        algorithm = csr.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):  # ValueError: RSASSA-PSS without its parameters
        algorithm = None
    is_ed25519 = csr.signature_algorithm_oid == SignatureAlgorithmOID.ED25519
    if not is_ed25519 and not isinstance(algorithm, _SIGNATURE_HASHES):
        name = algorithm.name.upper() if algorithm else csr.signature_algorithm_oid.dotted_string
        yield _reason("signature-hash", f"the CSR is signed with {name}; use SHA-256 or better", "csr.signature")
    elif key_is_sound and not _signature_holds(csr):
        yield _reason("signature-invalid", "the CSR's signature is not of the key in it", "csr.signature")


def _signature_holds(csr: x509.CertificateSigningRequest) -> bool:
    try:
        return csr.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False  # an algorithm that does not fit the key proves nothing


def _attribute_reasons(csr: x509.CertificateSigningRequest) -> Iterator[Reason]:
    try:
        oids = [attribute.oid for attribute in csr.attributes]
    except ValueError:
        yield _reason("csr-attribute", "an attribute of the CSR cannot be read", "csr.attributes")
        return
    for oid in oids:
        if oid != _EXTENSION_REQUEST:
            name = _ATTRIBUTE_NAMES.get(oid.dotted_string, oid.dotted_string)
            yield _reason("csr-attribute", f"the CSR has an attribute {name}; leave it out", "csr.attributes")
    if oids.count(_EXTENSION_REQUEST) > 1:
        yield _reason("csr-attribute", "the CSR asks for extensions more than once", "csr.attributes")


def _extension_reasons(
    csr: x509.CertificateSigningRequest, public_key: CertificatePublicKeyTypes
) -> Iterator[Reason]:
    try:
        extensions: Sequence[x509.Extension[x509.ExtensionType]] = list(csr.extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        yield _reason("extension-undecodable", "an extension of the CSR cannot be read", "csr.extensions")
        return
    for extension in extensions:
        yield from _judge_extension(extension.value, extension.oid, public_key)


def _judge_extension(
    value: x509.ExtensionType, oid: x509.ObjectIdentifier, public_key: CertificatePublicKeyTypes
) -> Iterator[Reason]:
    match value:
        case x509.BasicConstraints(ca=False):
            return
        case x509.BasicConstraints():
            yield _reason("extension-ca", "the CSR asks for a CA certificate (CA:TRUE)", "csr.extensions")
        case x509.ExtendedKeyUsage() if list(value) == [ExtendedKeyUsageOID.CLIENT_AUTH]:
            return
        case x509.ExtendedKeyUsage():
            yield _reason(
                "extension-key-usage",
                "the CSR asks for an extended key usage other than clientAuth alone",
                "csr.extensions",
            )
        case x509.KeyUsage():
            if excess := excess_key_usages(value, public_key):
                yield _reason(
                    "extension-key-usage",
                    f"the CSR asks for the key usage {', '.join(excess)}, which such a certificate cannot have",
                    "csr.extensions",
                )
        case _:
            name = _EXTENSION_NAMES.get(oid, oid.dotted_string)
            yield _reason("extension-not-allowed", f"the CSR asks for the extension {name}", "csr.extensions")


def _malformed(code: str, message: str) -> MalformedRequest:
    return MalformedRequest(message, (_reason(code, message, "csr"),))


def _unacceptable(info: _RequestInfo, reasons: Sequence[Reason]) -> UnacceptableRequest:
    subject = describe_subject([rdn.as_list() for rdn in info.subject])
    return UnacceptableRequest("The CSR asks for what this service never signs.", reasons, subject=subject)


def _reason(code: str, message: str, path: str) -> Reason:
    return Reason(code=code, message=message, path=path)
