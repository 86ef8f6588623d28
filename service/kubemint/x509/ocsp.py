"""Answer whether a certificate counts: the Online Certificate Status Protocol (RFC 6960).

Whatever octets come in, octets go out that an OCSP client reads: a question that cannot be read is
answered as malformed, one about another CA's certificate as unauthorized, neither with a signature.
"""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, assert_never

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from kubemint.errors import SigningFailed
from kubemint.x509.issuer import Issuer
from kubemint.x509.profile import SERIAL_BITS
from kubemint.x509.revocation import RevocationReason, reason_flag


@dataclass(frozen=True, slots=True, kw_only=True)
class OcspAnswer:
    """An answer in DER; `outcome` is good, revoked, unknown, or the protocol's word for why it is none.

    `keep` is from when until when others may be given the same (RFC 5019 6.2), in aware UTC; None: they may not.
    """

    der: bytes
    outcome: str
    keep: tuple[datetime, datetime] | None


def _word(status: ocsp.OCSPResponseStatus | ocsp.OCSPCertStatus) -> str:
    return status.name.lower().replace("_", "-")


def _unsuccessful(status: ocsp.OCSPResponseStatus) -> OcspAnswer:
    der = ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
    return OcspAnswer(der=der, outcome=_word(status), keep=None)


MALFORMED_REQUEST: Final = _unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
UNAUTHORIZED: Final = _unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED)  # RFC 6960 2.3: not ours to say
INTERNAL_ERROR: Final = _unsuccessful(ocsp.OCSPResponseStatus.INTERNAL_ERROR)  # where the key did not sign
TRY_LATER: Final = _unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)  # where the record cannot be read

_NONCE_LENGTHS: Final = range(1, 129)  # octets: RFC 9654 2.1
_SERIAL_END: Final = 1 << SERIAL_BITS
_CERT_ID_HASHES: Final[tuple[hashes.HashAlgorithm, ...]] = (
    hashes.SHA1(),  # noqa: S303 - it names an issuer, as nearly all clients do (RFC 5019 2.1.1), and proves nothing
    hashes.SHA256(),
)
_KNOWN_EXTENSIONS: Final = (x509.OCSPNonce, x509.OCSPAcceptableResponses)  # there is but one kind of answer
_PERCENT: Final = re.compile(r"%(2[BbFf]|3[Dd])")  # + / = as a client writes them in a path


@dataclass(frozen=True, slots=True, kw_only=True)
class Good:
    """The certificate was issued and is not revoked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """The certificate ended before its time. `revoked_at` is aware UTC."""

    revoked_at: datetime
    reason: RevocationReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Nothing is recorded about such a certificate."""


