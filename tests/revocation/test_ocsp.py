"""An OCSP answer says what the record says, to the one who asked, and to nobody about another CA."""

import base64
import dataclasses
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp

from csrs import private_key
from issuance.faulty_keys import FAULTY_KEYS, FaultyKey
from kubemint.errors import LedgerUnavailable, SigningFailed
from kubemint.x509.issuer import Issuer
from kubemint.x509.ocsp import (
    INTERNAL_ERROR,
    MALFORMED_REQUEST,
    TRY_LATER,
    UNAUTHORIZED,
    CertificateStatus,
    OcspAnswer,
    answer_ocsp,
    request_from_path,
)
from kubemint.x509.revocation import RevocationReason
from revocation.records import SERIAL_NUMBER, Record, leaf_of, question, record_of, revoked, write
from x509 import der
from x509.authorities import intermediate_of, issuer_of

HOUR = timedelta(hours=1)
LARGEST = (1 << 159) - 1  # RFC 5280 4.1.2.2: 20 octets


def answer(request_der: bytes, issuer: Issuer, record: Record, now: datetime) -> ocsp.OCSPResponse:
    return ocsp.load_der_ocsp_response(answer_ocsp(request_der, issuer, record, now=now, good_for=HOUR).der)


def records(now: datetime) -> dict[ocsp.OCSPCertStatus, Record]:
    return {
        ocsp.OCSPCertStatus.GOOD: record_of(good=[SERIAL_NUMBER]),
        ocsp.OCSPCertStatus.REVOKED: record_of(*revoked(now, SERIAL_NUMBER)),
        ocsp.OCSPCertStatus.UNKNOWN: record_of(good=[SERIAL_NUMBER + 1]),
    }


@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA256()], ids=lambda algorithm: algorithm.name)
@pytest.mark.parametrize("status", ocsp.OCSPCertStatus, ids=lambda status: status.name)
def test_the_answer_is_what_the_record_says(
    issuer: Issuer, now: datetime, status: ocsp.OCSPCertStatus, algorithm: hashes.HashAlgorithm
) -> None:
    """Status, certificate and window are those of record and question, signed by the issuer."""
    record = records(now)[status]
    response = answer(question(issuer, algorithm=algorithm), issuer, record, now)
    assert record.asked == [SERIAL_NUMBER]
    assert response.certificate_status is status
    assert (response.serial_number, response.hash_algorithm.name) == (SERIAL_NUMBER, algorithm.name)
    assert (response.this_update_utc, response.next_update_utc) == (now, now + HOUR)
    assert response.certificates == []
    issuer.verify(response.signature, response.tbs_response_bytes)
    assert response.signature_algorithm_oid == issuer.signature_algorithm


@pytest.mark.parametrize("reason", RevocationReason)
def test_a_revocation_comes_with_its_time_and_reason(
    small_issuer: Issuer, now: datetime, reason: RevocationReason
) -> None:
    """The moment is the record's, in whole seconds; `unspecified` is left out, as in lists."""
    late = now.replace(microsecond=999_999)
    record = record_of(*revoked(late, SERIAL_NUMBER, reason=reason))
    response = answer(question(small_issuer), small_issuer, record, late)
    assert response.revocation_time_utc == now - HOUR
    assert response.this_update_utc == now
    unspecified = reason is RevocationReason.UNSPECIFIED
    assert response.revocation_reason == (None if unspecified else x509.ReasonFlags(reason.value))


@pytest.mark.parametrize("critical", [False, True])
@pytest.mark.parametrize("length", [1, 32, 128])
def test_a_nonce_comes_back(small_issuer: Issuer, now: datetime, length: int, critical: bool) -> None:
    """What makes an answer fresh is repeated in it, up to 128 octets (RFC 9654 2.1)."""
    nonce = x509.OCSPNonce(bytes(range(length)))
    asked = question(small_issuer, extensions=[(nonce, critical)])
    response = answer(asked, small_issuer, record_of(good=[SERIAL_NUMBER]), now)
    assert [each.value for each in response.extensions] == [nonce]


def test_no_nonce_is_invented(small_issuer: Issuer, now: datetime) -> None:
    """An answer to a question without a nonce has none, so that it may be kept and given again."""
    response = answer(question(small_issuer), small_issuer, record_of(good=[SERIAL_NUMBER]), now)
    assert list(response.extensions) == []


