"""Several ways to prove who asks: which one counts, and that a failed one stops the search."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from authentication.certificates import client_ca, cn
from kubemint.authentication import Evidence, authenticate
from kubemint.authentication.mtls import CertificateAuthenticator
from kubemint.authentication.tokens import TokenAuthenticator, new_token, save_tokens
from kubemint.errors import NotAuthenticated

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CA = client_ca("corp CA", NOW)
CERTIFICATE = CA.client(cn("jane"), now=NOW).der
TOKEN, RECORD = new_token("ci", NOW + timedelta(days=1))


@pytest.fixture
def ways(tmp_path: Path) -> tuple[TokenAuthenticator, CertificateAuthenticator]:
    """Give both ways, in the order of the service."""
    save_tokens(tmp_path / "tokens.yaml", (RECORD,))
    return TokenAuthenticator(tmp_path / "tokens.yaml"), CertificateAuthenticator((CA.authority("corp"),))


@pytest.mark.parametrize(
    ("header", "certificate", "identity"),
    [
        (f"Bearer {TOKEN}", None, "token:ci"),
        (None, CERTIFICATE, "certificate:corp:CN=jane"),
        (f"Bearer {TOKEN}", CERTIFICATE, "token:ci"),
    ],
    ids=["token", "certificate", "both"],
)
def test_good_evidence(
    ways: tuple[TokenAuthenticator, CertificateAuthenticator],
    header: str | None,
    certificate: bytes | None,
    identity: str,
) -> None:
    """A token or a certificate proves who asks; of both, it is the token."""
    evidence = Evidence(authorization=header, client_certificate_der=certificate)
    assert authenticate(evidence, ways, NOW).identity == identity


@pytest.mark.parametrize("header", ["Bearer wrong", "Basic amFuZTp4", "Bearer", ""])
def test_a_bad_token_never_falls_back_to_a_certificate(
    ways: tuple[TokenAuthenticator, CertificateAuthenticator], header: str
) -> None:
    """Who shows a token that does not hold is nobody, whatever certificate comes with it."""
    with pytest.raises(NotAuthenticated):
        authenticate(Evidence(authorization=header, client_certificate_der=CERTIFICATE), ways, NOW)


def test_an_expired_token_never_falls_back_to_a_certificate(
    ways: tuple[TokenAuthenticator, CertificateAuthenticator],
) -> None:
    """Not even a token that was good a moment ago."""
    evidence = Evidence(authorization=f"Bearer {TOKEN}", client_certificate_der=CERTIFICATE)
    with pytest.raises(NotAuthenticated):
        authenticate(evidence, (ways[0],), RECORD.expires)
    with pytest.raises(NotAuthenticated):
        authenticate(evidence, ways, RECORD.expires)


def test_no_evidence(ways: tuple[TokenAuthenticator, CertificateAuthenticator]) -> None:
    """Who shows nothing is nobody, and is told what to show."""
    with pytest.raises(NotAuthenticated, match="bearer token or a client certificate"):
        authenticate(Evidence(authorization=None, client_certificate_der=None), ways, NOW)
