"""CSRs to try a reader with: the good, and those that nobody should sign.

`good_csr` is made by the cryptography package. What that package refuses to build is put together in
DER by `raw_csr`, with a signature that holds unless the point is that it does not. `BAD_CSRS` names
each bad one with the codes of all the reasons that must be given against it. Keys are made at run time.
"""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from x509 import der, moduli
from x509.der import SEQUENCE, SET, attribute, extension, name, rdn, tlv
from x509.pkcs10 import (
    KEY_TYPES,
    asking,
    csr_attribute,
    extended_key_usage,
    extension_request,
    good_csr,
    key_usage,
    pem,
    private_key,
    raw_csr,
    signed_with_pss,
    spki,
)

__all__ = (
    "BAD_CSRS",
    "KEY_TYPES",
    "BadCsr",
    "asking",
    "bad_csr",
    "extended_key_usage",
    "good_csr",
    "key_usage",
    "pem",
    "private_key",
    "raw_csr",
    "signed_with_pss",
    "spki",
)

_PRIVATE_OID = "1.3.6.1.4.1.57683.999"  # what nobody knows
_SHOWN_AS_NOTHING = "\u115f\u3164\uffa0\u2800\u034f\u180b\ufe0f\U000e0100"  # Default_Ignorable, and blank Braille
_RSASSA_PSS = "1.2.840.113549.1.1.10"
_CA_FALSE = extension("2.5.29.19", tlv(SEQUENCE))


@dataclass(frozen=True, slots=True, kw_only=True)
class BadCsr:
    """A CSR in DER that must be refused for all these reasons; `malformed` if it is no CSR at all."""

    name: str
    build: Callable[[], bytes]
    codes: frozenset[str]
    malformed: bool = False


def _common_name(value: str | bytes, tag: int = der.UTF8) -> bytes:
    return name(("CN", value, tag))


def _group(value: str | bytes, tag: int = der.UTF8) -> bytes:
    return name(("O", value, tag), ("CN", "jane"))


