"""CSRs, and questions about status, the same at every run: each user's key is made of the user's name."""

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID


def csr_pem(user: str = "jane", *groups: str, unit: str | None = None, key_of: str | None = None) -> str:
    """Make a CSR for a user in groups; `unit` adds an OU, which is never signed, `key_of` names another's key."""
    return _csr(user, groups, unit, key_of).public_bytes(Encoding.PEM).decode()


def csr_der(user: str = "jane", *groups: str) -> bytes:
    """Make the same in DER."""
    return _csr(user, groups, None, None).public_bytes(Encoding.DER)


def status_request_der(serial_number: int) -> bytes:
    """Ask by OCSP about a certificate of a CA that nobody has."""
    nobody = hashlib.sha256(b"nobody").digest()
    request = ocsp.OCSPRequestBuilder().add_certificate_by_hash(nobody, nobody, serial_number, hashes.SHA256())
    return request.build().public_bytes(Encoding.DER)


def key_pem(user: str = "jane") -> str:
    """Give a private key in PEM, which has no place in a request."""
    return _key_of(user).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _csr(
    user: str, groups: tuple[str, ...], unit: str | None, key_of: str | None
) -> x509.CertificateSigningRequest:
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    if unit is not None:
        names.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    names.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    return request.sign(_key_of(key_of or user), None)


def _key_of(user: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(user.encode()).digest())
