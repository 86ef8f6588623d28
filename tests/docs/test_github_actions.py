"""docs/identity/github-actions.md, executed: the job's steps, with an issuer here in GitHub's place."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.cluster import Cluster, Kubectl
from docs.issuing import REQUEST_TOKEN, Provider, provider
from docs.pages import Page
from docs.serving import Terminal, check_certificate, documents, make_service, reason_codes
from running_service import RunningService

PAGE = Page.read("github-actions")
JOB = PAGE.yaml("job")["jobs"]["deploy"]
STEPS = {step["name"]: step["run"] for step in JOB["steps"] if "run" in step}
CLAIMS = PAGE.json("claims")


@pytest.fixture(scope="module")
def github(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """Run an issuer that gives jobs the token of the page."""
    with provider(tmp_path_factory.mktemp("github"), CLAIMS) as running:
        yield running


@pytest.fixture(scope="module")
def service(github: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve with the configuration and the policy of the page."""
    directory = tmp_path_factory.mktemp("service") / "kubemint"
    settings = github.settings(PAGE.yaml("configuration")["authentication"])
    with make_service(directory, settings, PAGE.block("policy")) as running:
        yield running


@pytest.fixture
def runner(github: Provider, service: RunningService, tmp_path: Path) -> Iterator[Terminal]:
    """Give the runner of a job, with the checkout as its working directory."""
    yield runner_of(github, service, tmp_path)
    github.claims = CLAIMS


def runner_of(github: Provider, service: RunningService, folder: Path) -> Terminal:
    """Make the runner's folders and give it what GitHub and the job's `env` set."""
    for name in ("temp", "deploy/manifests"):
        (folder / name).mkdir(parents=True)
    shutil.copy(service.tls_ca_file, folder / "deploy" / "kubemint.crt")
    variables = {
        **JOB["env"],
        "KUBEMINT_URL": service.url,
        "RUNNER_TEMP": str(folder / "temp"),
        "GITHUB_REPOSITORY": CLAIMS["repository"],
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{github.server.issuer}/token?api-version=2.0",
        "CURL_CA_BUNDLE": str(github.server.ca_file),  # as the runner's system trusts GitHub
    }
    return Terminal(folder=folder, variables=variables)


def test_the_job_may_ask_for_a_token() -> None:
    """The job has the permission to ask, and takes nothing else along."""
    assert JOB["permissions"] == {"contents": "read", "id-token": "write"}
    assert PAGE.yaml("job")["permissions"] == {}


def test_the_job_gets_a_certificate(runner: Terminal) -> None:
    """The first step, as it is written, leaves a certificate with the user, group and lifetime of the policy."""
    runner.check(STEPS["Get a certificate"])
    check_certificate(runner.folder / "temp" / "ci.crt", "ci:shop", ["deployers"], timedelta(minutes=10))


def test_a_token_counts_once(runner: Terminal) -> None:
    """What a job has exchanged is worth nothing to whoever finds it."""
    runner.check(STEPS["Get a certificate"])
    again = STEPS["Get a certificate"].split("openssl", 1)[1]
    ran = runner.run(f"openssl{again}")
    assert ran.returncode == 1
    assert reason_codes(ran.stdout) == ["token-used"]