@pytest.mark.parametrize(("nonce", "keep"), [([], True), ([(x509.OCSPNonce(b"n" * 16), False)], False)])
@pytest.mark.parametrize("status", ocsp.OCSPCertStatus, ids=lambda status: status.name)
def test_what_an_answer_comes_to(
    small_issuer: Issuer, now: datetime, status: ocsp.OCSPCertStatus, nonce: list, keep: bool
) -> None:
    """It is told beside the octets, and so is that others may have the same while it holds, but with a nonce."""
    asked, late = question(small_issuer, extensions=nonce), now.replace(microsecond=999_999)
    said = answer_ocsp(asked, small_issuer, records(now)[status], now=late, good_for=HOUR)
    assert (said.outcome, said.keep) == (status.name.lower(), (now, now + HOUR) if keep else None)


@pytest.mark.parametrize("length", [0, 129, 4000])
def test_a_nonce_of_no_allowed_length_is_malformed(small_issuer: Issuer, now: datetime, length: int) -> None:
    """A client does not choose much of what is signed: an empty or long nonce is refused (RFC 9654 2.1)."""
    asked = question(small_issuer, extensions=[(x509.OCSPNonce(b"n" * length), False)])
    record = record_of(good=[SERIAL_NUMBER])
    said = answer_ocsp(asked, small_issuer, record, now=now, good_for=HOUR)
    assert said == MALFORMED_REQUEST
    assert record.asked == []


def of_nobody(critical: bool) -> tuple[x509.ExtensionType, bool]:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57683.999"), b"\x05\x00"), critical


def test_a_critical_extension_that_nobody_knows_is_malformed(small_issuer: Issuer, now: datetime) -> None:
    """What is not understood is passed over if it may be, and refused if it is critical (RFC 6960 4.1.2)."""
    record = record_of(good=[SERIAL_NUMBER])
    harmless = answer(question(small_issuer, extensions=[of_nobody(critical=False)]), small_issuer, record, now)
    assert harmless.certificate_status is ocsp.OCSPCertStatus.GOOD
    grave = answer(question(small_issuer, extensions=[of_nobody(critical=True)]), small_issuer, record, now)
    assert grave.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_several_certificates_in_one_question_are_malformed(small_issuer: Issuer, now: datetime) -> None:
    """One question, one certificate: two are refused, and the record is not asked."""
    one = single_request(question(small_issuer))
    two = der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, one, one)))
    again = der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, one)))
    assert again == question(small_issuer)
    record = record_of(good=[SERIAL_NUMBER])
    said = answer_ocsp(two, small_issuer, record, now=now, good_for=HOUR)
    assert said == MALFORMED_REQUEST
    assert record.asked == []


def single_request(request_der: bytes) -> bytes:
    """Take off the headers of OCSPRequest, TBSRequest and requestList: two octets each, as all is short."""
    return request_der[6:]


@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA256()], ids=lambda algorithm: algorithm.name)
def test_a_question_about_another_ca_is_not_ours_to_answer(
    small_issuer: Issuer, now: datetime, algorithm: hashes.HashAlgorithm
) -> None:
    """Another key under the same name, and another name of the same key, are unauthorized (RFC 6960 2.3)."""
    record = record_of(good=[SERIAL_NUMBER])
    for stranger in (issuer_of("ed25519", now), issuer_of("ecdsa-p256", now, common_name="other")):
        asked = question(stranger, algorithm=algorithm)
        said = answer_ocsp(asked, small_issuer, record, now=now, good_for=HOUR)
        assert said == UNAUTHORIZED
    assert record.asked == []


def test_an_issuer_named_by_another_hash_is_not_recognised(small_issuer: Issuer, now: datetime) -> None:
    """SHA-1 and SHA-256 name an issuer; whoever uses another hash is told that we cannot say."""
    asked = question(small_issuer, algorithm=hashes.SHA384())
    said = answer_ocsp(asked, small_issuer, record_of(), now=now, good_for=HOUR)
    assert said == UNAUTHORIZED


def test_an_issuer_named_by_a_hash_that_nobody_has_is_not_recognised(small_issuer: Issuer, now: datetime) -> None:
    """An algorithm that the library does not know is no reason to raise."""
    asked = der.tamper(question(small_issuer), der.oid("1.3.14.3.2.26"), der.oid("1.3.14.3.2.99"))
    said = answer_ocsp(asked, small_issuer, record_of(), now=now, good_for=HOUR)
    assert said == UNAUTHORIZED


