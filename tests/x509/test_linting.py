"""pkilint, the public linter of RFC 5280 certificates, has nothing to say about ours."""

import dataclasses
from datetime import datetime

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from pkilint import loader, report, validation
from pkilint.pkix import certificate, extension, name

from kubemint.x509.certificate import sign_certificate
from kubemint.x509.issuer import Issuer
from kubemint.x509.profile import CertificateTerms
from x509.authorities import issuer_of

SERIAL_NUMBER = 0x5EC0DE << 128


@pytest.fixture(scope="session")
def linter() -> validation.ValidatorContainer:
    """Give pkilint's RFC 5280 linter, put together as its program does."""
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


def findings(linter: validation.ValidatorContainer, certificate_der: bytes) -> str:
    document = loader.RFC5280CertificateDocumentLoader().load_der_document(certificate_der)
    results = linter.validate(document.root)
    return (
        report.ReportGeneratorPlaintext(results, validation.ValidationFindingSeverity.WARNING).generate().strip()
    )


@pytest.mark.parametrize("count", [0, 1, 3, 60])
def test_the_linter_finds_nothing(
    terms: CertificateTerms, issuer: Issuer, linter: validation.ValidatorContainer, count: int
) -> None:
    """pkilint has no finding at WARNING or above, with no group, one, and many."""
    counted = dataclasses.replace(terms, groups=tuple(f"group-{number}" for number in range(count)))
    assert findings(linter, sign_certificate(counted, issuer, SERIAL_NUMBER).der) == ""


def test_the_linter_would_find_a_fault(now: datetime, linter: validation.ValidatorContainer) -> None:
    """The linter is awake: a CA certificate without a subject key identifier has a finding."""
    faulty = issuer_of("ecdsa-p256", now, subject_key_identifier=None).certificate
    assert findings(linter, faulty.public_bytes(Encoding.DER))
