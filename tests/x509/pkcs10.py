"""Building PKCS#10 requests (RFC 2986): as careful clients do, and as nobody should."""

import base64
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, padding, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from x509 import der
from x509.der import SEQUENCE, SET, extension, name, tlv

KEY_TYPES = ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096")

_ATTRIBUTES = 0xA0  # CertificationRequestInfo, [0] IMPLICIT (RFC 2986 4.1)
_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_GENERATORS: dict[str, Callable[[], Any]] = {
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ecdsa-p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ecdsa-p224": lambda: ec.generate_private_key(ec.SECP224R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
    "x25519": x25519.X25519PrivateKey.generate,
    "ml-dsa-44": mldsa.MLDSA44PrivateKey.generate,
    "dsa": lambda: dsa.generate_private_key(1024),
    "exponent-3": lambda: rsa.generate_private_key(3, 2048),
}


@cache
def private_key(key_type: str, owner: str = "client") -> Any:
    """Make a key; the same owner gets the same one when it asks again."""
    if key_type in _GENERATORS:
        return _GENERATORS[key_type]()
    return rsa.generate_private_key(65537, int(key_type.removeprefix("rsa-")))


def spki(key: Any) -> bytes:
    """Give the SubjectPublicKeyInfo of a private key."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def pem(octets: bytes, label: str = "CERTIFICATE REQUEST") -> bytes:
    """Wrap octets as RFC 7468 has it."""
    body, words = base64.encodebytes(octets), label.encode()
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (words, body, words)


def good_csr(
    key: Any = None,
    user: str = "jane",
    groups: Iterable[str] = ("developers",),
    extensions: Iterable[x509.ExtensionType] = (),
) -> bytes:
    """Make a CSR in DER as a careful client does."""
    key = key or private_key("ecdsa-p256")
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    names.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    for wanted in extensions:
        builder = builder.add_extension(wanted, critical=False)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.DER)


def raw_csr(
    subject: bytes | None = None,
    *,
    key: Any = None,
    public_key: bytes | None = None,
    attributes: Iterable[bytes] = (),
    version: int = 0,
    signer: Any = None,
    digest: hashes.HashAlgorithm | None = None,
    algorithm: bytes | None = None,
) -> bytes:
    """Put a CSR together in DER; it is signed with the key in it, unless another is the signer."""
    key = key or private_key("ecdsa-p256")
    info = tlv(
        SEQUENCE,
        der.integer(version),
        name(("CN", "jane")) if subject is None else subject,
        public_key or spki(key),
        tlv(_ATTRIBUTES, *sorted(attributes)),
    )
    return der.signed(info, signer or key, digest, algorithm)


def csr_attribute(dotted: str, *values: bytes) -> bytes:
    """Encode an attribute of a CSR (RFC 2986 4.1)."""
    return tlv(SEQUENCE, der.oid(dotted), tlv(SET, *values))


def extension_request(*extensions: bytes) -> bytes:
    """Encode the attribute that asks for extensions (RFC 2985 5.4.2)."""
    return csr_attribute(_EXTENSION_REQUEST, tlv(SEQUENCE, *extensions))


def asking(*extensions: bytes | x509.ExtensionType, key: Any = None) -> bytes:
    """Make a CSR that asks for extensions, given as values or in DER."""
    encoded = [each if isinstance(each, bytes) else encoded_extension(each) for each in extensions]
    return raw_csr(key=key, attributes=[extension_request(*encoded)])


def encoded_extension(value: x509.ExtensionType) -> bytes:
    """Encode an extension that the cryptography package knows; it is not critical."""
    return extension(value.oid.dotted_string, value.public_bytes())


def key_usage(*usages: str) -> x509.KeyUsage:
    """Make a key usage of the names that the cryptography package gives them."""
    return x509.KeyUsage(**{usage: usage in usages for usage in _USAGES})


def extended_key_usage(*usages: str) -> x509.ExtendedKeyUsage:
    """Make an extended key usage of the names that the cryptography package gives them."""
    return x509.ExtendedKeyUsage([getattr(ExtendedKeyUsageOID, usage.upper()) for usage in usages])


def signed_with_pss() -> bytes:
    """Make a CSR with an RSASSA-PSS signature (RFC 4055 3), as openssl does with `-sigopt`."""
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    )
    return builder.sign(private_key("rsa-2048"), hashes.SHA256(), rsa_padding=pss).public_bytes(Encoding.DER)
