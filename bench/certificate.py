"""The certificate that both sides are asked for, and the proof that both sides gave it."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from bench.errors import BenchError

USER = "jane"
GROUPS = ("developers", "team-a")
LIFETIME = timedelta(hours=1)
LIFETIME_TOLERANCE = timedelta(minutes=1)
WANTED: dict[str, object] = {
    "user": [USER],
    "groups": set(GROUPS),
    "attributes": 1 + len(GROUPS),
    "curve of the CA": ec.SECP256R1.name,
    "extensions": {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    },
    "usage": [ExtendedKeyUsageOID.CLIENT_AUTH],
    "CA:TRUE": False,
    "lifetime as asked for": True,
}


def new_csr() -> str:
    """Return a CSR (PEM) for the user and groups, with a P-256 key made now and forgotten."""
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in GROUPS]
    subject = x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, USER)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    csr = builder.sign(ec.generate_private_key(ec.SECP256R1()), SHA256())
    return csr.public_bytes(Encoding.PEM).decode()


def check(certificate_pem: str, ca_pem: str, csr_pem: str) -> None:
    """Raise BenchError unless the certificate is the one that was asked for, signed by a P-256 CA."""
    ca = x509.load_pem_x509_certificate(ca_pem.encode())
    found = _traits(x509.load_pem_x509_certificate(certificate_pem.encode()), ca)
    wanted = WANTED | {"public key": x509.load_pem_x509_csr(csr_pem.encode()).public_key()}
    different = {trait: found[trait] for trait in wanted if found[trait] != wanted[trait]}
    if different:
        raise BenchError(f"not the certificate that was asked for: {different}")


def _traits(certificate: x509.Certificate, ca: x509.Certificate) -> dict[str, object]:
    certificate.verify_directly_issued_by(ca)
    subject, extensions = certificate.subject, certificate.extensions
    remaining = certificate.not_valid_after_utc - datetime.now(UTC)
    return {
        "user": [name.value for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)],
        # As a set: one side writes the groups into one multi-valued RDN, which DER sorts.
        "groups": {name.value for name in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)},
        "attributes": len(list(subject)),
        "public key": certificate.public_key(),
        "curve of the CA": _curve(ca),
        "extensions": {extension.oid for extension in extensions},
        "usage": list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value),
        "CA:TRUE": extensions.get_extension_for_class(x509.BasicConstraints).value.ca,
        "lifetime as asked for": abs(remaining - LIFETIME) < LIFETIME_TOLERANCE,
    }


def _curve(certificate: x509.Certificate) -> str | None:
    key = certificate.public_key()
    return key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else None
