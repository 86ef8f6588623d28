"""How the texts of a log spell octets and numbers: in one way each, so that a text has one meaning.

Base64 is that of RFC 4648, section 4, with its padding and without stray bits; numbers are decimal,
without leading zeroes, and fit 63 bits as the databases and programs that keep them need.
"""

import base64
import binascii
import re
from typing import Final

from kubemint.errors import InvalidProof
from kubemint.transparency.tree import HASH_OCTETS

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_NUMBER_MAX: Final = 2**63 - 1


def encode_base64(octets: bytes) -> str:
    """Spell octets."""
    return base64.b64encode(octets).decode("ascii")


def decode_base64(text: str) -> bytes:
    """Read octets.

    Raises:
        InvalidProof: it is not base64, or not as `encode_base64` spells it.
    """
    try:
        octets = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidProof(f"not base64: {text[:80]!a}") from error
    if encode_base64(octets) != text:
        raise InvalidProof(f"base64 with bits that mean nothing: {text[:80]!a}")
    return octets


def decode_hash(text: str) -> bytes:
    """Read a hash.

    Raises:
        InvalidProof: it is not the base64 of 32 octets.
    """
    if len(octets := decode_base64(text)) != HASH_OCTETS:
        raise InvalidProof(f"a hash has {HASH_OCTETS} octets, not {len(octets)}")
    return octets


def decode_number(text: str) -> int:
    """Read a size or an index.

    Raises:
        InvalidProof: it is not a decimal number without leading zeroes, below 2**63.
    """
    if _DECIMAL.fullmatch(text) is None or (number := int(text)) > _NUMBER_MAX:
        raise InvalidProof(f"not a number: {text[:80]!a}")
    return number