_SUBJECTS: dict[str, tuple[bytes, str]] = {
    "subject is empty": (name(), "common-name-missing"),
    "no CN": (name(("O", "developers")), "common-name-missing"),
    "two CNs": (name(("CN", "jane"), ("CN", "eve")), "common-name-repeated"),
    "the same CN twice": (name(("CN", "jane"), ("CN", "jane")), "common-name-repeated"),
    "empty CN": (_common_name(""), "name-empty"),
    "empty O": (_group(""), "name-empty"),
    "CN of 65 characters": (_common_name("j" * 65), "name-too-long"),
    "O of 65 characters": (_group("o" * 65), "name-too-long"),
    "CN of 66 octets in 33 characters": (_common_name("ö" * 33), "name-too-long"),
    "O of 66 octets in 33 characters": (_group("ö" * 33), "name-too-long"),
    "CN of 65 octets in 17 characters": (_common_name("j" + "\U0001f512" * 16), "name-too-long"),
    "CN as TeletexString": (_common_name("jane", der.TELETEX), "name-string-type"),
    "CN as IA5String": (_common_name("jane", der.IA5), "name-string-type"),
    "CN as UniversalString": (_common_name("jane", der.UNIVERSAL), "name-string-type"),
    "CN as BMPString": (_common_name("jane", der.BMP), "name-string-type"),
    "CN as OCTET STRING": (_common_name(b"jane", der.OCTET_STRING), "name-string-type"),
    "O as TeletexString": (_group("developers", der.TELETEX), "name-string-type"),
    "O as BMPString": (_group("developers", der.BMP), "name-string-type"),
    "CN is not UTF-8": (_common_name(b"jan\xe9"), "name-encoding"),
    "CN is overlong UTF-8": (_common_name(b"jan\xc1\xa5"), "name-encoding"),
    "CN is a surrogate in UTF-8": (_common_name(b"jan\xed\xa0\x80"), "name-encoding"),
    "NUL in CN": (_common_name("jane\0eve"), "name-invisible-character"),
    "NUL in O": (_group("system:masters\0"), "name-invisible-character"),
    "line feed in CN": (_common_name("jane\neve"), "name-invisible-character"),
    "escape in CN": (_common_name("jane\x1b[2J"), "name-invisible-character"),
    "C1 control in CN": (_common_name("jane\x85eve"), "name-invisible-character"),
    "bidi override in CN": (_common_name("jane\u202eeve"), "name-invisible-character"),
    "bidi isolate in O": (_group("dev\u2066ops"), "name-invisible-character"),
    "zero-width space in CN": (_common_name("ja\u200bne"), "name-invisible-character"),
    "zero-width joiner in O": (_group("system:masters\u200d"), "name-invisible-character"),
    "soft hyphen in CN": (_common_name("ja\u00adne"), "name-invisible-character"),
    "byte order mark in CN": (_common_name("\ufeffjane"), "name-invisible-character"),
    "tag character in CN": (_common_name("jane\U000e0061"), "name-invisible-character"),
    "private-use character in CN": (_common_name("jane\ue000"), "name-invisible-character"),
    "no-break space in CN": (_common_name("jane\u00a0doe"), "name-invisible-character"),
    "line separator in CN": (_common_name("jane\u2028doe"), "name-invisible-character"),
    **{
        f"{unicodedata.name(character)} in CN": (_common_name(f"ja{character}ne"), "name-invisible-character")
        for character in _SHOWN_AS_NOTHING
    },
    "HANGUL FILLER alone": (_common_name("\u3164"), "name-invisible-character"),
    "VARIATION SELECTOR-16 in O": (_group("system:masters\ufe0f"), "name-invisible-character"),
    "space before CN": (_common_name(" jane"), "name-surrounding-space"),
    "space after CN": (_common_name("jane "), "name-surrounding-space"),
    "space before O": (_group(" system:masters"), "name-surrounding-space"),
    "CN is a space": (_common_name(" "), "name-surrounding-space"),
    "tab after CN": (_common_name("jane\t"), "name-surrounding-space name-invisible-character"),
    "CN is not NFC": (_common_name("jane\u0301"), "name-not-normalized"),
    "a hundred and twenty-nine groups": (
        name(*(("O", f"group-{number}") for number in range(129)), ("CN", "jane")),
        "groups-too-many",
    ),
    "group twice": (name(("O", "a"), ("O", "a"), ("CN", "jane")), "group-repeated"),
    "O+O in one RDN": (
        tlv(SEQUENCE, rdn(attribute("O", "a"), attribute("O", "b")), rdn(attribute("CN", "jane"))),
        "rdn-multi-valued",
    ),
    "O+CN in one RDN": (
        tlv(SEQUENCE, rdn(attribute("O", "a"), attribute("CN", "eve")), rdn(attribute("CN", "jane"))),
        "rdn-multi-valued",
    ),
    "RDN without a value": (tlv(SEQUENCE, tlv(SET), rdn(attribute("CN", "jane"))), "rdn-multi-valued"),
    "user id (UID)": (name(("UID", "1000"), ("CN", "jane")), "attribute-not-allowed"),
    "Kubernetes' user UID": (name(("CN", "jane"), ("kubernetesUID", "1000")), "attribute-not-allowed"),
    "OU": (name(("OU", "system:masters"), ("CN", "jane")), "attribute-not-allowed"),
    "country": (name(("C", "DE", der.PRINTABLE), ("CN", "jane")), "attribute-not-allowed"),
    "emailAddress": (name(("CN", "jane"), ("emailAddress", "j@acme", der.IA5)), "attribute-not-allowed"),
    "name attribute that nobody knows": (name(("CN", "jane"), (_PRIVATE_OID, "x")), "attribute-not-allowed"),
}

