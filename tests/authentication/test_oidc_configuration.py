"""The configuration of token issuers: what must not start."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kubemint.authentication.jwks import ALGORITHMS
from kubemint.authentication.oidc import DEFAULT_ALGORITHMS, OidcIssuer, oidc_issuer_problems

GITHUB = OidcIssuer(name="github", issuer="https://token.actions.githubusercontent.com", audiences=("kubemint",))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"issuer": "https://login.example/tenant/v2.0"},
        {"issuer": "https://tenant.example/"},
        {"issuer": "https://localhost:8443/realms/one"},
        {"issuer": "https://[::1]:8443"},
        {"jwks_uri": "https://www.googleapis.com/oauth2/v3/certs?v=1"},
        {"keys_file": Path("keys.json")},
        {"algorithms": ("ES384",), "leeway": timedelta(0), "identity_claim": "email", "single_use": True},
    ],
    ids=str,
)
def test_what_may_start(settings: dict[str, Any]) -> None:
    """Issuers as they are found, with ports, paths and slashes."""
    assert list(oidc_issuer_problems(replace(GITHUB, **settings))) == []


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        *(
            ({name: address}, field)
            for name, field in (("issuer", "issuer"), ("jwks_uri", "jwksUri"))
            for address in (
                "http://corp.example",
                "http://localhost",
                "HTTP://corp.example",
                "https://",
                "corp.example",
                "",
                "https://user@corp.example",
                "https://user:secret@corp.example",
                "https://corp.example/#a",
                "https://corp.example:0",
                "https://corp.example:port",
                "https://[corp",
                "file:///keys",
                "https://corp.example/a b",
                "https://corp.example/\n",
                "https://corp\u00e9.example",
            )
        ),
        ({"issuer": "https://corp.example?tenant=1"}, "issuer"),
        ({"audiences": ()}, "audiences"),
        ({"audiences": ("kubemint", "")}, "audiences"),
        ({"algorithms": ()}, "algorithms"),
        *(
            ({"algorithms": ("RS256", name)}, "algorithms")
            for name in ("HS256", "HS512", "none", "ES512", "ES256K", "")
        ),
        ({"leeway": timedelta(seconds=-1)}, "leeway"),
        ({"leeway": timedelta(hours=1)}, "leeway"),
        ({"max_stale": timedelta(0)}, "maxStale"),
        ({"identity_claim": ""}, "identityClaim"),
        ({"identity_claim": "jti"}, "identityClaim"),
        ({"identity_claim": "iss"}, "identityClaim"),
        ({"keys_file": Path("keys.json"), "jwks_uri": "https://corp.example/jwks"}, "keysFile"),
        ({"keys_file": Path("keys.json"), "ca_file": Path("ca.crt")}, "keysFile"),
    ],
    ids=str,
)
def test_what_must_not_start(settings: dict[str, Any], field: str) -> None:
    """Each mistake has one sentence, which names the field."""
    (problem,) = oidc_issuer_problems(replace(GITHUB, **settings))
    assert problem.startswith(f"{field}: ")
    assert "secret" not in problem


def test_every_mistake_is_named() -> None:
    """All of them at once, not the first alone."""
    wrong = replace(GITHUB, issuer="", audiences=(), algorithms=("none",), leeway=timedelta(days=1))
    assert len(list(oidc_issuer_problems(wrong))) == 4


def test_no_algorithm_is_symmetric() -> None:
    """Nothing that verifies with what it signs with can be configured."""
    assert not any(name.startswith("HS") or name.lower() == "none" for name in ALGORITHMS)
    assert set(DEFAULT_ALGORITHMS) < ALGORITHMS