@pytest.mark.parametrize(
    "changed",
    [
        {"repository_id": "700201"},
        {"environment": None},
        {"ref": "refs/heads/topic"},
        {"event_name": "pull_request_target"},
        {"runner_environment": "self-hosted"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_job_is_refused(runner: Terminal, github: Provider, changed: dict[str, Any]) -> None:
    """Each claim of the profile is needed: the step fails and prints the reason."""
    github.claims = {name: value for name, value in {**CLAIMS, **changed}.items() if value is not None}
    ran = runner.run(STEPS["Get a certificate"])
    assert ran.returncode == 1
    assert reason_codes(ran.stdout) == ["no-profile"]


def test_another_organization_is_not_known(runner: Terminal, github: Provider) -> None:
    """A token of another owner is turned away before the policy, though its repository has the same name."""
    github.claims = {**CLAIMS, "repository_owner_id": "900101"}
    ran = runner.run(STEPS["Get a certificate"])
    assert ran.returncode == 1
    assert documents(ran.stdout)[-1]["code"] == "not-authenticated"


def test_another_group_is_refused(runner: Terminal) -> None:
    """The right job gets nothing that its profile does not hold."""
    ran = runner.run(STEPS["Get a certificate"].replace("/O=deployers", "/O=admins"))
    assert reason_codes(ran.stdout) == ["group-not-allowed"]


def test_a_dry_run_explains_and_leaves_the_token(runner: Terminal, github: Provider) -> None:
    """What to try after a refusal says why; after a grant the token is still good."""
    github.claims = {**CLAIMS, "environment": "staging"}
    runner.run(STEPS["Get a certificate"])
    policy, decision = documents(runner.check(PAGE.block("refused")))
    assert policy["profiles"] == []
    assert decision["verdict"] == "refused"
    assert [reason["code"] for reason in decision["reasons"]] == ["no-profile"]
    github.claims = CLAIMS
    token, *_ = STEPS["Get a certificate"].split("openssl", 1)
    runner.check(token)
    assert documents(runner.check(PAGE.block("refused")))[-1]["verdict"] == "granted"
    runner.check(PAGE.block("request"))


def test_the_command_writes_a_kubeconfig(runner: Terminal) -> None:
    """`kubemint request` as the page has it does the same in one command."""
    token, *_ = STEPS["Get a certificate"].split("openssl", 1)
    runner.check(token + PAGE.block("request"))
    assert "203.0.113.10" in (runner.folder / "temp" / "kubeconfig").read_text()


def test_one_profile_for_all_repositories(github: Provider, tmp_path: Path) -> None:
    """The reusable workflow is trusted, the user is the repository; another workflow is refused."""
    workflow = "acme/automation/.github/workflows/deploy.yml@refs/heads/main"
    settings = github.settings(PAGE.yaml("configuration")["authentication"])
    ask = STEPS["Get a certificate"].replace("CN=ci:shop", r"CN=ci:${GITHUB_REPOSITORY/\//\\/}")
    with make_service(tmp_path / "kubemint", settings, PAGE.block("policy", "organization")) as service:
        runner = runner_of(github, service, tmp_path / "runner")
        assert reason_codes(runner.run(ask).stdout) == ["no-profile"]
        github.claims = {**CLAIMS, "job_workflow_ref": workflow}
        runner.check(ask)
        github.claims = CLAIMS
    check_certificate(runner.folder / "temp" / "ci.crt", "ci:acme/shop", ["deployers"], timedelta(minutes=10))


@pytest.mark.xdist_group("cluster")
def test_the_job_deploys(github: Provider, cluster: Cluster, admin: Kubectl, tmp_path: Path) -> None:
    """Both steps against a real API server: what is in deploy/manifests is there afterwards."""
    admin.run("create", "namespace", "shop")
    settings = github.settings(PAGE.yaml("configuration")["authentication"])
    directory = tmp_path / "kubemint"
    with make_service(directory, settings, PAGE.block("policy"), ca=cluster.ca.files) as service:
        runner = runner_of(github, service, tmp_path / "runner")
        runner.check(PAGE.block("rights"), KUBECONFIG=str(cluster.admin_kubeconfig))
        runner.check(STEPS["Get a certificate"])
    shutil.copy(cluster.ca.certificate_file, runner.folder / "deploy" / "cluster.crt")
    manifest = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "from-github"}}'
    (runner.folder / "deploy" / "manifests" / "shop.json").write_text(manifest)
    runner.check(STEPS["Deploy"], CLUSTER_SERVER=cluster.url)
    assert "from-github" in admin("get", "configmaps", "--namespace=shop")
