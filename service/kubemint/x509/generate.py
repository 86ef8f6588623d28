"""Making keys and self-signed certificates, where someone asks for new ones: `init`, `dev`, `request`."""

import ipaddress
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubemint.x509.profile import BACKDATE, SERIAL_BITS

GeneratedKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_GENERATORS: Final[dict[str, Callable[[], GeneratedKey]]] = {
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa-2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-3072": lambda: rsa.generate_private_key(65537, 3072),
    "rsa-4096": lambda: rsa.generate_private_key(65537, 4096),
}
GENERATED_KEY_TYPES: Final = tuple(_GENERATORS)


def generate_key(key_type: str) -> GeneratedKey:
    """Make a key of one of `GENERATED_KEY_TYPES`."""
    return _GENERATORS[key_type]()


def self_signed_ca(key: GeneratedKey, common_name: str, now: datetime, lifetime: timedelta) -> x509.Certificate:
    """Make a root CA (RFC 5280 4.2.1.9): it may sign certificates and CRLs, but no further CA."""
    usage = _key_usage(digital_signature=True, key_cert_sign=True, crl_sign=True)
    return _sign(
        _self_issued(key, common_name, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True),
        key,
    )


def self_signed_server(
    key: GeneratedKey, hosts: tuple[str, ...], now: datetime, lifetime: timedelta
) -> x509.Certificate:
    """Make a server certificate that clients trust by having it; hosts are DNS names or IP addresses."""
    usage = _key_usage(digital_signature=True, key_cert_sign=False, crl_sign=False)
    return _sign(
        _self_issued(key, hosts[0], now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False),
        key,
    )


def _self_issued(
    key: GeneratedKey, common_name: str, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    return (
        x509.CertificateBuilder()
        .serial_number(secrets.randbits(SERIAL_BITS) or 1)
        .issuer_name(name)
        .subject_name(name)
        .public_key(key.public_key())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _sign(builder: x509.CertificateBuilder, key: GeneratedKey) -> x509.Certificate:
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, digital_signature: bool, key_cert_sign: bool, crl_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
