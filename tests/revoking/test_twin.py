"""The digest of a certificate's twin: right for ECDSA, none for other algorithms, and garbage is a ValueError."""

import contextlib
import hashlib
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from kubemint.x509.twin import twin_digest
from revocation.records import leaf_of
from revoking.twins import ORDERS, twin_of
from x509.authorities import issuer_of

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def _certificate(key_type: str) -> bytes:
    """Sign an ordinary certificate with a CA of this type of key."""
    return leaf_of(issuer_of(key_type, NOW), NOW).public_bytes(Encoding.DER)


@pytest.mark.parametrize("key_type", sorted(ORDERS))
def test_the_twin_is_a_certificate_that_holds(key_type: str) -> None:
    """The digest is that of the rewritten certificate, which its CA's key verifies; a twin's twin is the first."""
    der = _certificate(key_type)
    twin = twin_of(der, key_type)
    certificate = x509.load_der_x509_certificate(twin)
    certificate.verify_directly_issued_by(issuer_of(key_type, NOW).certificate)
    assert twin != der
    assert twin_digest(der) == hashlib.sha256(twin).digest()
    assert twin_digest(twin) == hashlib.sha256(der).digest()


@pytest.mark.parametrize("key_type", ["rsa-2048", "ed25519"])
def test_signatures_that_have_one_form(key_type: str) -> None:
    """RSA and Ed25519 signatures cannot be rewritten."""
    assert twin_digest(_certificate(key_type)) is None


GOOD = _certificate("ecdsa-p256")


@given(st.one_of(st.binary(max_size=200), st.integers(0, len(GOOD) - 1).map(lambda end: GOOD[:end])))
def test_garbage(octets: bytes) -> None:
    """What is no certificate raises ValueError and nothing else."""
    with contextlib.suppress(ValueError):
        assert twin_digest(octets) is None


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_certificate_with_another_octet(place: int, change: int) -> None:
    """Whatever octet is another, there is a digest, or none, or a ValueError."""
    octets = GOOD[:place] + bytes([GOOD[place] ^ change]) + GOOD[place + 1 :]
    try:
        digest = twin_digest(octets)
    except ValueError:
        return
    assert digest is None or len(digest) == 32
