"""Merkle tree hashing of RFC 6962, section 2.1."""

import hashlib
from typing import Final

_LEAF_PREFIX: Final = b"\x00"  # RFC 6962 2.1: keeps leaves and inner nodes apart


def leaf_hash(body: bytes) -> bytes:
    """Hash an entry as a leaf: SHA-256 of 0x00 and the entry's canonical bytes."""
    return hashlib.sha256(_LEAF_PREFIX + body).digest()
