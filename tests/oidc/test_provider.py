"""Tokens of a certified OpenID provider, through rotation and outage, with the service's own times."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from authentication.issuers import IssuerKey, new_key
from kubemint.authentication import Evidence
from kubemint.authentication.oidc import OidcAuthenticator, OidcIssuer
from kubemint.errors import NotAuthenticated
from kubemint.requester import Requester
from oidc.provider import Provider

AUDIENCE = "https://kubemint.example"


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    """Give a provider that is not started yet."""
    provider = Provider(tmp_path)
    try:
        yield provider
    finally:
        provider.stop()


@pytest.fixture
def authenticator(provider: Provider) -> Iterator[OidcAuthenticator]:
    """Trust the provider, which signs with ES256 now."""
    provider.start(new_key("first"))
    issuer = OidcIssuer(
        name="corp", issuer=provider.issuer, audiences=(AUDIENCE,), ca_file=provider.ca_file, single_use=True
    )
    authenticator = OidcAuthenticator((issuer,))
    yield authenticator
    authenticator.close()


def ask(authenticator: OidcAuthenticator, token: str) -> Requester | None:
    """Show a token; None if it is refused."""
    evidence = Evidence(authorization=f"Bearer {token}", client_certificate_der=None)
    try:
        return authenticator.authenticate(evidence, datetime.now(UTC))
    except NotAuthenticated:
        return None


def seconds_until(condition: Callable[[], object]) -> float:
    """Measure how long it takes until something holds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + 10
        time.sleep(0.05)
    return time.monotonic() - start


def test_a_token_of_a_real_provider(provider: Provider, authenticator: OidcAuthenticator) -> None:
    """A JWT access token proves the client, with its claims and its id; one for somebody else does not."""
    requester = ask(authenticator, provider.token(AUDIENCE))
    assert requester.identity == "oidc:corp:deployer"
    assert (requester.claims["groups"], requester.claims["client_id"]) == (["deployers"], "deployer")
    assert requester.single_use.token_id
    assert ask(authenticator, provider.token("https://other.example")) is None


@pytest.mark.parametrize("key", [new_key("second"), new_key("second", "RS256")], ids=["ES256", "RS256"])
def test_the_provider_rotates_its_key(
    provider: Provider, authenticator: OidcAuthenticator, key: IssuerKey
) -> None:
    """A token of the new key is accepted within a second or so; the old key, which is gone, no more."""
    old = provider.token(AUDIENCE)
    assert ask(authenticator, old) is not None
    provider.stop()
    provider.start(key)
    token = provider.token(AUDIENCE)
    assert seconds_until(lambda: ask(authenticator, token)) < 2
    assert ask(authenticator, old) is None


def test_the_provider_is_away(provider: Provider, authenticator: OidcAuthenticator) -> None:
    """Its tokens go on while it is away, unknown ones wait for nobody, and back with other keys it is known."""
    old = provider.token(AUDIENCE)
    assert ask(authenticator, old) is not None
    provider.stop()
    failed = _failed_fetches()
    unknown = new_key("unknown").token({"iss": provider.issuer})
    seconds_until(lambda: ask(authenticator, unknown) is None and _failed_fetches() > failed)
    start = time.monotonic()
    assert not any(ask(authenticator, unknown) for _ in range(50))
    assert time.monotonic() - start < 0.4
    assert ask(authenticator, old) is not None
    provider.start(new_key("third"))
    token = provider.token(AUDIENCE)
    assert seconds_until(lambda: ask(authenticator, token)) < 3


def _failed_fetches() -> float:
    labels = {"issuer": "corp", "outcome": "unreachable"}
    return REGISTRY.get_sample_value("kubemint_oidc_fetches_total", labels) or 0.0