@pytest.mark.parametrize("serial_number", [0, LARGEST + 1, 1 << 4000])
def test_a_number_that_no_certificate_has_is_unknown(
    small_issuer: Issuer, now: datetime, serial_number: int
) -> None:
    """The record is asked about possible serial numbers alone; of all others nothing is known."""
    record = record_of()
    response = answer(question(small_issuer, serial_number), small_issuer, record, now)
    assert response.certificate_status is ocsp.OCSPCertStatus.UNKNOWN
    assert response.serial_number == serial_number
    assert record.asked == []


def test_a_negative_number_is_malformed(small_issuer: Issuer, now: datetime) -> None:
    """No certificate has one, and no answer could repeat it: the client is told, and nothing raises."""
    written = der.integer(SERIAL_NUMBER)
    asked = der.tamper(question(small_issuer), written, written[:2] + bytes([written[2] | 0x80]) + written[3:])
    assert ocsp.load_der_ocsp_request(asked).serial_number < 0
    record = record_of()
    said = answer_ocsp(asked, small_issuer, record, now=now, good_for=HOUR)
    assert said == MALFORMED_REQUEST
    assert record.asked == []


def test_the_largest_number_is_looked_up(small_issuer: Issuer, now: datetime) -> None:
    """Twenty octets are a serial number."""
    record = record_of(good=[LARGEST])
    response = answer(question(small_issuer, LARGEST), small_issuer, record, now)
    assert response.certificate_status is ocsp.OCSPCertStatus.GOOD


def test_a_time_that_could_be_any_zones_is_not_signed(small_issuer: Issuer, now: datetime) -> None:
    """A time without a zone, given for now or for a revocation, is no moment: nothing leaves."""
    naive = now.replace(tzinfo=None)
    with pytest.raises(SigningFailed):
        answer(question(small_issuer), small_issuer, record_of(good=[SERIAL_NUMBER]), naive)
    with pytest.raises(SigningFailed):
        answer(question(small_issuer), small_issuer, record_of(*revoked(naive, SERIAL_NUMBER)), now)


def test_an_intermediate_answers_for_itself(now: datetime) -> None:
    """A CA below a root is named by its own name and key, not by those of its issuer."""
    issuer = intermediate_of("ecdsa-p256", now)
    response = answer(question(issuer), issuer, record_of(good=[SERIAL_NUMBER]), now)
    assert response.certificate_status is ocsp.OCSPCertStatus.GOOD


def test_the_issuer_itself_signs(issuer: Issuer, now: datetime) -> None:
    """The answer names the issuer by its key, holds under that key, and carries no other certificate."""
    response = answer(question(issuer), issuer, record_of(good=[SERIAL_NUMBER]), now)
    own_key = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key).digest
    assert (response.responder_key_hash, response.certificates) == (own_key, [])
    issuer.verify(response.signature, response.tbs_response_bytes)


@pytest.mark.parametrize("faulty", FAULTY_KEYS, ids=lambda faulty: faulty.__name__)
def test_a_key_that_fails_gives_no_answer(small_issuer: Issuer, now: datetime, faulty: type[FaultyKey]) -> None:
    """Whatever the key gives or raises in place of its signature, no answer leaves, and no secret with it."""
    issuer = dataclasses.replace(small_issuer, key=faulty(private_key("ecdsa-p256", "issuer")))
    with pytest.raises(SigningFailed) as caught:
        answer(question(issuer), issuer, record_of(good=[SERIAL_NUMBER]), now)
    assert "1234" not in caught.value.message


def test_a_record_that_cannot_be_read_is_not_an_answer(small_issuer: Issuer, now: datetime) -> None:
    """What the record raises passes through: it must never come out as good, or as unknown."""

    def unreadable(_: int) -> CertificateStatus:
        raise LedgerUnavailable("no ledger")

    with pytest.raises(LedgerUnavailable):
        answer_ocsp(question(small_issuer), small_issuer, unreadable, now=now, good_for=HOUR)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (MALFORMED_REQUEST, ocsp.OCSPResponseStatus.MALFORMED_REQUEST),
        (UNAUTHORIZED, ocsp.OCSPResponseStatus.UNAUTHORIZED),
        (INTERNAL_ERROR, ocsp.OCSPResponseStatus.INTERNAL_ERROR),
        (TRY_LATER, ocsp.OCSPResponseStatus.TRY_LATER),
    ],
)
def test_what_is_said_without_a_signature(said: OcspAnswer, status: ocsp.OCSPResponseStatus) -> None:
    """Each answer that is not about a certificate is one status in five octets, and kept by nobody."""
    assert ocsp.load_der_ocsp_response(said.der).response_status is status
    assert (len(said.der), said.keep) == (5, None)
    assert said.outcome.replace("-", "_").upper() == status.name


