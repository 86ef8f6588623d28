"""A responder's certificate lets it answer, and nothing else; its faults are named before it answers."""

import dataclasses
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from csrs import KEY_TYPES, key_usage, private_key
from issuance.faulty_keys import FAULTY_KEYS, FaultyKey
from kubemint.errors import SigningFailed
from kubemint.x509.issuer import Issuer
from kubemint.x509.responder import RESPONDER_LIFETIME, Responder, issue_responder, responder_problems
from revocation.records import DAY, LISTING_USAGES, write
from x509.authorities import issuer_of, sign

ANSWERING = ("digital_signature",)
PURPOSE = (ExtendedKeyUsageOID.OCSP_SIGNING,)


def responder_key() -> Any:
    return private_key("ecdsa-p256", "responder")


def crafted(issuer: Issuer, now: datetime, **changes: Any) -> Responder:
    """Make a responder without a fault, by another way than the service's, but for the changes."""
    ordinary: dict[str, Any] = {
        "key": responder_key(),
        "purposes": PURPOSE,
        "usages": ANSWERING,
        "nocheck": True,
        "begins": -DAY,
        "ends": DAY,
        "signer": private_key("ecdsa-p256", "issuer"),
    }
    terms = ordinary | changes
    builder = (
        x509.CertificateBuilder()
        .serial_number(5)
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "responder")]))
        .issuer_name(issuer.certificate.subject)
        .public_key(terms["key"].public_key())
        .not_valid_before(now + terms["begins"])
        .not_valid_after(now + terms["ends"])
    )
    if terms["purposes"]:
        builder = builder.add_extension(x509.ExtendedKeyUsage(terms["purposes"]), critical=False)
    if terms["usages"]:
        builder = builder.add_extension(key_usage(*terms["usages"]), critical=True)
    if terms["nocheck"]:
        builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
    return Responder(certificate=sign(builder, terms["signer"]), key=terms["key"])


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_new_responder_has_no_problem(issuer: Issuer, now: datetime, key_type: str) -> None:
    """Each type of key can answer for each type of issuer, from now until the lifetime is over."""
    responder = issue_responder(issuer, private_key(key_type, "responder"), serial_number=9, now=now)
    for moment in (now - timedelta(minutes=5), now, now + RESPONDER_LIFETIME):
        assert list(responder_problems(responder, issuer, moment)) == []


def test_the_certificate_is_for_answering_alone(issuer: Issuer, now: datetime) -> None:
    """It signs answers and needs no check; it is no CA, no client, and has no group (RFC 6960 4.2.2.2)."""
    certificate = issue_responder(issuer, responder_key(), serial_number=9, now=now).certificate
    assert certificate.serial_number == 9
    assert {each.value: each.critical for each in certificate.extensions} == {
        x509.BasicConstraints(ca=False, path_length=None): True,
        key_usage("digital_signature"): True,
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]): False,
        x509.OCSPNoCheck(): False,
        x509.SubjectKeyIdentifier.from_public_key(responder_key().public_key()): False,
        issuer.authority_key_identifier: False,
    }
    assert [each.oid for each in certificate.subject] == [NameOID.COMMON_NAME]


def test_a_responder_does_not_outlive_its_issuer(now: datetime) -> None:
    """It begins no sooner and ends no later than the CA that it answers for."""
    issuer = issuer_of("ecdsa-p256", now, begins=timedelta(0), ends=DAY)
    certificate = issue_responder(issuer, responder_key(), serial_number=9, now=now).certificate
    assert (certificate.not_valid_before_utc, certificate.not_valid_after_utc) == (now, now + DAY)


def test_openssl_takes_it_for_a_responder_and_not_for_a_client(
    issuer: Issuer, now: datetime, openssl: Callable[..., str], tmp_path: Path
) -> None:
    """Another implementation accepts the certificate for OCSP, and refuses it as a client's."""
    certificate = issue_responder(issuer, responder_key(), serial_number=9, now=now).certificate
    files = write(tmp_path, ca=issuer.certificate, responder=certificate)
    checking = ("verify", "-x509_strict", "-attime", int(now.timestamp()), "-CAfile", files["ca"])
    assert openssl(*checking, "-purpose", "ocsphelper", files["responder"]).endswith(": OK\n")
    assert "unsuitable certificate purpose" in openssl(*checking, "-purpose", "sslclient", files["responder"])


