"""What is said of revoked certificates, and to whom: what loads, and what does not."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.files import CONFIGURATION, DELETED, changed, write
from kubemint import config
from kubemint.config_ledger import Crl
from kubemint.errors import ConfigurationError
from kubemint.kubernetes.access_review import Unknown
from kubemint.policy.claims import Pattern

MISTAKES: dict[str, tuple[str, Any, str]] = {
    "clients by name": ("webhook.clients", {"a": "b"}, "webhook.clients: Not a valid list"),
    "a client by token": (
        "webhook.clients.0",
        {"token": "webhook"},
        "webhook.clients: Must be rules of certificates",
    ),
    "a client by token issuer": (
        "webhook.clients.0",
        {"oidc": "github", "claims": {"sub": "x"}},
        "webhook.clients: Must be rules of certificates",
    ),
    "a client by service account": (
        "webhook.clients.0",
        {"kubernetes": "prod", "namespace": "x", "serviceAccount": "y"},
        "webhook.clients: Must be rules of certificates",
    ),
    "a client of no CA": ("webhook.clients.0.certificate", "crop", "webhook.clients: 'crop' is none of"),
    "an unknown word of a client": ("webhook.clients.0.colour", "blue", "webhook.clients.0.colour: Unknown field"),
    "unknown credentials perhaps": (
        "webhook.unknownCredentials",
        "perhaps",
        "webhook.unknownCredentials: Must be one of: ignore, alarm, deny",
    ),
    "unknown credentials are false": (
        "webhook.unknownCredentials",
        False,
        "webhook.unknownCredentials: Must be one of",
    ),
    "an unknown word of the webhook": ("webhook.colour", "blue", "webhook.colour: Unknown field"),
    "lists that are never valid": ("crl.lifetime", "0h", "crl.lifetime: '0h' is not a duration"),
    "lists that are over before the next": (
        "crl.lifetime",
        "29m59s",
        "crl.lifetime: Must be 30m or more: readers must get the next list in time.",
    ),
    "a lifetime without unit": ("crl.lifetime", 24, "crl.lifetime: Must be a duration"),
    "lists at a file": ("crl.url", "file:///crl", "crl.url: Must be https://"),
    "an unknown word of the lists": ("crl.colour", "blue", "crl.colour: Unknown field"),
}


def loaded(tmp_path: Path, *changes: tuple[str, Any]) -> config.Config:
    """Load the configuration with these changes."""
    return config.load(write(tmp_path / "etc", changed(CONFIGURATION, *changes)))


def test_every_setting(tmp_path: Path) -> None:
    """Each setting gets where it belongs."""
    settings = loaded(tmp_path)
    (client,) = settings.webhook.clients

    assert (client.certificate, client.common_name) == ("corp", Pattern("kube-apiserver-*"))
    assert settings.webhook.unknown is Unknown.DENY
    assert settings.crl == Crl(lifetime=timedelta(hours=12), url="https://kubemint.example")


def test_what_may_be_left_out(tmp_path: Path) -> None:
    """Without either, API servers show tokens, unknown credentials are an alarm, and lists have no parts."""
    settings = loaded(tmp_path, ("webhook", DELETED), ("crl", DELETED))

    assert (settings.webhook.clients, settings.webhook.unknown) == ((), Unknown.ALARM)
    assert settings.crl == Crl(lifetime=timedelta(hours=24), url=None)


def test_the_shortest_lifetime(tmp_path: Path) -> None:
    """Half an hour is enough for a list."""
    assert loaded(tmp_path, ("crl.lifetime", "30m")).crl.lifetime == timedelta(minutes=30)


@pytest.mark.parametrize(("path", "value", "said"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_has_its_path(tmp_path: Path, path: str, value: Any, said: str) -> None:
    """A mistake is told once, beginning with its path in the file, and nothing else is."""
    with pytest.raises(ConfigurationError) as fault:
        loaded(tmp_path, (path, value))
    (problem,) = fault.value.problems
    assert problem.startswith(said)
