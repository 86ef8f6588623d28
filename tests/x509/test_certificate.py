"""What is signed is what was decided, in the one profile, for each type of key under each type of issuer."""

import dataclasses
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from csrs import key_usage, private_key
from kubemint.errors import SigningFailed
from kubemint.x509.certificate import SignedCertificate, format_serial, sign_certificate
from kubemint.x509.guard import guard
from kubemint.x509.issuer import Issuer
from kubemint.x509.keys import judge_key
from kubemint.x509.profile import CertificateTerms
from x509 import der
from x509.authorities import intermediate_of, issuer_of
from x509.terms import terms_for

SERIAL_NUMBER = 0x5EC0DE << 128


@pytest.fixture(scope="session")
def signed(terms: CertificateTerms, issuer: Issuer) -> SignedCertificate:
    """Give the certificate of a decision under an issuer."""
    return sign_certificate(terms, issuer, SERIAL_NUMBER)


@pytest.fixture(scope="session")
def parsed(signed: SignedCertificate) -> x509.Certificate:
    """Give the certificate as the cryptography package reads it."""
    return x509.load_der_x509_certificate(signed.der)


def test_the_guard_lets_it_pass(signed: SignedCertificate, terms: CertificateTerms, issuer: Issuer) -> None:
    """What was composed from the decision is, read back, what was decided."""
    guard(signed, terms, issuer)


def test_the_fields_are_those_of_the_decision(
    parsed: x509.Certificate, terms: CertificateTerms, issuer: Issuer
) -> None:
    """Version, serial number, issuer, validity and key are as given."""
    assert parsed.version is x509.Version.v3
    assert parsed.serial_number == SERIAL_NUMBER
    assert parsed.issuer == issuer.certificate.subject
    assert (parsed.not_valid_before_utc, parsed.not_valid_after_utc) == (terms.not_before, terms.not_after)
    assert parsed.public_key() == terms.public_key


def test_the_subject_is_groups_then_user_in_utf8(parsed: x509.Certificate, terms: CertificateTerms) -> None:
    """The octets of the subject are one RDN a name, groups in order and then the user, each a UTF8String."""
    names = [*(("O", group) for group in terms.groups), ("CN", terms.user)]
    assert parsed.subject.public_bytes() == der.name(*names)


def test_the_extensions_are_the_profile(parsed: x509.Certificate, terms: CertificateTerms, issuer: Issuer) -> None:
    """Five extensions and no more, with the criticality and the values of the profile (RFC 5280 4.2.1)."""
    found = {each.value: each.critical for each in parsed.extensions}
    authority = x509.AuthorityKeyIdentifier(b"kubernetes-ca-ski", None, None)
    assert found.pop(x509.BasicConstraints(ca=False, path_length=None)) is True
    assert found.pop(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])) is False
    assert found.pop(x509.SubjectKeyIdentifier.from_public_key(terms.public_key)) is False
    assert found.pop(authority) is False
    assert [(type(value), critical) for value, critical in found.items()] == [(x509.KeyUsage, True)]


def test_only_rsa_keys_may_encipher_keys(parsed: x509.Certificate, terms: CertificateTerms) -> None:
    """All keys sign; keyEncipherment stands in RSA certificates alone (RFC 8813, RFC 8410)."""
    usage = parsed.extensions.get_extension_for_class(x509.KeyUsage).value
    more = ["key_encipherment"] if isinstance(terms.public_key, rsa.RSAPublicKey) else []
    assert usage == key_usage("digital_signature", *more)


def test_the_signature_is_as_strong_as_the_issuer(parsed: x509.Certificate, issuer: Issuer) -> None:
    """SHA-256, SHA-384 under P-384, and what Ed25519 brings itself; and the issuer's key made it."""
    digest = parsed.signature_hash_algorithm
    key_type = judge_key(issuer.key.public_key())[0]
    expected = {"ecdsa-p384": "sha384", "ed25519": None}.get(key_type, "sha256")
    assert (digest.name if digest else None) == expected
    parsed.verify_directly_issued_by(issuer.certificate)