def test_the_crafted_responder_has_no_problem(small_issuer: Issuer, now: datetime) -> None:
    """What the tests below change one thing of is without a fault."""
    assert list(responder_problems(crafted(small_issuer, now), small_issuer, now)) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"purposes": ()}, "OCSPSigning"),
        ({"purposes": (*PURPOSE, ExtendedKeyUsageOID.CLIENT_AUTH)}, "OCSP alone"),
        ({"purposes": (ExtendedKeyUsageOID.CLIENT_AUTH,)}, "OCSPSigning"),
        ({"nocheck": False}, "nocheck"),
        ({"usages": ("key_encipherment",)}, "digitalSignature"),
        ({"ends": timedelta(hours=-1)}, "expired at 2026-11-20T11:00:00Z"),
        ({"begins": timedelta(hours=1)}, "not valid before 2026-11-20T13:00:00Z"),
        ({"signer": private_key("ecdsa-p384", "stranger")}, "not issued by"),
        ({"key": private_key("ecdsa-p256", "issuer")}, "issuer's own"),
        ({"key": private_key("ecdsa-p521")}, "secp521r1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_fault_is_named(small_issuer: Issuer, now: datetime, changes: dict[str, Any], problem: str) -> None:
    """One thing wrong is one problem, with its reason."""
    problems = list(responder_problems(crafted(small_issuer, now, **changes), small_issuer, now))
    assert len(problems) == 1
    assert problem in problems[0]


def test_no_key_usage_is_any_usage(small_issuer: Issuer, now: datetime) -> None:
    """A certificate without the extension may sign (RFC 5280 4.2.1.3)."""
    assert list(responder_problems(crafted(small_issuer, now, usages=()), small_issuer, now)) == []


def test_a_key_of_another_certificate_is_named(small_issuer: Issuer, now: datetime) -> None:
    """Certificate and key belong together."""
    mixed = dataclasses.replace(crafted(small_issuer, now), key=private_key("ed25519", "responder"))
    assert list(responder_problems(mixed, small_issuer, now)) == ["the key does not belong to the certificate"]


def test_a_responder_of_another_ca_is_named(small_issuer: Issuer, now: datetime) -> None:
    """A CA of the same name with another key did not issue it."""
    other = issuer_of("ed25519", now, usages=LISTING_USAGES)
    (problem,) = responder_problems(crafted(small_issuer, now), other, now)
    assert "not issued by" in problem


@pytest.mark.parametrize("faulty", FAULTY_KEYS, ids=lambda faulty: faulty.__name__)
def test_an_issuer_key_that_fails_gives_no_responder(
    small_issuer: Issuer, now: datetime, faulty: type[FaultyKey]
) -> None:
    """Whatever the key gives or raises in place of its signature, no certificate leaves."""
    broken = dataclasses.replace(small_issuer, key=faulty(private_key("ecdsa-p256", "issuer")))
    with pytest.raises(SigningFailed) as caught:
        issue_responder(broken, responder_key(), serial_number=9, now=now)
    assert "1234" not in caught.value.message


def test_the_issuers_key_is_no_key_for_a_responder(small_issuer: Issuer, now: datetime) -> None:
    """Delegating to oneself is refused."""
    with pytest.raises(SigningFailed, match="issuer's own"):
        issue_responder(small_issuer, private_key("ecdsa-p256", "issuer"), serial_number=9, now=now)


@pytest.mark.parametrize("serial_number", [0, -1, 1 << 160])
def test_a_serial_number_that_none_may_have_is_refused(
    small_issuer: Issuer, now: datetime, serial_number: int
) -> None:
    """Serial numbers are positive and of 20 octets at most (RFC 5280 4.1.2.2)."""
    with pytest.raises(SigningFailed):
        issue_responder(small_issuer, responder_key(), serial_number=serial_number, now=now)
