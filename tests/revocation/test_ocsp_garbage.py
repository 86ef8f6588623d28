"""Whatever octets come in: an answer that an OCSP client reads, and no exception."""

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509 import ocsp
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemint.x509.issuer import Issuer
from kubemint.x509.ocsp import MALFORMED_REQUEST, UNAUTHORIZED, OcspAnswer, answer_ocsp, request_from_path
from revocation.records import question, record_of

FRIENDLY = settings(max_examples=200, deadline=None, derandomize=True)
HOUR = timedelta(hours=1)


def said_to(request_der: bytes, issuer: Issuer, now: datetime) -> OcspAnswer:
    return answer_ocsp(request_der, issuer, record_of(), now=now, good_for=HOUR)


def asked_with_everything(issuer: Issuer) -> bytes:
    extensions = [
        (x509.OCSPNonce(b"n" * 16), False),
        (x509.OCSPAcceptableResponses([x509.ObjectIdentifier("1.3.6.1.5.5.7.48.1.1")]), False),
    ]
    return question(issuer, extensions=extensions)


@FRIENDLY
@given(garbage=st.binary(max_size=600))
def test_garbage_is_malformed_and_nothing_else(small_issuer: Issuer, now: datetime, garbage: bytes) -> None:
    """Bytes that are no question get one answer."""
    assert said_to(garbage, small_issuer, now) == MALFORMED_REQUEST


def test_no_part_of_a_question_is_a_question(small_issuer: Issuer, now: datetime) -> None:
    """What ends too early, or goes on, is malformed."""
    whole = asked_with_everything(small_issuer)
    for length in range(len(whole)):
        assert said_to(whole[:length], small_issuer, now) == MALFORMED_REQUEST
    assert said_to(whole + b"\x00", small_issuer, now) == MALFORMED_REQUEST


def test_no_flipped_bit_makes_an_exception(small_issuer: Issuer, now: datetime) -> None:
    """With any one bit changed, the answer is about what was asked, or a refusal."""
    whole = asked_with_everything(small_issuer)
    for position in range(len(whole) * 8):
        octet, bit = divmod(position, 8)
        flipped = whole[:octet] + bytes([whole[octet] ^ 1 << bit]) + whole[octet + 1 :]
        check(flipped, small_issuer, now)


@settings(FRIENDLY, max_examples=600)
@given(cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=4))
def test_a_mutated_question_makes_no_exception(
    small_issuer: Issuer, now: datetime, cuts: list[tuple[float, int, bytes]]
) -> None:
    """Octets taken out, put in or changed anywhere end in an answer, or a refusal."""
    mutated = asked_with_everything(small_issuer)
    for place, length, octets in cuts:
        start = int(place * len(mutated))
        mutated = mutated[:start] + octets + mutated[start + length :]
    check(mutated, small_issuer, now)


def check(request_der: bytes, issuer: Issuer, now: datetime) -> None:
    """What is signed names the serial number that was asked for; all else is one of two refusals."""
    said = said_to(request_der, issuer, now)
    if said not in (MALFORMED_REQUEST, UNAUTHORIZED):
        response = ocsp.load_der_ocsp_response(said.der)
        assert response.serial_number == ocsp.load_der_ocsp_request(request_der).serial_number


@FRIENDLY
@given(text=st.text(max_size=200))
def test_any_path_is_octets_or_none(text: str) -> None:
    """A path never raises, and what comes of it is not empty."""
    assert request_from_path(text) != b""
