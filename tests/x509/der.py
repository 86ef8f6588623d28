"""DER, octet by octet (X.690), for what no library agrees to build."""

from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, padding, rsa

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OID, SEQUENCE, SET = 0x01, 0x02, 0x03, 0x04, 0x06, 0x30, 0x31
UTF8, PRINTABLE, TELETEX, IA5, UNIVERSAL, BMP = 0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E
UTC_TIME = 0x17
SHA256 = hashes.SHA256()
NULL = b"\x05\x00"

NAME_OIDS = {
    "CN": "2.5.4.3",
    "C": "2.5.4.6",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "emailAddress": "1.2.840.113549.1.9.1",
    "UID": "0.9.2342.19200300.100.1.1",
    "kubernetesUID": "1.3.6.1.4.1.57683.2",
}

_CHARACTERS = {UTF8: "utf-8", UNIVERSAL: "utf-32-be", BMP: "utf-16-be"}  # all others: an octet each
_RSA_SIGNATURES = {"md5": 4, "sha1": 5, "sha224": 14, "sha256": 11, "sha384": 12, "sha512": 13}  # RFC 8017 A.2.4
_ECDSA_SIGNATURES = {"sha1": "1", "sha224": "3.1", "sha256": "3.2", "sha384": "3.3", "sha512": "3.4"}
_PURE_SIGNATURES = {
    ed25519.Ed25519PrivateKey: "1.3.101.112",
    ed448.Ed448PrivateKey: "1.3.101.113",
    mldsa.MLDSA44PrivateKey: "2.16.840.1.101.3.4.3.17",
}


def tlv(tag: int, *contents: bytes) -> bytes:
    """Encode tag, length and contents (X.690 8.1 and 10.1)."""
    body = b"".join(contents)
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8 or 1, "big")
    return bytes([tag]) + (b"" if len(body) < 128 else bytes([128 + len(length)])) + length + body


def integer(value: int) -> bytes:
    """Encode an INTEGER that is not negative."""
    return tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """Encode an OBJECT IDENTIFIER (X.690 8.19)."""
    first, second, *rest = map(int, dotted.split("."))
    octets: list[int] = []
    for arc in (first * 40 + second, *rest):
        septets = [arc >> shift & 127 for shift in range(0, max(arc.bit_length(), 1), 7)]
        octets += [septet | 128 for septet in septets[:0:-1]] + septets[:1]
    return tlv(OID, bytes(octets))


def bit_string(octets: bytes) -> bytes:
    """Encode a BIT STRING of whole octets."""
    return tlv(BIT_STRING, b"\x00", octets)


def attribute(label: str, value: str | bytes, tag: int = UTF8) -> bytes:
    """Encode one attribute of a name; text is written as its string type has it."""
    octets = value if isinstance(value, bytes) else value.encode(_CHARACTERS.get(tag, "latin-1"))
    return tlv(SEQUENCE, oid(NAME_OIDS.get(label, label)), tlv(tag, octets))


def rdn(*attributes: bytes) -> bytes:
    """Encode a relative distinguished name: a SET, sorted as DER has it."""
    return tlv(SET, *sorted(attributes))


def name(*attributes: tuple[Any, ...]) -> bytes:
    """Encode a name of RDNs with one attribute each: a label, a value and perhaps a string type."""
    return tlv(SEQUENCE, *(rdn(attribute(*each)) for each in attributes))


def extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    """Encode an extension (RFC 5280 4.1)."""
    return tlv(SEQUENCE, oid(dotted), tlv(BOOLEAN, b"\xff") if critical else b"", tlv(OCTET_STRING, value))


def rsa_public_key(modulus: int, exponent: int = 65537, algorithm: str = "1.2.840.113549.1.1.1") -> bytes:
    """Encode the SubjectPublicKeyInfo of an RSA key of any numbers (RFC 3279 2.3.1)."""
    numbers = tlv(SEQUENCE, integer(modulus), integer(exponent))
    return tlv(SEQUENCE, tlv(SEQUENCE, oid(algorithm), NULL), bit_string(numbers))


def signature_algorithm(key: Any, digest: hashes.HashAlgorithm = SHA256) -> bytes:
    """Encode the AlgorithmIdentifier of the signatures that a key makes with a hash."""
    match key:
        case rsa.RSAPrivateKey():
            return tlv(SEQUENCE, oid(f"1.2.840.113549.1.1.{_RSA_SIGNATURES[digest.name]}"), NULL)
        case ec.EllipticCurvePrivateKey():
            return tlv(SEQUENCE, oid(f"1.2.840.10045.4.{_ECDSA_SIGNATURES[digest.name]}"))
        case dsa.DSAPrivateKey():
            return tlv(SEQUENCE, oid("2.16.840.1.101.3.4.3.2"))
        case _:
            return tlv(
                SEQUENCE, oid(next(_PURE_SIGNATURES[kind] for kind in _PURE_SIGNATURES if isinstance(key, kind)))
            )


def signature(key: Any, digest: hashes.HashAlgorithm, message: bytes) -> bytes:
    """Sign as `signature_algorithm` says."""
    match key:
        case rsa.RSAPrivateKey():
            return key.sign(message, padding.PKCS1v15(), digest)
        case ec.EllipticCurvePrivateKey():
            return key.sign(message, ec.ECDSA(digest))
        case dsa.DSAPrivateKey():
            return key.sign(message, digest)
        case _:
            return key.sign(message)


def signed(
    to_be_signed: bytes, key: Any, digest: hashes.HashAlgorithm | None = None, algorithm: bytes | None = None
) -> bytes:
    """Sign a part and put the three together, as certificates and CSRs have it; the algorithm may be a lie."""
    chosen = digest or SHA256
    octets = signature(key, chosen, to_be_signed)
    return tlv(SEQUENCE, to_be_signed, algorithm or signature_algorithm(key, chosen), bit_string(octets))


def flip_last_bit(octets: bytes) -> bytes:
    """Change the last bit, which is one of the signature."""
    return octets[:-1] + bytes([octets[-1] ^ 1])


def tamper(octets: bytes, old: bytes, new: bytes) -> bytes:
    """Replace octets that are there exactly once, by as many."""
    assert octets.count(old) == 1
    assert len(old) == len(new)
    return octets.replace(old, new)


def indefinite_length(der: bytes) -> bytes:
    """Write the outermost SEQUENCE as BER may and DER may not (X.690 8.1.3.6)."""
    header = 2 + (der[1] & 127 if der[1] & 128 else 0)
    return b"\x30\x80" + der[header:] + b"\x00\x00"


def long_length(der: bytes) -> bytes:
    """Write the length of the outermost SEQUENCE with an octet too many (X.690 10.1)."""
    header = 2 + (der[1] & 127 if der[1] & 128 else 0)
    return b"\x30\x84" + len(der[header:]).to_bytes(4, "big") + der[header:]
