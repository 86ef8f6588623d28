"""The one certificate profile: a Kubernetes client certificate (RFC 5280, section 4).

`CertificateTerms` is the decision in X.509's words. Everything in a certificate that is not in
there is the same for all, and is here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

BACKDATE: Final = timedelta(minutes=5)  # for clocks that are behind; kube-controller-manager does the same
SERIAL_BITS: Final = 159  # RFC 5280 4.1.2.2: positive, at most 20 octets

BASIC_CONSTRAINTS: Final = x509.BasicConstraints(ca=False, path_length=None)
EXTENDED_KEY_USAGE: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])

_USAGES: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateTerms:
    """What is to be signed: decided by the policy, bounded by the issuer. Times are whole UTC seconds."""

    user: str
    groups: tuple[str, ...]
    public_key: CertificatePublicKeyTypes
    spki_der: bytes
    not_before: datetime
    not_after: datetime


def key_usage(public_key: CertificatePublicKeyTypes) -> x509.KeyUsage:
    """Give the usages that fit a key: RSA may encipher keys, EC and Ed25519 must not (RFC 8813, RFC 8410 5)."""
    return _RSA_KEY_USAGE if isinstance(public_key, rsa.RSAPublicKey) else _KEY_USAGE


def excess_key_usages(asked: x509.KeyUsage, public_key: CertificatePublicKeyTypes) -> tuple[str, ...]:
    """Name the usages that were asked for and that the certificate will not have; empty if it fits."""
    given = frozenset(_set_usages(key_usage(public_key)))
    return tuple(usage for usage in _set_usages(asked) if usage not in given)


def _set_usages(usage: x509.KeyUsage) -> Iterator[str]:
    for name in _USAGES:
        if getattr(usage, name):
            head, *tail = name.split("_")
            yield head + "".join(word.capitalize() for word in tail)


def _usage(*, key_encipherment: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


_KEY_USAGE: Final = _usage(key_encipherment=False)
_RSA_KEY_USAGE: Final = _usage(key_encipherment=True)
