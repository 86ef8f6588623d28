"""The keys that a cluster signs service account tokens with: a JWK set, or the PEM that kubeadm calls `sa.pub`.

Stands apart because of the PEM: kube-apiserver names a key by the SHA-256 of its SubjectPublicKeyInfo
(pkg/serviceaccount/jwt.go, keyIDFromPublicKey), so that a PEM file needs no names.
"""

import base64
import hashlib
import re
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from kubemint.authentication.jwks import (
    KeySet,
    PublicKey,
    VerificationKey,
    algorithms_of,
    check_count,
    check_size,
    parse_key_set,
)
from kubemint.errors import InvalidDocument

CLUSTER_ALGORITHMS: Final = ("RS256", "ES256", "ES384", "ES512")  # what kube-apiserver signs with

_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


def parse_cluster_keys(text: bytes) -> KeySet:
    """Read a JWK set (RFC 7517) or public keys in PEM, as many as there are.

    In a JWK set, keys of other kinds and for other uses are passed over (RFC 7517 5). In PEM nothing is.

    Raises:
        InvalidDocument: it is neither, or holds no key of a kind that kube-apiserver signs with.
    """
    keys = parse_key_set(text) if text.lstrip().startswith(b"{") else _parse_pem(text)
    if not any(key.algorithms.intersection(CLUSTER_ALGORITHMS) for key in keys.keys):
        raise InvalidDocument("holds no public key: a JWK set or PEM with RSA (2048 bits and more) or NIST curves")
    return keys


def _parse_pem(text: bytes) -> KeySet:
    check_size(text)
    blocks = [(block[1], block[0]) for block in _PEM.finditer(text)]
    check_count(blocks)
    return KeySet(keys=tuple(_pem_key(label, block) for label, block in blocks))


def _pem_key(label: bytes, block: bytes) -> VerificationKey:
    if b"PRIVATE" in label:
        raise InvalidDocument("holds a private key, which has no place here: extract the public one")
    try:
        key = load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidDocument("holds PEM that is no public key") from None
    algorithms = algorithms_of(key).intersection(CLUSTER_ALGORITHMS)
    if not isinstance(key, PublicKey) or not algorithms:
        raise InvalidDocument("holds a key that kube-apiserver does not sign with, or a weak one")
    return VerificationKey(key_id=_key_id(key), algorithms=algorithms, key=key)


def _key_id(key: PublicKey) -> str:
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
