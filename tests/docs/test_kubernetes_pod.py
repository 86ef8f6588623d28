"""docs/identity/kubernetes-pod.md, executed: the pod's script, by TokenReview and offline."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from authentication.issuers import IssuerKey, claims_of, key_set, new_key
from cluster.cluster import Cluster, Kubectl
from docs.pages import Page
from docs.serving import Terminal, check_certificate, documents, make_service, reason_codes
from running_service import RunningService

PAGE = Page.read("kubernetes-pod")
POD = PAGE.yaml("job")
CONTAINER = POD["spec"]["containers"][0]
(SCRIPT,) = CONTAINER["args"]
SHELL = tuple(CONTAINER["command"][:-1])  # `run` adds -c
VARIABLES = {each["name"]: each["value"] for each in CONTAINER["env"]}
CLAIMS = PAGE.json("claims")
ASKING = SCRIPT.split("kubectl", 1)[0]
PROJECTED = next(v for v in POD["spec"]["volumes"] if v["name"] == "token")["projected"]["sources"][0][
    "serviceAccountToken"
]
ISSUER = "https://kubernetes.default.svc"  # of the cluster here


@pytest.fixture(scope="module")
def key() -> IssuerKey:
    """Make the key that signs a cluster's tokens."""
    return new_key(algorithm="RS256")


