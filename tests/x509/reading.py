"""Short ways to call the reader of CSRs."""

import pytest

from kubemint.errors import MalformedRequest, ReasonedError, UnacceptableRequest
from kubemint.x509.request import CsrEncoding, SigningRequest, Submission, read_request


def read_der(csr_der: bytes) -> SigningRequest:
    """Read a CSR in DER."""
    return read_request(Submission(csr=csr_der, encoding=CsrEncoding.DER))


def read_pem(text: bytes) -> SigningRequest:
    """Read a CSR in PEM."""
    return read_request(Submission(csr=text, encoding=CsrEncoding.PEM))


def refusal_of_der(csr_der: bytes) -> UnacceptableRequest:
    """Give the refusal that a CSR in DER must meet."""
    with pytest.raises(UnacceptableRequest) as caught:
        read_der(csr_der)
    return caught.value


def refusal_of_pem(text: bytes) -> MalformedRequest:
    """Give the refusal that a text must meet which is not one CSR in PEM."""
    with pytest.raises(MalformedRequest) as caught:
        read_pem(text)
    return caught.value


def codes_of(refusal: ReasonedError) -> list[str]:
    """List the codes of all reasons."""
    return [reason.code for reason in refusal.reasons]
