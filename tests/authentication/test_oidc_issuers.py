"""Tokens as GitHub Actions and GitLab make them, from an HTTPS issuer to a requester that rules match on."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from authentication.issuers import IssuerServer, claims_of, key_set, new_key, serving
from kubemint.authentication import Evidence
from kubemint.authentication.oidc import OidcAuthenticator, OidcIssuer
from kubemint.errors import NotAuthenticated
from kubemint.policy.claims import ClaimRule, Pattern, fill
from kubemint.requester import Requester

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
KEY = new_key("cc413527-173f-5a05-976e-9c52b1d7b431", "RS256")  # both sign with RS256 alone

GITHUB = {
    "jti": "a4a2a4a2-1f0e-4c5d-9b0e-9f4b0c1d2e3f",
    "sub": "repo:acme/shop:environment:production",
    "environment": "production",
    "ref": "refs/heads/main",
    "sha": "2e7a3b1c9d4f5061728394a5b6c7d8e9f0a1b2c3",
    "repository": "acme/shop",
    "repository_owner": "acme",
    "actor_id": "12",
    "repository_visibility": "private",
    "repository_id": "74",
    "repository_owner_id": "65",
    "run_id": "9876543210",
    "run_number": "10",
    "run_attempt": "2",
    "runner_environment": "github-hosted",
    "actor": "octocat",
    "workflow": "deploy",
    "head_ref": "",
    "base_ref": "",
    "event_name": "push",
    "ref_type": "branch",
    "ref_protected": "true",
    "workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
    "workflow_sha": "2e7a3b1c9d4f5061728394a5b6c7d8e9f0a1b2c3",
    "job_workflow_ref": "acme/automation/.github/workflows/oidc.yml@refs/heads/main",
    "job_workflow_sha": "2e7a3b1c9d4f5061728394a5b6c7d8e9f0a1b2c3",
}
GITLAB = {
    "jti": "235b3a54-b797-45c7-ae9a-f72d7bc6ef5b",
    "sub": "project_path:acme/shop:ref_type:branch:ref:main",
    "namespace_id": "72",
    "namespace_path": "acme",
    "project_id": "20",
    "project_path": "acme/shop",
    "user_id": "1",
    "user_login": "sample-user",
    "user_email": "sample-user@example.com",
    "user_access_level": "developer",
    "user_identities": [{"provider": "github", "extern_uid": "2435223452345"}],
    "pipeline_id": "574",
    "pipeline_source": "push",
    "job_id": "302",
    "ref": "main",
    "ref_type": "branch",
    "ref_path": "refs/heads/main",
    "ref_protected": "true",
    "groups_direct": ["acme/platform", "acme/shop-team"],
    "environment": "production",
    "environment_protected": "false",
    "deployment_tier": "production",
    "environment_action": "start",
    "runner_id": 1,
    "runner_environment": "self-hosted",
    "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
    "project_visibility": "public",
    "ci_config_ref_uri": "gitlab.example.com/acme/shop//.gitlab-ci.yml@refs/heads/main",
    "ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[IssuerServer]:
    """Run the issuer of a CI system."""
    with serving(tmp_path) as server:
        server.keys = key_set(KEY, KEY.jwk(kid="for encryption", use="enc"))
        yield server


def ask(server: IssuerServer, claims: dict[str, Any], *rules: ClaimRule) -> Requester | None:
    """Show a token with these claims to a service that trusts the issuer."""
    issuer = OidcIssuer(
        name="ci", issuer=server.issuer, audiences=("kubemint",), ca_file=server.ca_file, required_claims=rules
    )
    authenticator = OidcAuthenticator((issuer,))
    token = KEY.token(claims_of(server.issuer, NOW, **claims), x5t="eyJ0")
    try:
        return authenticator.authenticate(
            Evidence(authorization=f"Bearer {token}", client_certificate_der=None), NOW
        )
    finally:
        authenticator.close()


def rule(path: str, *texts: str) -> ClaimRule:
    """Want one of these texts."""
    return ClaimRule(path=path, wanted=tuple(map(Pattern, texts)))


@pytest.mark.parametrize(
    ("claims", "rules", "template", "name"),
    [
        (
            GITHUB,
            (rule("repository", "acme/*"), rule("ref", "refs/heads/main"), rule("repository_owner_id", "65")),
            "ci:{claims.repository}",
            "ci:acme/shop",
        ),
        (
            GITLAB,
            (
                rule("project_path", "acme/shop"),
                rule("ref_protected", "true"),
                rule("groups_direct", "acme/platform"),
            ),
            "ci:{claims.project_path}:{claims.environment}",
            "ci:acme/shop:production",
        ),
    ],
    ids=["GitHub Actions", "GitLab"],
)
def test_a_pipeline(
    server: IssuerServer, claims: dict[str, Any], rules: tuple[ClaimRule, ...], template: str, name: str
) -> None:
    """A pipeline's token names its repository, and rules and templates read what it says."""
    requester = ask(server, claims, *rules)
    assert requester.identity == f"oidc:ci:{claims['sub']}"
    assert {**claims, "iss": server.issuer, "aud": "kubemint"} == {**requester.claims, "jti": claims["jti"]}
    assert fill((Pattern(template),), requester.claims).patterns == (Pattern(name),)


@pytest.mark.parametrize(
    ("claims", "change"),
    [(GITHUB, {"repository_owner": "acme-evil"}), (GITLAB, {"namespace_path": "acme/evil"})],
    ids=["GitHub Actions", "GitLab"],
)
def test_another_tenant_of_the_same_issuer(
    server: IssuerServer, claims: dict[str, Any], change: dict[str, str]
) -> None:
    """Everybody's pipelines have tokens of the same issuer: the required claims keep the others out."""
    (name,) = change
    required = rule(name, "acme")
    assert ask(server, claims, required) is not None
    with pytest.raises(NotAuthenticated):
        ask(server, {**claims, **change}, required)


def test_a_repository_cannot_write_a_name(server: IssuerServer) -> None:
    """A branch name that holds a wildcard or a newline comes through and fills no name."""
    for ref in ("refs/heads/*", "refs/heads/a\nb", "refs/heads/{claims.actor}"):
        requester = ask(server, {**GITHUB, "ref": ref})
        assert requester.claims["ref"] == ref
        assert fill((Pattern("ci:{claims.ref}"),), requester.claims).patterns == ()