def test_a_request_in_a_path_is_decoded(small_issuer: Issuer) -> None:
    """Base64 is read as it is, and with the percent encoding that a client must give it (RFC 6960 A.1)."""
    request_der = question(small_issuer, extensions=[(x509.OCSPNonce(b"\xfb\xef\xbe\0" * 3 + b"\xff" * 8), False)])
    text = base64.b64encode(request_der).decode()
    assert {"+", "/", "="} <= set(text)
    assert request_from_path(text) == request_der
    encoded = text.replace("+", "%2B").replace("/", "%2F").replace("=", "%3d")
    assert request_from_path(encoded) == request_der


@pytest.mark.parametrize(
    "text", ["", "====", "MEUw!", "MEUwQ", "%4D%45%55%77", "MEUw%", "MEUw ", "MEUw\n", "ＭＥＵｗ", "ME-_"]
)
def test_a_path_that_is_not_base64_is_no_request(text: str) -> None:
    """Anything but base64 of at least one octet is None."""
    assert request_from_path(text) is None


@pytest.mark.parametrize("status", ocsp.OCSPCertStatus, ids=lambda status: status.name)
def test_openssl_reads_the_answer(
    issuer: Issuer,
    now: datetime,
    openssl: Callable[..., str],
    tmp_path: Path,
    status: ocsp.OCSPCertStatus,
) -> None:
    """Another implementation asks with a nonce, verifies signature and nonce, and reads the status."""
    files = write(tmp_path, ca=issuer.certificate, leaf=leaf_of(issuer, now), request=b"", response=b"")
    asking = ("ocsp", "-issuer", files["ca"], "-cert", files["leaf"])
    openssl(*asking, "-reqout", files["request"])
    said = answer_ocsp(files["request"].read_bytes(), issuer, records(now)[status], now=now, good_for=HOUR)
    files["response"].write_bytes(said.der)
    # -no_nonce keeps openssl from putting a new nonce into the request that it reads.
    reading = ("-no_nonce", "-reqin", files["request"], "-respin", files["response"], "-CAfile", files["ca"])
    at_that_time = ("-attime", int(now.timestamp()), "-validity_period", 10**10)
    verdict = openssl(*asking, *reading, *at_that_time)
    assert "Response verify OK" in verdict
    assert "nonce" not in verdict.lower()
    assert f"{files['leaf']}: {status.name.lower()}" in verdict
    assert ("Reason: keyCompromise" in verdict) == (status is ocsp.OCSPCertStatus.REVOKED)


def test_openssl_notices_an_answer_to_another_question(
    small_issuer: Issuer, now: datetime, openssl: Callable[..., str], tmp_path: Path
) -> None:
    """The check above is awake: openssl believes no answer to another nonce, and none of a stranger."""
    stranger = issuer_of("ecdsa-p384", now)
    asked, otherwise = (
        question(small_issuer, extensions=[(x509.OCSPNonce(nonce), False)]) for nonce in (b"one", b"another")
    )
    said = answer_ocsp(asked, small_issuer, record_of(good=[SERIAL_NUMBER]), now=now, good_for=HOUR)
    cas = write(tmp_path, ca=small_issuer.certificate, stranger=stranger.certificate)
    files = write(tmp_path, asked=asked, otherwise=otherwise, said=said.der)
    times = ("-attime", int(now.timestamp()), "-validity_period", 10**10)
    reading = ("ocsp", "-no_nonce", *times, "-respin", files["said"], "-reqin")
    # An -issuer alone is trusted by some releases of openssl and not by others.
    trusting = {name: ("-issuer", file, "-CAfile", file) for name, file in cas.items()}
    assert "Response verify OK" in openssl(*reading, files["asked"], *trusting["ca"])
    assert "Nonce Verify error" in openssl(*reading, files["otherwise"], *trusting["ca"])
    assert "Response Verify Failure" in openssl(*reading, files["asked"], *trusting["stranger"])
