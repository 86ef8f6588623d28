"""The probe: a key is ready when it has really signed."""

import dataclasses
from datetime import datetime

import pytest

from csrs import KEY_TYPES, private_key
from kubemint.errors import SigningFailed
from kubemint.signing.probe import check_signing
from x509.authorities import intermediate_of, issuer_of


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_key_that_signs_passes(key_type: str, now: datetime) -> None:
    """For each type of issuer the signature is made and holds under the certificate."""
    check_signing(issuer_of(key_type, now))
    check_signing(intermediate_of(key_type, now))


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_key_of_another_certificate_does_not_pass(key_type: str, now: datetime) -> None:
    """A signature that another certificate would verify is no signature of this issuer."""
    mismatched = dataclasses.replace(issuer_of(key_type, now), key=private_key(key_type, "another"))
    with pytest.raises(SigningFailed, match="does not hold"):
        check_signing(mismatched)


@pytest.mark.parametrize("key_type", KEY_TYPES)
@pytest.mark.parametrize("other", ["ecdsa-p256", "rsa-2048", "ed25519", "x25519", "dsa"])
def test_a_key_of_another_type_does_not_pass(key_type: str, other: str, now: datetime) -> None:
    """Neither does a key that speaks another algorithm, or that cannot sign at all."""
    mismatched = dataclasses.replace(issuer_of(key_type, now), key=private_key(other, "another"))
    with pytest.raises(SigningFailed):
        check_signing(mismatched)