_EXTENSIONS: dict[str, tuple[Callable[[], bytes], str]] = {
    "CA:TRUE": (lambda: asking(x509.BasicConstraints(ca=True, path_length=None)), "extension-ca"),
    "CA:TRUE with pathlen": (lambda: asking(x509.BasicConstraints(ca=True, path_length=0)), "extension-ca"),
    "CA:FALSE with pathlen": (
        lambda: asking(extension("2.5.29.19", tlv(SEQUENCE, der.integer(0)))),
        "extension-undecodable",
    ),
    "SAN": (
        lambda: asking(x509.SubjectAlternativeName([x509.DNSName("kubernetes.default.svc")])),
        "extension-not-allowed",
    ),
    "SAN of a kind that nobody knows": (
        lambda: asking(extension("2.5.29.17", tlv(SEQUENCE, tlv(0xA3, tlv(SEQUENCE))))),
        "extension-undecodable",
    ),
    "SKI": (lambda: asking(x509.SubjectKeyIdentifier(bytes(20))), "extension-not-allowed"),
    "unknown extension": (lambda: asking(extension(_PRIVATE_OID, der.NULL)), "extension-not-allowed"),
    "unknown extension, critical": (
        lambda: asking(extension(_PRIVATE_OID, der.NULL, critical=True)),
        "extension-not-allowed",
    ),
    "the same extension twice": (
        lambda: asking(extended_key_usage("client_auth"), extended_key_usage("client_auth")),
        "extension-undecodable",
    ),
    "extension that cannot be read": (
        lambda: asking(extension("2.5.29.15", b"\x30\x00")),
        "extension-undecodable",
    ),
    "EKU serverAuth": (lambda: asking(extended_key_usage("server_auth")), "extension-key-usage"),
    "EKU clientAuth and serverAuth": (
        lambda: asking(extended_key_usage("client_auth", "server_auth")),
        "extension-key-usage",
    ),
    "EKU any": (lambda: asking(extended_key_usage("any_extended_key_usage")), "extension-key-usage"),
    "EKU clientAuth and any": (
        lambda: asking(extended_key_usage("client_auth", "any_extended_key_usage")),
        "extension-key-usage",
    ),
    "EC key with keyEncipherment": (
        lambda: asking(key_usage("digital_signature", "key_encipherment")),
        "extension-key-usage",
    ),
    "Ed25519 key with keyEncipherment": (
        lambda: asking(key_usage("digital_signature", "key_encipherment"), key=private_key("ed25519")),
        "extension-key-usage",
    ),
    "RSA key with dataEncipherment": (
        lambda: asking(key_usage("digital_signature", "data_encipherment"), key=private_key("rsa-2048")),
        "extension-key-usage",
    ),
    "keyCertSign": (lambda: asking(key_usage("digital_signature", "key_cert_sign")), "extension-key-usage"),
    "keyAgreement and decipherOnly": (
        lambda: asking(key_usage("key_agreement", "decipher_only")),
        "extension-key-usage",
    ),
    "challengePassword": (
        lambda: raw_csr(attributes=[csr_attribute("1.2.840.113549.1.9.7", tlv(der.UTF8, b"x"))]),
        "csr-attribute",
    ),
    "attribute that is unknown": (
        lambda: raw_csr(attributes=[csr_attribute(_PRIVATE_OID, der.NULL)]),
        "csr-attribute",
    ),
    "two extension requests": (
        lambda: raw_csr(attributes=[extension_request(), extension_request(_CA_FALSE)]),
        "csr-attribute",
    ),
}

_PUBLIC_KEYS: dict[str, tuple[Callable[[], bytes], str]] = {
    "RSA 1024": (lambda: raw_csr(key=private_key("rsa-1024")), "key-size"),
    "RSA 2047": (lambda: raw_csr(key=private_key("rsa-2047")), "key-size"),
    "RSA 2056": (lambda: raw_csr(key=private_key("rsa-2056")), "key-size"),
    "exponent 3": (lambda: raw_csr(key=private_key("exponent-3")), "key-exponent"),
    "close primes": (lambda: _under(der.rsa_public_key(moduli.close_primes())), "key-weak"),
    "square of a prime": (lambda: _under(der.rsa_public_key(moduli.square())), "key-weak"),
    "small factor": (lambda: _under(der.rsa_public_key(moduli.small_factor())), "key-weak"),
    "ROCA": (lambda: _under(der.rsa_public_key(moduli.roca())), "key-weak"),
    "mostly zeros": (lambda: _under(der.rsa_public_key(moduli.mostly_zeros())), "key-weak"),
    "secp256k1": (lambda: raw_csr(key=private_key("secp256k1")), "key-type"),
    "P-224": (lambda: raw_csr(key=private_key("ecdsa-p224")), "key-type"),
    "P-521": (lambda: raw_csr(key=private_key("ecdsa-p521")), "key-type"),
    "brainpool": (lambda: raw_csr(key=private_key("brainpool")), "key-type"),
    "DSA": (lambda: raw_csr(key=private_key("dsa")), "key-type"),
    "X25519": (lambda: _under(spki(private_key("x25519"))), "key-type"),
    "key of a kind that nobody knows": (
        lambda: _under(tlv(SEQUENCE, tlv(SEQUENCE, der.oid(_PRIVATE_OID)), der.bit_string(bytes(32)))),
        "key-type",
    ),
    "point that is not on the curve": (
        lambda: _under(der.flip_last_bit(spki(private_key("ecdsa-p256")))),
        "key-type",
    ),
    "Ed448": (lambda: raw_csr(key=private_key("ed448")), "key-type signature-hash"),
    "ML-DSA-44": (lambda: raw_csr(key=private_key("ml-dsa-44")), "key-type signature-hash"),
    "giant modulus": (lambda: _under(der.rsa_public_key(moduli.giant(16384))), "key-size"),
    "modulus as large as the CSR may be": (lambda: _under(der.rsa_public_key(moduli.giant(120_000))), "key-size"),
}

