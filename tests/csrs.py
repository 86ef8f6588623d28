"""CSRs to try a reader with: the good, and those that nobody should sign.

`good_csr` is made by the cryptography package. What that package refuses to build is put together
here in DER, octet by octet (`raw_csr`), with a signature that holds unless the point is that it does
not. `BAD_CSRS` names each bad one, with the codes of all the reasons that must be given against it.
Every key is made at run time.
"""

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, padding, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moduli import giant_modulus, modulus_of_close_primes, patterned_modulus, roca_modulus, small_factor_modulus

SEQUENCE, SET, BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OID = 0x30, 0x31, 0x01, 0x02, 0x03, 0x04, 0x06
UTF8, PRINTABLE, TELETEX, IA5, UNIVERSAL, BMP = 0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E
NULL = b"\x05\x00"
ATTRIBUTES = 0xA0  # CertificationRequestInfo, [0] IMPLICIT (RFC 2986 4.1)

EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"
NAME_OIDS = {
    "CN": "2.5.4.3",
    "C": "2.5.4.6",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "emailAddress": "1.2.840.113549.1.9.1",
    "UID": "0.9.2342.19200300.100.1.1",
    "kubernetesUID": "1.3.6.1.4.1.57683.2",
}
KEY_TYPES = ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096")

_CHARACTERS = {UTF8: "utf-8", UNIVERSAL: "utf-32-be", BMP: "utf-16-be"}  # all others: an octet each
_RSA_SIGNATURES = {"md5": 4, "sha1": 5, "sha224": 14, "sha256": 11, "sha384": 12, "sha512": 13}  # RFC 8017 A.2.4
_ECDSA_SIGNATURES = {"sha1": "1", "sha224": "3.1", "sha256": "3.2", "sha384": "3.3", "sha512": "3.4"}
_KEYS: dict[str, Callable[[], Any]] = {
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
    if key_type in _KEYS:
        return _KEYS[key_type]()
    return rsa.generate_private_key(65537, int(key_type.removeprefix("rsa-")))


def spki(key: Any) -> bytes:
    """Give the SubjectPublicKeyInfo of a private key."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def pem(octets: bytes, label: str = "CERTIFICATE REQUEST") -> bytes:
    """Wrap octets as RFC 7468 has it."""
    body, name = base64.encodebytes(octets), label.encode()
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (name, body, name)


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
) -> bytes:
    """Put a CSR together in DER; it is signed with the key in it, unless another is the signer."""
    key = key or private_key("ecdsa-p256")
    info = tlv(
        SEQUENCE,
        integer(version),
        name(("CN", "jane")) if subject is None else subject,
        public_key or spki(key),
        tlv(ATTRIBUTES, *sorted(attributes)),
    )
    algorithm, signature = _sign(signer or key, info, digest or hashes.SHA256())
    return tlv(SEQUENCE, info, algorithm, tlv(BIT_STRING, b"\x00", signature))


def tlv(tag: int, *contents: bytes) -> bytes:
    """Encode tag, length and contents in DER (X.690 8.1, 10.1)."""
    body = b"".join(contents)
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8 or 1, "big")
    return bytes([tag]) + (b"" if len(body) < 128 else bytes([128 + len(length)])) + length + body


def integer(value: int) -> bytes:
    """Encode an INTEGER that is not negative."""
    return tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """Encode an OBJECT IDENTIFIER (X.690 8.19)."""
    first, second, *rest = map(int, dotted.split("."))
    octets = []
    for arc in (first * 40 + second, *rest):
        septets = [arc >> shift & 127 for shift in range(0, max(arc.bit_length(), 1), 7)]
        octets += [septet | 128 for septet in septets[:0:-1]] + septets[:1]
    return tlv(OID, bytes(octets))


def attribute(label: str, value: str | bytes, tag: int = UTF8) -> bytes:
    """Encode one attribute of a name; text is written as its string type has it."""
    octets = value if isinstance(value, bytes) else value.encode(_CHARACTERS.get(tag, "latin-1"))
    return tlv(SEQUENCE, oid(NAME_OIDS.get(label, label)), tlv(tag, octets))


def rdn(*attributes: bytes) -> bytes:
    """Encode a relative distinguished name: a SET, sorted as DER has it."""
    return tlv(SET, *sorted(attributes))


def name(*attributes: tuple[Any, ...]) -> bytes:
    """Encode a name of RDNs with one attribute each."""
    return tlv(SEQUENCE, *(rdn(attribute(*each)) for each in attributes))


def extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    """Encode an extension."""
    return tlv(SEQUENCE, oid(dotted), tlv(BOOLEAN, b"\xff") if critical else b"", tlv(OCTET_STRING, value))


def extension_request(*extensions: bytes) -> bytes:
    """Encode the CSR attribute that asks for extensions (RFC 2985 5.4.2)."""
    return tlv(SEQUENCE, oid(EXTENSION_REQUEST), tlv(SET, tlv(SEQUENCE, *extensions)))


def known_extension(value: x509.ExtensionType, *, critical: bool = False) -> bytes:
    """Encode an extension that the cryptography package knows."""
    return extension(value.oid.dotted_string, value.public_bytes(), critical=critical)


def asking(*values: x509.ExtensionType, key: Any = None) -> bytes:
    """Make a CSR that asks for extensions."""
    return raw_csr(key=key, attributes=[extension_request(*map(known_extension, values))])


def rsa_spki(modulus: int, exponent: int = 65537, algorithm: str = "1.2.840.113549.1.1.1") -> bytes:
    """Encode an RSA public key of any numbers."""
    numbers = tlv(SEQUENCE, integer(modulus), integer(exponent))
    return tlv(SEQUENCE, tlv(SEQUENCE, oid(algorithm), NULL), tlv(BIT_STRING, b"\x00", numbers))


def key_usage(*usages: str) -> x509.KeyUsage:
    """Make a key usage of the names that the cryptography package gives them."""
    known = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
    return x509.KeyUsage(
        **{usage: usage in usages for usage in f"{known} crl_sign encipher_only decipher_only".split()}
    )


def extended_key_usage(*usages: str) -> x509.ExtendedKeyUsage:
    """Make an extended key usage of the names that the cryptography package gives them."""
    return x509.ExtendedKeyUsage([getattr(ExtendedKeyUsageOID, usage.upper()) for usage in usages])


def tamper(csr_der: bytes, old: bytes, new: bytes) -> bytes:
    """Replace octets that are there exactly once, by as many."""
    assert csr_der.count(old) == 1
    assert len(old) == len(new)
    return csr_der.replace(old, new)


def flip_last_bit(octets: bytes) -> bytes:
    """Change the last bit: of a CSR or certificate, that is in the signature."""
    return octets[:-1] + bytes([octets[-1] ^ 1])


def indefinite_length(csr_der: bytes) -> bytes:
    """Write the outermost SEQUENCE as BER may and DER may not (X.690 8.1.3.6)."""
    header = 2 + (csr_der[1] & 127 if csr_der[1] & 128 else 0)
    return b"\x30\x80" + csr_der[header:] + b"\x00\x00"


def signed_with_pss() -> bytes:
    """Make a CSR with an RSASSA-PSS signature (RFC 4055 3), which openssl makes with `-sigopt`."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(private_key("rsa-2048"), hashes.SHA256(), rsa_padding=pss).public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True, kw_only=True)
class BadCsr:
    """A CSR in DER that must be refused for all these reasons; `malformed` if it is no CSR at all."""

    name: str
    build: Callable[[], bytes]
    codes: frozenset[str]
    malformed: bool = False


def _sign(key: Any, message: bytes, digest: hashes.HashAlgorithm) -> tuple[bytes, bytes]:
    """Give the AlgorithmIdentifier and the signature."""
    match key:
        case rsa.RSAPrivateKey():
            algorithm = oid(f"1.2.840.113549.1.1.{_RSA_SIGNATURES[digest.name]}") + NULL
            return tlv(SEQUENCE, algorithm), key.sign(message, padding.PKCS1v15(), digest)
        case ec.EllipticCurvePrivateKey():
            algorithm = oid(f"1.2.840.10045.4.{_ECDSA_SIGNATURES[digest.name]}")
            return tlv(SEQUENCE, algorithm), key.sign(message, ec.ECDSA(digest))
        case dsa.DSAPrivateKey():
            return tlv(SEQUENCE, oid("2.16.840.1.101.3.4.3.2")), key.sign(message, digest)
        case _:
            pure = {ed25519.Ed25519PrivateKey: "1.3.101.112", ed448.Ed448PrivateKey: "1.3.101.113"}
            dotted = next((pure[kind] for kind in pure if isinstance(key, kind)), "2.16.840.1.101.3.4.3.17")
            return tlv(SEQUENCE, oid(dotted)), key.sign(message)
