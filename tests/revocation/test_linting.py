"""pkilint, the public linter of RFC 5280 and RFC 6960, has nothing to say about lists and answers."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pkilint import loader, pkix, report, validation
from pkilint.document import Document
from pkilint.pkix import crl, extension, name, ocsp

from kubemint.x509.issuer import Issuer
from kubemint.x509.ocsp import MALFORMED_REQUEST, answer_ocsp
from kubemint.x509.revocation import RevocationReason, RevokedCertificate
from revocation.records import DAY, SERIAL_NUMBER, list_of, question, record_of, revoked


def decoders() -> list[validation.Validator]:
    return [
        pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
        pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
    ]


@pytest.fixture(scope="session")
def crl_linter() -> validation.ValidatorContainer:
    """Give pkilint's linter of revocation lists, put together as its program does."""
    return crl.create_pkix_crl_validator_container(
        decoders(),
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )


@pytest.fixture(scope="session")
def ocsp_linter() -> validation.ValidatorContainer:
    """Give pkilint's linter of OCSP answers, put together as its program does."""
    return ocsp.create_pkix_ocsp_response_validator_container([ocsp.create_response_decoder(), *decoders()], [])


def findings(linter: validation.ValidatorContainer, document: Document) -> str:
    results = linter.validate(document.root)
    severity = validation.ValidationFindingSeverity.WARNING
    return report.ReportGeneratorPlaintext(results, severity).generate().strip()


def crl_document(crl_der: bytes) -> Document:
    return loader.RFC5280CertificateListDocumentLoader().load_der_document(crl_der)


def ocsp_document(response_der: bytes) -> Document:
    return loader.RFC6960OCSPResponseDocumentLoader().load_der_document(response_der)


def one_of_each_reason(now: datetime) -> Sequence[RevokedCertificate]:
    return [revoked(now, number, reason=reason)[0] for number, reason in enumerate(RevocationReason, start=1)]


@pytest.mark.parametrize("distribution_point", [None, "http://mint.example/v1/crl/4/1"])
@pytest.mark.parametrize("many", [False, True], ids=["empty", "each-reason"])
@pytest.mark.parametrize("year", [2026, 2050])
def test_the_linter_finds_nothing_in_a_list(
    issuer: Issuer,
    now: datetime,
    crl_linter: validation.ValidatorContainer,
    distribution_point: str | None,
    many: bool,
    year: int,
) -> None:
    """pkilint has no finding at WARNING or above: empty or not, whole or a shard, before 2050 and after."""
    then = now.replace(year=year)
    entries = one_of_each_reason(then) if many else ()
    crl_der = list_of(issuer, then, entries, distribution_point=distribution_point)
    assert findings(crl_linter, crl_document(crl_der)) == ""


def test_the_linter_would_find_a_fault_in_a_list(
    small_issuer: Issuer, now: datetime, crl_linter: validation.ValidatorContainer
) -> None:
    """The linter is awake: a list without a number and a key identifier has findings."""
    bare = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(small_issuer.certificate.subject)
        .last_update(now)
        .next_update(now + DAY)
        .sign(small_issuer.key, small_issuer.signature_hash)
    )
    assert findings(crl_linter, crl_document(bare.public_bytes(Encoding.DER)))


@pytest.mark.parametrize("reason", [None, *RevocationReason])
def test_the_linter_finds_nothing_in_an_answer(
    issuer: Issuer,
    now: datetime,
    ocsp_linter: validation.ValidatorContainer,
    reason: RevocationReason | None,
) -> None:
    """pkilint has no finding at WARNING or above: good, and revoked for each reason."""
    record = record_of(good=[SERIAL_NUMBER])
    if reason is not None:
        record = record_of(*revoked(now, SERIAL_NUMBER, reason=reason))
    asked = question(issuer, extensions=[(x509.OCSPNonce(b"n" * 32), False)])
    said = answer_ocsp(asked, issuer, record, now=now, good_for=DAY)
    assert findings(ocsp_linter, ocsp_document(said.der)) == ""


def test_the_linter_finds_nothing_in_a_refusal(ocsp_linter: validation.ValidatorContainer) -> None:
    """A refusal has a status and no body."""
    assert findings(ocsp_linter, ocsp_document(MALFORMED_REQUEST.der)) == ""


def test_the_linter_would_find_a_fault_in_an_answer(
    small_issuer: Issuer, now: datetime, ocsp_linter: validation.ValidatorContainer
) -> None:
    """The linter is awake: an answer that ended before it began has a finding."""
    record = record_of(good=[SERIAL_NUMBER])
    backwards = timedelta(hours=-1)
    said = answer_ocsp(question(small_issuer), small_issuer, record, now=now, good_for=backwards)
    assert findings(ocsp_linter, ocsp_document(said.der))