@pytest.fixture(scope="module")
def offline(key: IssuerKey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve with the offline configuration of the page, and that key in the file that it names."""
    directory = tmp_path_factory.mktemp("service") / "kubemint"
    settings = PAGE.yaml("configuration", "offline")["authentication"]
    service = make_service(directory, settings, PAGE.block("policy"))
    (directory / settings["kubernetes"][0]["keysFile"]).write_bytes(key_set(key))
    with service:
        yield service


def pod_of(service: RunningService, folder: Path, token: str) -> Terminal:
    """Make the volumes of the pod, and set its variables to them."""
    for name in ("etc", "work"):
        (folder / name).mkdir(parents=True)
    (folder / "token").write_text(token)
    shutil.copy(service.tls_ca_file, folder / "etc" / "kubemint.crt")
    places = {"TOKEN_FILE": folder / "token", "PUBLIC": folder / "etc", "WORK": folder / "work"}
    variables = {**VARIABLES, **{name: str(place) for name, place in places.items()}, "KUBEMINT_URL": service.url}
    return Terminal(folder=folder, variables=variables)


def token_of(key: IssuerKey, **changed: Any) -> str:
    """Sign the claims of the page, with times."""
    return key.token(claims_of(CLAIMS["iss"], datetime.now(UTC), **{**CLAIMS, "audience": "kubemint"}, **changed))


def test_the_volume_fits_the_variables() -> None:
    """The token is mounted where the script looks for it, for the audience that the configuration wants."""
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert f"{mounts['token']}/{PROJECTED['path']}" == VARIABLES["TOKEN_FILE"]
    assert (mounts["public"], mounts["work"]) == (VARIABLES["PUBLIC"], VARIABLES["WORK"])
    for block in PAGE.of_kind("configuration"):
        (cluster,) = PAGE.yaml("configuration", block.name)["authentication"]["kubernetes"]
        assert (cluster["audience"], cluster["issuer"]) == (PROJECTED["audience"], CLAIMS["iss"])


def test_the_pod_gets_a_certificate(offline: RunningService, key: IssuerKey, tmp_path: Path) -> None:
    """The script, as it is written, leaves a certificate with the user, group and lifetime of the policy."""
    pod = pod_of(offline, tmp_path, token_of(key))
    pod.check(ASKING, *SHELL)
    check_certificate(tmp_path / "work" / "pod.crt", "pod:ci:deployer", ["pod-deployers"], timedelta(minutes=10))
    pod.check(PAGE.block("request"))
    assert "203.0.113.10" in (tmp_path / "work" / "kubeconfig").read_text()


def renamed(namespace: str, name: str) -> dict[str, Any]:
    """Give the claims of another account."""
    account = {"name": name, "uid": "2f1d34a2-6be1-4a0c-9c1f-0a52f7f0d9a1"}
    private = {**CLAIMS["kubernetes.io"], "namespace": namespace, "serviceaccount": account}
    return {"sub": f"system:serviceaccount:{namespace}:{name}", "kubernetes.io": private}


@pytest.mark.parametrize(("namespace", "name"), [("cd", "deployer"), ("ci", "default")])
def test_another_account_is_refused(
    offline: RunningService, key: IssuerKey, tmp_path: Path, namespace: str, name: str
) -> None:
    """The same name in another namespace, and another account of the namespace, get nothing and learn why."""
    claims = {**CLAIMS, **renamed(namespace, name)}
    token = key.token(claims_of(CLAIMS["iss"], datetime.now(UTC), **claims, audience="kubemint"))
    pod = pod_of(offline, tmp_path, token)
    ran = pod.run(ASKING, *SHELL)
    assert ran.returncode == 1
    assert reason_codes(ran.stdout) == ["no-profile"]
    policy, decision = documents(pod.check(PAGE.block("refused")))
    assert policy["profiles"] == []
    assert [reason["code"] for reason in decision["reasons"]] == ["no-profile"]


def test_another_audience_is_not_known(offline: RunningService, key: IssuerKey, tmp_path: Path) -> None:
    """The token that every pod has for the API server is no proof here."""
    claims = {name: value for name, value in CLAIMS.items() if name != "aud"}
    token = key.token(claims_of(CLAIMS["iss"], datetime.now(UTC), **claims, audience=[CLAIMS["iss"]]))
    ran = pod_of(offline, tmp_path, token).run(ASKING, *SHELL)
    assert documents(ran.stdout)[-1]["code"] == "not-authenticated"


@pytest.fixture
def project(admin: Kubectl) -> Callable[[str, str], str]:
    """Make an account and the page's pod in a real cluster; give the token that kubelet would project."""

    def make(namespace: str, account: str) -> str:
        for kind in (("namespace", namespace), ("serviceaccount", account, f"--namespace={namespace}")):
            admin.run("create", *kind)
        manifest = {**POD, "metadata": {"generateName": "deployer-", "namespace": namespace}}
        manifest["spec"] = {**POD["spec"], "serviceAccountName": account}
        pod = admin.create(manifest)["metadata"]
        bound = (
            "--bound-object-kind=Pod",
            f"--bound-object-name={pod['name']}",
            f"--bound-object-uid={pod['uid']}",
        )
        wanted = (f"--audience={PROJECTED['audience']}", f"--duration={PROJECTED['expirationSeconds']}s")
        return admin("create", "token", account, f"--namespace={namespace}", *wanted, *bound).strip()

    return make


def kubeconfig_of_kubemint(cluster: Cluster, admin: Kubectl, folder: Path) -> Path:
    """Apply the manifest of the page, and let kubemint reach the API server as the account in it."""
    admin.run("create", "namespace", "kubemint")
    for document in yaml.safe_load_all(PAGE.block("rbac")):
        admin.create(document)
    token = admin("create", "token", "kubemint", "--namespace=kubemint").strip()
    authority = str(cluster.ca.certificate_file)
    server = {"name": "c", "cluster": {"server": cluster.url, "certificate-authority": authority}}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [server],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file = folder / "kubemint.kubeconfig"
    file.write_text(json.dumps(config))
    return file


@pytest.mark.xdist_group("cluster")
def test_the_pod_deploys(
    cluster: Cluster, admin: Kubectl, project: Callable[[str, str], str], tmp_path: Path
) -> None:
    """With a real API server: TokenReview under the page's RBAC, the pod as it is, its token, and kubectl."""
    admin.run("create", "namespace", "shop")
    settings = PAGE.yaml("configuration")["authentication"]
    (production,) = settings["kubernetes"]
    del production["inCluster"]
    production |= {"issuer": ISSUER, "kubeconfig": str(kubeconfig_of_kubemint(cluster, admin, tmp_path))}
    with make_service(tmp_path / "kubemint", settings, PAGE.block("policy"), ca=cluster.ca.files) as service:
        pod = pod_of(service, tmp_path / "pod", project("ci", "deployer"))
        pod.check(PAGE.block("rights"), KUBECONFIG=str(cluster.admin_kubeconfig))
        shutil.copy(cluster.ca.certificate_file, pod.folder / "etc" / "cluster.crt")
        manifest = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "from-pod"}}'
        (pod.folder / "etc" / "shop.json").write_text(manifest)
        pod.check(SCRIPT, *SHELL, CLUSTER_SERVER=cluster.url)
        other = pod_of(service, tmp_path / "other", project("cd", "deployer"))
        assert reason_codes(other.run(ASKING, *SHELL).stdout) == ["no-profile"]
    assert "from-pod" in admin("get", "configmaps", "--namespace=shop")
