"""docs/identity/person-oidc.md, executed: one service that trusts all four providers of the page."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.issuing import Provider, provider
from docs.pages import Page
from docs.serving import Terminal, check_certificate, documents, make_service, reason_codes
from running_service import RunningService

PAGE = Page.read("person-oidc")
PROVIDERS = ("dex", "keycloak", "google", "entra")
NAMES = {
    "dex": "jane@example.com",
    "keycloak": "keycloak:jane",
    "google": "jane@example.com",
    "entra": "entra:690222be-ff1a-4d56-abd1-7e4f7d38e474",
}
OVERAGE = {
    "roles": None,
    "_claim_names": {"groups": "src1"},
    "_claim_sources": {"src1": {"endpoint": "https://graph.microsoft.com/v1.0/users/690222be/getMemberObjects"}},
}


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Provider]]:
    """Run an issuer for each provider."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("providers")
        yield {name: stack.enter_context(provider(folder / name, {})) for name in PROVIDERS}


@pytest.fixture(scope="module")
def service(
    providers: Mapping[str, Provider], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """Serve with the four configurations and policies of the page in one."""
    issuers: list[dict[str, Any]] = []
    policy: dict[str, Any] = {"apiVersion": "kubemint/v1", "kind": "Policy", "profiles": {}}
    for name, running in providers.items():
        issuers += running.settings(PAGE.yaml("configuration", name)["authentication"])["oidc"]
        policy["profiles"] |= PAGE.yaml("policy", name)["profiles"]
    directory = tmp_path_factory.mktemp("service") / "kubemint"
    with make_service(directory, {"oidc": issuers}, yaml.safe_dump(policy)) as running_service:
        yield running_service


def person(service: RunningService, name: str, folder: Path, token: str) -> Terminal:
    """Give the terminal of a person who has signed in at a provider."""
    (folder / "id.token").write_text(token)
    shutil.copy(service.tls_ca_file, folder / "kubemint.crt")
    variables = {"KUBEMINT_URL": service.url, "NAME": NAMES[name], "GROUP": f"{name}-developers"}
    return Terminal(folder=folder, variables=variables)


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_login_is_for_the_configured_client(name: str) -> None:
    """The command to sign in names the issuer and the client that the configuration trusts."""
    (issuer,) = PAGE.yaml("configuration", name)["authentication"]["oidc"]
    words = PAGE.block("login", name).split()
    assert f"--oidc-issuer-url={issuer['issuer']}" in words
    assert [f"--oidc-client-id={audience}" for audience in issuer["audiences"]] == [
        word for word in words if word.startswith("--oidc-client-id=")
    ]
    claims = PAGE.json("claims", name)
    assert (claims["iss"], [claims["aud"]]) == (issuer["issuer"], issuer["audiences"])


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_person_gets_a_certificate(
    service: RunningService, providers: Mapping[str, Provider], name: str, tmp_path: Path
) -> None:
    """The steps with a token of the page's claims give the person's own name and the group, for an hour."""
    jane = person(service, name, tmp_path, providers[name].token(PAGE.json("claims", name)))
    jane.check(PAGE.block("steps"))
    check_certificate(tmp_path / "person.crt", NAMES[name], [f"{name}-developers"], timedelta(hours=1))


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("dex", {"groups": ["acme:sales"]}),
        ("dex", {"federated_claims": {"connector_id": "ldap", "user_id": "7"}}),
        ("keycloak", {"realm_access": {"roles": ["offline_access"]}}),
        ("keycloak", {"realm_access": None, "realm_access.roles": ["viewer"]}),
        ("google", {"email": "eve@example.com"}),
        ("entra", {"roles": ["Kubernetes.Viewer"]}),
        ("entra", {"tid": "9188040d-6c67-4c5b-b112-36a304b66dad"}),
        ("entra", OVERAGE),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_another_person_is_refused(
    service: RunningService, providers: Mapping[str, Provider], name: str, changed: dict[str, Any], tmp_path: Path
) -> None:
    """Without the group, role or address of the profile there is no certificate; the dry run says the same."""
    token = providers[name].token(PAGE.json("claims", name), **changed)
    terminal = person(service, name, tmp_path, token)
    ran = terminal.run(PAGE.block("steps"))
    assert ran.returncode == 1
    assert reason_codes(ran.stdout) == ["no-profile"]
    policy, decision = documents(terminal.check(PAGE.block("refused")))
    assert policy["profiles"] == []
    assert decision["verdict"] == "refused"


@pytest.mark.parametrize(
    ("name", "changed"),
    [("dex", {"email_verified": False}), ("google", {"email_verified": False}), ("google", {"hd": None})],
)
def test_a_required_claim_is_required(
    service: RunningService, providers: Mapping[str, Provider], name: str, changed: dict[str, Any], tmp_path: Path
) -> None:
    """An address that is not verified, or an account outside the organization, proves nobody."""
    token = providers[name].token(PAGE.json("claims", name), **changed)
    ran = person(service, name, tmp_path, token).run(PAGE.block("steps"))
    assert documents(ran.stdout)[-1]["code"] == "not-authenticated"


@pytest.mark.parametrize("name", PROVIDERS)
def test_nobody_gets_anothers_name(
    service: RunningService, providers: Mapping[str, Provider], name: str, tmp_path: Path
) -> None:
    """The name is bound to the person who signed in."""
    terminal = person(service, name, tmp_path, providers[name].token(PAGE.json("claims", name)))
    ran = terminal.run(PAGE.block("steps"), NAME="joe@example.com")
    assert reason_codes(ran.stdout) == ["user-not-allowed"]


def test_the_command_writes_a_kubeconfig(
    service: RunningService, providers: Mapping[str, Provider], tmp_path: Path
) -> None:
    """`kubemint request` as the page has it does the same in one command."""
    jane = person(service, "dex", tmp_path, providers["dex"].token(PAGE.json("claims", "dex")))
    ask, _, _ = PAGE.block("request").partition("kubectl")
    jane.check(ask)
    assert "203.0.113.10" in (tmp_path / "person.kubeconfig").read_text()


def test_the_certificate_renews_without_a_login(
    service: RunningService, providers: Mapping[str, Provider], tmp_path: Path
) -> None:
    """The steps of the page on renewal work with what a login has led to, and give no other person's name."""
    renewal = Page.read("client-certificates").block("renewal")
    jane = person(service, "keycloak", tmp_path, providers["keycloak"].token(PAGE.json("claims", "keycloak")))
    jane.check(PAGE.block("steps"))
    for kind in ("crt", "key"):
        shutil.copy(tmp_path / f"person.{kind}", tmp_path / f"mine.{kind}")
    jane.check(renewal)
    check_certificate(tmp_path / "mine.crt", NAMES["keycloak"], ["keycloak-developers"], timedelta(hours=1))
    ran = jane.run(renewal, NAME="keycloak:joe")
    assert "renewal-other-user" in reason_codes(ran.stdout)
