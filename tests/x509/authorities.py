"""CAs as clusters have them, and as they must not be; made anew in each run of the tests."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from kubemint.x509.issuer import Issuer, issuer_from
from x509.pkcs10 import extended_key_usage, key_usage, private_key

KUBEADM_USAGES = ("digital_signature", "key_encipherment", "key_cert_sign")


def ca_certificate(
    key: Any,
    now: datetime,
    *,
    common_name: str = "kubernetes",
    parent: tuple[x509.Certificate, Any] | None = None,
    is_ca: bool | None = True,
    usages: Iterable[str] | None = KUBEADM_USAGES,
    purposes: Iterable[str] | None = None,
    begins: timedelta = timedelta(days=-30),
    ends: timedelta = timedelta(days=3650),
    subject_key_identifier: bytes | None = b"kubernetes-ca-ski",
) -> x509.Certificate:
    """Sign a CA certificate, by default as kubeadm does: self-signed, for ten years; None leaves a part out."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .subject_name(name)
        .issuer_name(parent[0].subject if parent else name)
        .public_key(key.public_key())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )
    if is_ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    if usages is not None:
        builder = builder.add_extension(key_usage(*usages), critical=True)
    if purposes is not None:
        builder = builder.add_extension(extended_key_usage(*purposes), critical=False)
    if subject_key_identifier is not None:
        builder = builder.add_extension(x509.SubjectKeyIdentifier(subject_key_identifier), critical=False)
    if parent is not None:
        above = parent[0].extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above)
        builder = builder.add_extension(identifier, critical=False)
    return sign(builder, parent[1] if parent else key)


def issuer_of(key_type: str, now: datetime, **options: Any) -> Issuer:
    """Make a root CA that signs, with a key that no client has."""
    key = private_key(key_type, "issuer")
    return issuer_from((ca_certificate(key, now, **options),), key)


def intermediate_of(key_type: str, now: datetime, **root_options: Any) -> Issuer:
    """Make a CA below a root, in the order in which its file has them."""
    root_key, key = private_key("ecdsa-p384", "root"), private_key(key_type, "issuer")
    root = ca_certificate(
        root_key, now, common_name="acme root", subject_key_identifier=b"root-ski", **root_options
    )
    return issuer_from((ca_certificate(key, now, common_name="acme clients", parent=(root, root_key)), root), key)


def sign(builder: x509.CertificateBuilder, key: Any) -> x509.Certificate:
    """Sign with the hash that fits the key."""
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
