"""docs/identity/gitlab-ci.md, executed: the job's script, with an issuer here in GitLab's place."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.cluster import Cluster, Kubectl
from docs.issuing import Provider, provider
from docs.pages import Page
from docs.serving import Terminal, check_certificate, documents, make_service, reason_codes
from running_service import RunningService

PAGE = Page.read("gitlab-ci")
JOB = PAGE.yaml("job")["deploy"]
CLAIMS = PAGE.json("claims")
AUDIENCE = JOB["id_tokens"]["KUBEMINT_ID_TOKEN"]["aud"]
SHELL = ("bash", "-eo", "pipefail")  # as the runner's shell executor runs a script
ASKING, DEPLOYING = (part.strip() for part in "\n".join(JOB["script"]).split("export KUBECONFIG", 1))


@pytest.fixture(scope="module")
def gitlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """Run an issuer."""
    with provider(tmp_path_factory.mktemp("gitlab"), CLAIMS) as running:
        yield running


@pytest.fixture(scope="module")
def service(gitlab: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve with the configuration and the policy of the page."""
    directory = tmp_path_factory.mktemp("service") / "kubemint"
    settings = gitlab.settings(PAGE.yaml("configuration")["authentication"])
    with make_service(directory, settings, PAGE.block("policy")) as running:
        yield running


@pytest.fixture
def job(service: RunningService, tmp_path: Path) -> Terminal:
    """Give the checkout of a job, without its token."""
    return job_of(service, tmp_path)


def job_of(service: RunningService, folder: Path) -> Terminal:
    """Make the checkout, and set what the job's `variables` do."""
    (folder / "deploy" / "manifests").mkdir(parents=True)
    shutil.copy(service.tls_ca_file, folder / "deploy" / "kubemint.crt")
    return Terminal(folder=folder, variables={**JOB["variables"], "KUBEMINT_URL": service.url})


def token_of(gitlab: Provider, folder: Path, **changed: Any) -> str:
    """Make the token of a job for the audience that the page's file asks for; each folder's has its own `jti`."""
    return gitlab.token(CLAIMS, AUDIENCE, **{"jti": str(folder), **changed})


def test_the_job_gets_a_certificate(job: Terminal, gitlab: Provider) -> None:
    """The script, as it is written, leaves a certificate with the user, group and lifetime of the policy."""
    job.check(ASKING, *SHELL, KUBEMINT_ID_TOKEN=token_of(gitlab, job.folder))
    check_certificate(job.folder / "ci.crt", "gitlab:shop", ["gitlab-deployers"], timedelta(minutes=10))


def test_a_token_counts_once(job: Terminal, gitlab: Provider) -> None:
    """A job's token is worth nothing after its exchange; a second token of the same job is good."""
    token = token_of(gitlab, job.folder)
    job.check(ASKING, *SHELL, KUBEMINT_ID_TOKEN=token)
    ran = job.run(ASKING, *SHELL, KUBEMINT_ID_TOKEN=token)
    assert ran.returncode == 1
    assert reason_codes(ran.stdout) == ["token-used"]
    job.check(ASKING, *SHELL, KUBEMINT_ID_TOKEN=token_of(gitlab, job.folder, jti="second"))


@pytest.mark.parametrize(
    "changed",
    [
        {"project_id": "21"},
        {"project_id": 20},
        {"ref_type": "tag"},
        {"ref": "release/1"},
        {"ref_protected": "false"},
        {"pipeline_source": "merge_request_event"},
        {"environment": None},
    ],
    ids=str,
)
def test_another_job_is_refused(job: Terminal, gitlab: Provider, changed: dict[str, Any]) -> None:
    """Each claim of the profile is needed: the script fails and prints the reason."""
    ran = job.run(ASKING, *SHELL, KUBEMINT_ID_TOKEN=token_of(gitlab, job.folder, **changed))
    assert ran.returncode == 1
    assert reason_codes(ran.stdout) == ["no-profile"]


def test_a_fork_with_our_job_project_is_refused(job: Terminal, gitlab: Provider) -> None:
    """In a fork's merge request `project_id` is the fork's, though the job runs in our project."""
    fork = {
        "project_id": "99",
        "project_path": "eve/shop",
        "job_project_id": "20",
        "job_project_path": "acme/shop",
    }
    ran = job.run(ASKING, *SHELL, KUBEMINT_ID_TOKEN=token_of(gitlab, job.folder, **fork))
    assert reason_codes(ran.stdout) == ["no-profile"]


def test_another_audience_is_not_known(job: Terminal, gitlab: Provider) -> None:
    """A token for another service is no proof here."""
    token = gitlab.token(CLAIMS, "https://vault.example.com")
    ran = job.run(ASKING, *SHELL, KUBEMINT_ID_TOKEN=token)
    assert documents(ran.stdout)[-1]["code"] == "not-authenticated"


def test_another_user_is_refused(job: Terminal, gitlab: Provider) -> None:
    """The right job gets no other name, and has used its token up by asking for it."""
    ask = ASKING.replace("CN=gitlab:shop", "CN=gitlab:bank")
    token = token_of(gitlab, job.folder)
    assert reason_codes(job.run(ask, *SHELL, KUBEMINT_ID_TOKEN=token).stdout) == ["user-not-allowed"]
    assert reason_codes(job.run(ASKING, *SHELL, KUBEMINT_ID_TOKEN=token).stdout) == ["token-used"]


def test_a_dry_run_explains_and_leaves_the_token(job: Terminal, gitlab: Provider) -> None:
    """What to try after a refusal says why; after a grant the token is still good, for the one command too."""
    foreign = token_of(gitlab, job.folder, project_id="21")
    job.run(ASKING, *SHELL, KUBEMINT_ID_TOKEN=foreign)
    policy, decision = documents(job.check(PAGE.block("refused"), KUBEMINT_ID_TOKEN=foreign))
    assert policy["profiles"] == []
    assert [reason["code"] for reason in decision["reasons"]] == ["no-profile"]
    good = token_of(gitlab, job.folder, jti="good")
    assert documents(job.check(PAGE.block("refused"), KUBEMINT_ID_TOKEN=good))[-1]["verdict"] == "granted"
    job.check(PAGE.block("request"), KUBEMINT_ID_TOKEN=good)
    assert "203.0.113.10" in (job.folder / "ci.kubeconfig").read_text()


@pytest.mark.xdist_group("cluster")
def test_the_job_deploys(gitlab: Provider, cluster: Cluster, admin: Kubectl, tmp_path: Path) -> None:
    """The whole script against a real API server: what is in deploy/manifests is there afterwards."""
    admin.run("create", "namespace", "shop")
    settings = gitlab.settings(PAGE.yaml("configuration")["authentication"])
    with make_service(tmp_path / "kubemint", settings, PAGE.block("policy"), ca=cluster.ca.files) as service:
        job = job_of(service, tmp_path / "job")
        job.check(PAGE.block("rights"), KUBECONFIG=str(cluster.admin_kubeconfig))
        shutil.copy(cluster.ca.certificate_file, job.folder / "deploy" / "cluster.crt")
        manifest = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "from-gitlab"}}'
        (job.folder / "deploy" / "manifests" / "shop.json").write_text(manifest)
        token = token_of(gitlab, job.folder)
        script = f"{ASKING}\nexport KUBECONFIG{DEPLOYING}"
        job.check(script, *SHELL, KUBEMINT_ID_TOKEN=token, CLUSTER_SERVER=cluster.url)
    assert "from-gitlab" in admin("get", "configmaps", "--namespace=shop")
