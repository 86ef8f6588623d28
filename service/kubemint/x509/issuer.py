"""Our CA: its certificate, its key, and the facts that bound every certificate it signs.

An issuer is checked once, at start. What must never sign client certificates is refused by name:
a front-proxy CA (its certificates may impersonate anyone) and etcd's CA (its certificates are root
in etcd).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from kubemint.x509.keys import judge_key

SignatureHash = hashes.SHA256 | hashes.SHA384 | None

_ALGORITHM_IDENTIFIERS: Final = {
    SignatureAlgorithmOID.RSA_WITH_SHA256: bytes.fromhex("300d06092a864886f70d01010b0500"),
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: bytes.fromhex("300a06082a8648ce3d040302"),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: bytes.fromhex("300a06082a8648ce3d040303"),
    SignatureAlgorithmOID.ED25519: bytes.fromhex("300506032b6570"),
}
# The names that kubeadm, k3s and RKE2 give to the CAs that must stay apart.
_FOREIGN_CA_NAMES: Final = {
    re.compile(r"front-proxy|request-?header|aggregat", re.IGNORECASE): "the API server's front proxy",
    re.compile(r"etcd", re.IGNORECASE): "etcd",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerLimits:
    """What a decision must know of the issuer: no certificate begins before it, outlives it or has its key."""

    not_before: datetime
    not_after: datetime
    spki_der: bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Issuer:
    """A CA that signs.

    `chain` is what a holder sends after its own certificate, nearest issuer first: empty where the
    issuer is a self-signed root. `trust_bundle` is what verifiers must trust.
    """

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    trust_bundle: tuple[x509.Certificate, ...]
    file_order: tuple[x509.Certificate, ...]
    key: CertificateIssuerPrivateKeyTypes

    @cached_property
    def limits(self) -> IssuerLimits:
        """The bounds that this issuer sets to every decision."""
        return IssuerLimits(
            not_before=self.certificate.not_valid_before_utc,
            not_after=self.certificate.not_valid_after_utc,
            spki_der=_spki(self.certificate),
        )

    @cached_property
    def signature_hash(self) -> SignatureHash:
        """The hash that fits the key's strength; None where the algorithm brings its own (RFC 8410)."""
        match self.key:
            case ed25519.Ed25519PrivateKey():
                return None
            case ec.EllipticCurvePrivateKey() if self.key.curve.name == "secp384r1":
                return hashes.SHA384()
            case _:
                return hashes.SHA256()

    @cached_property
    def signature_algorithm(self) -> x509.ObjectIdentifier:
        """The algorithm that its certificates name (RFC 5280 4.1.1.2)."""
        match self.key, self.signature_hash:
            case ed25519.Ed25519PrivateKey(), _:
                return SignatureAlgorithmOID.ED25519
            case ec.EllipticCurvePrivateKey(), hashes.SHA384():
                return SignatureAlgorithmOID.ECDSA_WITH_SHA384
            case ec.EllipticCurvePrivateKey(), _:
                return SignatureAlgorithmOID.ECDSA_WITH_SHA256
            case _:
                return SignatureAlgorithmOID.RSA_WITH_SHA256

    @cached_property
    def signature_algorithm_der(self) -> bytes:
        """The AlgorithmIdentifier of its signatures: RSA's with NULL (RFC 4055 5), others' without parameters."""
        return _ALGORITHM_IDENTIFIERS[self.signature_algorithm]

    @cached_property
    def public_key(self) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey:
        """The public key in the certificate."""
        return _issuer_public_key(self.certificate)

    def sign(self, octets: bytes) -> bytes:
        """Sign with the key; raises whatever the key raises."""
        match self.key, self.signature_hash:
            case rsa.RSAPrivateKey() as key, algorithm if algorithm is not None:
                return key.sign(octets, padding.PKCS1v15(), algorithm)
            case ec.EllipticCurvePrivateKey() as key, algorithm if algorithm is not None:
                return key.sign(octets, ec.ECDSA(algorithm))
            case ed25519.Ed25519PrivateKey() as key, _:
                return key.sign(octets)
            case _:
                raise TypeError(f"{type(self.key).__name__} is no key for certificates")

    def verify(self, signature: bytes, octets: bytes) -> None:
        """Check a signature of this issuer, made with its `signature_hash`.

        Raises:
            InvalidSignature: it is not.
        """
        match self.public_key, self.signature_hash:
            case rsa.RSAPublicKey() as key, algorithm if algorithm is not None:
                key.verify(signature, octets, padding.PKCS1v15(), algorithm)
            case ec.EllipticCurvePublicKey() as key, algorithm if algorithm is not None:
                key.verify(signature, octets, ec.ECDSA(algorithm))
            case ed25519.Ed25519PublicKey() as key, _:
                key.verify(signature, octets)
            case _:
                raise InvalidSignature

    @cached_property
    def subject_der(self) -> bytes:
        """The issuer's name as every certificate of it must carry it."""
        return self.certificate.subject.public_bytes()

    @cached_property
    def authority_key_identifier(self) -> x509.AuthorityKeyIdentifier:
        """The AKI of all it signs: the issuer's own SKI, as the issuer wrote it (RFC 5280 4.2.1.1)."""
        try:
            ski = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(_issuer_public_key(self.certificate))
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)


