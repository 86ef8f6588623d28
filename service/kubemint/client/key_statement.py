"""What a private key says of itself: a CSR that asks for nothing but that this key counts no more."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from kubemint.documents import read_file
from kubemint.errors import ConfigurationError
from kubemint.key_revocation import KEY_STATEMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStatement:
    """The statement, PEM, and which key it is about: the hex digest of its SubjectPublicKeyInfo."""

    csr_pem: str
    public_key_sha256: str


def sign_key_statement(key_file: Path, passphrase_file: Path | None) -> KeyStatement:
    """Sign with the key in a PEM file, which is open for so long; the passphrase is its file's first line.

    Raises:
        ConfigurationError: a file cannot be read, or holds no key that could have been certified.
    """
    key = _load(key_file, passphrase_file)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, KEY_STATEMENT)])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, algorithm)
    spki_der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return KeyStatement(
        csr_pem=csr.public_bytes(Encoding.PEM).decode("ascii"),
        public_key_sha256=hashlib.sha256(spki_der).hexdigest(),
    )


def _load(
    key_file: Path, passphrase_file: Path | None
) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    passphrase = None
    if passphrase_file is not None:
        passphrase = read_file(passphrase_file).split(b"\n", 1)[0].rstrip(b"\r")
    pem = read_file(key_file)
    try:
        key = load_pem_private_key(pem, passphrase or None)
    except TypeError:
        wrong = "is not encrypted: leave out --passphrase-file" if passphrase else "needs --passphrase-file"
        raise ConfigurationError(str(key_file), [f"the key {wrong}"]) from None
    except (ValueError, UnsupportedAlgorithm):
        hint = ", or the passphrase is wrong" if passphrase else ""
        raise ConfigurationError(str(key_file), [f"holds no private key in PEM that can be read{hint}"]) from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise ConfigurationError(str(key_file), ["the key is neither RSA, ECDSA nor Ed25519"])
    return key