CertificateStatus = Good | Revoked | Unknown
_WireStatus = tuple[ocsp.OCSPCertStatus, datetime | None, x509.ReasonFlags | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """Which certificate, and what must come back with the answer; `algorithm` names the issuer by its hash."""

    algorithm: hashes.HashAlgorithm
    issuer_hashes: tuple[bytes, bytes]
    serial_number: int
    nonce: x509.OCSPNonce | None


def answer_ocsp(
    request_der: bytes,
    issuer: Issuer,
    status_of: Callable[[int], CertificateStatus],
    *,
    now: datetime,
    good_for: timedelta,
) -> OcspAnswer:
    """Answer an OCSP request; the issuer itself signs (RFC 6960 4.2.2.2).

    `status_of` is asked about positive serial numbers of at most 20 octets, and what it raises passes
    through. The answer holds from `now`, which is aware UTC, for `good_for`, both in whole seconds.

    Raises:
        SigningFailed: the key did not sign this answer: `INTERNAL_ERROR` is what the client may know.
    """
    try:
        question = _read(request_der)
    except (ValueError, NotImplementedError, x509.DuplicateExtension):  # NotImplementedError: several certificates
        return MALFORMED_REQUEST
    except UnsupportedAlgorithm:
        return UNAUTHORIZED
    if question.issuer_hashes != _issuer_hashes(issuer).get(question.algorithm.name):
        return UNAUTHORIZED
    issued_here = 0 < question.serial_number < _SERIAL_END
    status = status_of(question.serial_number) if issued_here else Unknown()
    this_update = now.replace(microsecond=0)
    window = (this_update, this_update + good_for)
    builder = _answer(question, status, window).responder_id(ocsp.OCSPResponderEncoding.HASH, issuer.certificate)
    wire_status = _wire_status(status)
    response_der = _sign(builder, issuer, (question.serial_number, window, wire_status))
    # An answer with a nonce is for the one who drew it.
    return OcspAnswer(
        der=response_der, outcome=_word(wire_status[0]), keep=window if question.nonce is None else None
    )


def request_from_path(unverified_path: str) -> bytes | None:
    """Decode the request that a GET has behind the service's path (RFC 6960 A.1); None if it is not base64.

    A web server may or may not have taken the percent encoding away: base64 has no percent sign.
    """
    text = _PERCENT.sub(lambda found: chr(int(found[1], 16)), unverified_path)
    try:
        return base64.b64decode(text, validate=True) or None
    except ValueError:
        return None


def _read(request_der: bytes) -> _Question:
    request = ocsp.load_der_ocsp_request(request_der)
    if any(each.critical and not isinstance(each.value, _KNOWN_EXTENSIONS) for each in request.extensions):
        raise ValueError("a critical extension that is not understood (RFC 6960 4.1.2)")
    nonce = next((each.value for each in request.extensions if isinstance(each.value, x509.OCSPNonce)), None)
    if nonce is not None and len(nonce.nonce) not in _NONCE_LENGTHS:
        raise ValueError("a nonce that is empty or too long")
    if request.serial_number < 0:
        raise ValueError("a serial number that no answer can repeat")
    return _Question(
        algorithm=request.hash_algorithm,
        issuer_hashes=(request.issuer_name_hash, request.issuer_key_hash),
        serial_number=request.serial_number,
        nonce=nonce,
    )


@lru_cache(maxsize=8)
def _issuer_hashes(issuer: Issuer) -> dict[str, tuple[bytes, bytes]]:
    """Give hash of name and hash of key, for each name of a hash, as requests name their issuer."""
    own = issuer.certificate
    named = [ocsp.OCSPRequestBuilder().add_certificate(own, own, each).build() for each in _CERT_ID_HASHES]
    return {each.hash_algorithm.name: (each.issuer_name_hash, each.issuer_key_hash) for each in named}


def _answer(
    question: _Question, status: CertificateStatus, window: tuple[datetime, datetime]
) -> ocsp.OCSPResponseBuilder:
    word, revoked_at, reason = _wire_status(status)
    name_hash, key_hash = question.issuer_hashes
    builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
        issuer_name_hash=name_hash,
        issuer_key_hash=key_hash,
        serial_number=question.serial_number,
        algorithm=question.algorithm,
        cert_status=word,
        this_update=window[0],
        next_update=window[1],
        revocation_time=revoked_at,
        revocation_reason=reason,
    )
    return builder if question.nonce is None else builder.add_extension(question.nonce, critical=False)


def _wire_status(
    status: CertificateStatus,
) -> _WireStatus:
    match status:
        case Good():
            return ocsp.OCSPCertStatus.GOOD, None, None
        case Revoked():
            return (
                ocsp.OCSPCertStatus.REVOKED,
                status.revoked_at.replace(microsecond=0),
                reason_flag(status.reason),
            )
        case Unknown():
            return ocsp.OCSPCertStatus.UNKNOWN, None, None
        case _:
            assert_never(status)


def _sign(
    builder: ocsp.OCSPResponseBuilder,
    issuer: Issuer,
    decided: tuple[int, tuple[datetime, datetime], _WireStatus],
) -> bytes:
    """Sign, and read what was signed: a remote key may have signed something else."""
    try:
        response_der = builder.sign(issuer.key, issuer.signature_hash).public_bytes(Encoding.DER)
    except Exception as fault:  # a key may be remote hardware: whatever it raises means "not signed"
        raise SigningFailed(f"the key for OCSP did not sign: {type(fault).__name__}") from fault
    response = ocsp.load_der_ocsp_response(response_der)
    try:
        issuer.verify(response.signature, response.tbs_response_bytes)
    except InvalidSignature as fault:
        raise SigningFailed("the signature of the OCSP answer does not hold") from fault
    status = (response.certificate_status, response.revocation_time_utc, response.revocation_reason)
    if (response.serial_number, (response.this_update_utc, response.next_update_utc), status) != decided:
        raise SigningFailed("the OCSP answer differs from the record")
    return response_der