def test_openssl_accepts_it_as_a_client(
    signed: SignedCertificate, issuer: Issuer, now: datetime, openssl: Callable[..., str], tmp_path: Path
) -> None:
    """Another implementation verifies chain, validity and purpose."""
    ca_file, certificate_file = tmp_path / "ca.crt", tmp_path / "jane.crt"
    ca_file.write_bytes(issuer.certificate.public_bytes(Encoding.PEM))
    certificate_file.write_bytes(x509.load_der_x509_certificate(signed.der).public_bytes(Encoding.PEM))
    moment = str(int(now.timestamp()))
    strict = ("-x509_strict", "-check_ss_sig", "-attime", moment, "-purpose", "sslclient")
    assert openssl("verify", *strict, "-CAfile", str(ca_file), str(certificate_file)).endswith(": OK\n")


def write_pem(file: Path, *certificates: x509.Certificate) -> str:
    file.write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates))
    return str(file)


def test_a_certificate_of_an_intermediate_leads_to_its_root(
    now: datetime, openssl: Callable[..., str], tmp_path: Path
) -> None:
    """A holder that sends its certificate and the chain is accepted by who trusts the root alone."""
    issuer = intermediate_of("ecdsa-p256", now)
    terms = terms_for("ed25519", now)
    signed = sign_certificate(terms, issuer, SERIAL_NUMBER)
    guard(signed, terms, issuer)
    leaf = write_pem(tmp_path / "leaf.crt", x509.load_der_x509_certificate(signed.der))
    chain = write_pem(tmp_path / "chain.crt", *issuer.chain)
    trusted = write_pem(tmp_path / "trusted.crt", *issuer.trust_bundle)
    strict = ("-x509_strict", "-attime", str(int(now.timestamp())), "-purpose", "sslclient")
    assert openssl("verify", *strict, "-CAfile", trusted, "-untrusted", chain, leaf).endswith(": OK\n")


def test_the_authority_is_named_as_it_names_itself(now: datetime) -> None:
    """The AKI is the issuer's own SKI, or the hash of its key where it has none (RFC 5280 4.2.1.1)."""
    for issuer, expected in (
        (issuer_of("ecdsa-p256", now, subject_key_identifier=b"odd"), b"odd"),
        (
            nameless := issuer_of("ecdsa-p256", now, subject_key_identifier=None),
            x509.SubjectKeyIdentifier.from_public_key(nameless.certificate.public_key()).digest,
        ),
    ):
        signed = sign_certificate(terms_for("ecdsa-p256", now), issuer, SERIAL_NUMBER)
        parsed = x509.load_der_x509_certificate(signed.der)
        found = parsed.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        assert found.key_identifier == expected


@pytest.mark.parametrize("serial_number", [1, 0x7F, 0x80, 0xABC, 2**158, 2**159 - 1])
def test_serial_and_credential_id_are_those_of_openssl(
    now: datetime, openssl: Callable[..., str], tmp_path: Path, serial_number: int
) -> None:
    """What we call a certificate is what `openssl x509` and kube-apiserver's audit log call it."""
    signed = sign_certificate(terms_for("ecdsa-p256", now), issuer_of("ecdsa-p256", now), serial_number)
    file = write_pem(tmp_path / "jane.crt", x509.load_der_x509_certificate(signed.der))
    serial, fingerprint = openssl("x509", "-noout", "-serial", "-fingerprint", "-sha256", "-in", file).splitlines()
    assert serial == f"serial={signed.serial_number.upper()}"
    digest = fingerprint.partition("=")[2].replace(":", "").lower()
    assert signed.credential_id == f"X509SHA256={digest}"


def test_the_validity_of_the_answer_is_that_of_the_certificate(now: datetime) -> None:
    """The times beside the certificate are the times in it."""
    signed = sign_certificate(terms_for("ecdsa-p256", now), issuer_of("ecdsa-p256", now), SERIAL_NUMBER)
    parsed = x509.load_der_x509_certificate(signed.der)
    assert (signed.not_before, signed.not_after) == (parsed.not_valid_before_utc, parsed.not_valid_after_utc)
    assert signed.serial_number == format_serial(parsed.serial_number)


def test_a_key_that_does_not_sign_gives_no_certificate(now: datetime) -> None:
    """Whatever goes wrong in the key is one error of ours, and nothing comes out."""
    issuer = dataclasses.replace(issuer_of("ecdsa-p256", now), key=private_key("x25519"))
    with pytest.raises(SigningFailed):
        sign_certificate(terms_for("ecdsa-p256", now), issuer, SERIAL_NUMBER)