_SIGNATURES: dict[str, tuple[Callable[[], bytes], str]] = {
    "MD5 signature": (lambda: raw_csr(key=private_key("rsa-2048"), digest=hashes.MD5()), "signature-hash"),
    "SHA-1 signature, RSA": (lambda: raw_csr(key=private_key("rsa-2048"), digest=hashes.SHA1()), "signature-hash"),
    "SHA-1 signature, EC": (lambda: raw_csr(digest=hashes.SHA1()), "signature-hash"),
    "SHA-224 signature": (lambda: raw_csr(digest=hashes.SHA224()), "signature-hash"),
    "tampered signature": (lambda: der.flip_last_bit(good_csr()), "signature-invalid"),
    "tampered signature, Ed25519": (
        lambda: der.flip_last_bit(good_csr(private_key("ed25519"))),
        "signature-invalid",
    ),
    "tampered subject": (lambda: der.tamper(good_csr(user="jane"), b"jane", b"mary"), "signature-invalid"),
    "tampered group": (
        lambda: der.tamper(good_csr(groups=["system:mastery"]), b"system:mastery", b"system:masters"),
        "signature-invalid",
    ),
    "signature of another key": (lambda: raw_csr(signer=private_key("ecdsa-p256", "eve")), "signature-invalid"),
    "signature of a key of another kind": (lambda: raw_csr(signer=private_key("rsa-2048")), "signature-invalid"),
    "signature of Ed25519 over an EC key": (lambda: raw_csr(signer=private_key("ed25519")), "signature-invalid"),
    "signature of an algorithm that nobody knows": (
        lambda: raw_csr(algorithm=tlv(SEQUENCE, der.oid(_PRIVATE_OID))),
        "signature-hash",
    ),
    "RSASSA-PSS without parameters": (
        lambda: raw_csr(key=private_key("rsa-2048"), algorithm=tlv(SEQUENCE, der.oid(_RSASSA_PSS))),
        "signature-hash",
    ),
    "RSASSA-PSS of SHA-1": (  # RFC 4055 3.1: what empty parameters mean
        lambda: raw_csr(key=private_key("rsa-2048"), algorithm=tlv(SEQUENCE, der.oid(_RSASSA_PSS), tlv(SEQUENCE))),
        "signature-hash",
    ),
    "signature that says SHA-512 and is SHA-256": (
        lambda: raw_csr(algorithm=der.signature_algorithm(private_key("ecdsa-p256"), hashes.SHA512())),
        "signature-invalid",
    ),
}

_NO_CSRS: dict[str, tuple[Callable[[], bytes], str]] = {
    "version 2": (lambda: raw_csr(version=1), "csr-undecodable"),
    "trailing octet": (lambda: good_csr() + b"\x00", "csr-undecodable"),
    "last octet missing": (lambda: good_csr()[:-1], "csr-undecodable"),
    "two CSRs": (lambda: good_csr() + good_csr(), "csr-undecodable"),
    "indefinite length (BER)": (lambda: der.indefinite_length(good_csr()), "csr-undecodable"),
    "long length (BER)": (lambda: der.long_length(good_csr()), "csr-undecodable"),
    "no DER": (lambda: b"no DER", "csr-undecodable"),
    "PrintableString with @": (
        lambda: raw_csr(_common_name("jane@acme", der.PRINTABLE)),
        "csr-undecodable",
    ),
    "PrintableString with *": (lambda: raw_csr(_common_name("*", der.PRINTABLE)), "csr-undecodable"),
    "PrintableString of 8 bits": (
        lambda: raw_csr(_common_name("jané", der.PRINTABLE)),
        "csr-undecodable",
    ),
    "PrintableString with _": (lambda: raw_csr(_group("team_a", der.PRINTABLE)), "csr-undecodable"),
    "public key alone": (lambda: spki(private_key("ecdsa-p256")), "csr-undecodable"),
    "empty": (lambda: b"", "csr-missing"),
    "17 KiB": (lambda: raw_csr(name(("CN", "j" * 17 * 1024))), "csr-too-large"),
}


def _under(public_key: bytes) -> bytes:
    """Make a CSR of a public key without an owner: another key signs it."""
    return raw_csr(public_key=public_key)


def _all_bad() -> Iterator[BadCsr]:
    for title, (subject, codes) in _SUBJECTS.items():
        yield BadCsr(name=title, build=partial(raw_csr, subject), codes=frozenset(codes.split()))
    for title, (build, codes) in (_EXTENSIONS | _PUBLIC_KEYS | _SIGNATURES).items():
        yield BadCsr(name=title, build=build, codes=frozenset(codes.split()))
    for title, (build, code) in _NO_CSRS.items():
        yield BadCsr(name=title, build=build, codes=frozenset({code}), malformed=True)


BAD_CSRS = tuple(_all_bad())


def bad_csr(title: str) -> bytes:
    """Build the bad CSR of this name, in DER."""
    return next(bad for bad in BAD_CSRS if bad.name == title).build()