def issuer_from(certificates: tuple[x509.Certificate, ...], key: CertificateIssuerPrivateKeyTypes) -> Issuer:
    """Put an issuer together from its certificate file: its own certificate first, then those above it."""
    roots = tuple(certificate for certificate in certificates if certificate.subject == certificate.issuer)
    return Issuer(
        certificate=certificates[0],
        chain=tuple(certificate for certificate in certificates if certificate not in roots),
        trust_bundle=roots or certificates[-1:],
        file_order=certificates,
        key=key,
    )


def issuer_problems(issuer: Issuer, now: datetime) -> Iterator[str]:
    """Yield every fact that forbids a start with this issuer."""
    certificate = issuer.certificate
    if _spki(certificate) != issuer.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        yield "the key does not belong to the certificate"
    _, reasons = judge_key(_issuer_public_key(certificate))
    yield from (reason.message for reason in reasons)
    for authority in issuer.file_order:
        if now > authority.not_valid_after_utc:
            yield f"the certificate expired at {authority.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        if now < authority.not_valid_before_utc:
            yield f"the certificate is not valid before {authority.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"
    for authority in issuer.file_order:
        yield from _authority_problems(authority)
        yield from _purpose_problems(authority)
    yield from _foreign_problems(certificate)
    yield from _chain_problems(issuer)


def _authority_problems(certificate: x509.Certificate) -> Iterator[str]:
    extensions = certificate.extensions
    try:
        if not extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            yield "the certificate is not a CA (basicConstraints CA:FALSE)"
    except x509.ExtensionNotFound:
        yield "the certificate is not a CA (no basicConstraints)"
    try:
        if not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            yield "the certificate may not sign certificates (no keyCertSign in its key usage)"
    except x509.ExtensionNotFound:
        return  # RFC 5280 4.2.1.3: without the extension, any usage


def _purpose_problems(certificate: x509.Certificate) -> Iterator[str]:
    """An EKU on a CA bounds what it may issue, for Go as for OpenSSL: without clientAuth, no leaf is accepted."""
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(purposes):
        yield f"{_name(certificate)} may not stand above client certificates (its extended key usage)"


def _foreign_problems(certificate: x509.Certificate) -> Iterator[str]:
    names = [str(name.value) for name in certificate.subject]
    for pattern, owner in _FOREIGN_CA_NAMES.items():
        for name in filter(pattern.search, names):
            yield f"the CA {name!r} is that of {owner}, which must not sign client certificates"


def _chain_problems(issuer: Issuer) -> Iterator[str]:
    for child, parent in pairwise(issuer.file_order):
        try:
            child.verify_directly_issued_by(parent)
        except (ValueError, TypeError, InvalidSignature):
            yield f"the certificate file is not a chain: {_name(child)} is not issued by {_name(parent)}"


def _issuer_public_key(
    certificate: x509.Certificate,
) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey:
    return certificate.public_key()  # type: ignore[return-value]  # other kinds are refused by judge_key


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()
