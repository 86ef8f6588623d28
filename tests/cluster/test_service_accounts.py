"""Service account tokens of a real API server: it says whose they are, and so do its keys, offline."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cluster.authorities import openssl
from cluster.cluster import Cluster, Kubectl
from kubemint.authentication import Evidence
from kubemint.authentication.kubernetes import KubernetesAuthenticator, KubernetesCluster, Review
from kubemint.errors import IdentityUnavailable, NotAuthenticated
from kubemint.requester import Method, Requester

pytestmark = pytest.mark.xdist_group("cluster")

ISSUER = "https://kubernetes.default.svc"
AUDIENCE = "kubemint"


@dataclass(frozen=True)
class Accounts:
    """Service accounts and pods of one namespace, and their tokens."""

    admin: Kubectl
    namespace: str

    def create(self, name: str) -> str:
        """Make a service account and give its uid."""
        metadata = {"name": name, "namespace": self.namespace}
        manifest = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
        uid: str = self.admin.create(manifest)["metadata"]["uid"]
        return uid

    def create_pod(self, name: str, account: str) -> str:
        """Make a pod that no node runs, and give its uid."""
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"serviceAccountName": account, "containers": [{"name": "main", "image": "example.com/none"}]},
        }
        uid: str = self.admin.create(manifest)["metadata"]["uid"]
        return uid

    def token(self, name: str, audience: str = AUDIENCE, pod: tuple[str, str] | None = None) -> str:
        """Ask for a token as kubelet does for a projected volume (TokenRequest)."""
        specification: dict[str, Any] = {"audiences": [audience], "expirationSeconds": 600}
        if pod is not None:
            specification["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": pod[0], "uid": pod[1]}
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": specification}
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{name}/token"
        ran = self.admin.run("create", "--raw", path, "-f", "-", stdin=json.dumps(request))
        assert ran.returncode == 0, ran.stderr
        token: str = json.loads(ran.stdout)["status"]["token"]
        return token


class Clock:
    """A monotonic clock that is moved by hand."""

    seconds = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.seconds


@pytest.fixture
def accounts(admin: Kubectl, namespace: str) -> Accounts:
    """Give a namespace without accounts."""
    return Accounts(admin, namespace)


@pytest.fixture
def reviewing(cluster: Cluster) -> KubernetesAuthenticator:
    """Give an authenticator that asks the API server, with the administrator's kubeconfig."""
    return authenticator(review=Review(kubeconfig=cluster.admin_kubeconfig))


@pytest.fixture(params=["sa.pub", "jwks"])
def offline(
    request: pytest.FixtureRequest, cluster: Cluster, admin: Kubectl, tmp_path: Path
) -> KubernetesAuthenticator:
    """Give an authenticator that has the API server's keys: the file that it signs with, or what it publishes."""
    keys_file = tmp_path / request.param
    if request.param == "jwks":
        keys_file.write_text(admin("get", "--raw", "/openid/v1/jwks"))
    else:
        private_key = str(cluster.directory / "server" / "tls.key")
        openssl("pkey", "-in", private_key, "-pubout", "-out", str(keys_file))
    return authenticator(keys_file=keys_file)


@pytest.fixture(params=["reviewing", "offline"])
def either(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> KubernetesAuthenticator:
    """Give an authenticator of each way."""
    if request.param == "reviewing":
        return authenticator(review=Review(kubeconfig=cluster.admin_kubeconfig))
    openssl("pkey", "-in", str(cluster.directory / "server" / "tls.key"), "-pubout", "-out", str(tmp_path / "pub"))
    return authenticator(keys_file=tmp_path / "pub")


def authenticator(clock: Callable[[], float] = time.monotonic, **way: Any) -> KubernetesAuthenticator:
    """Make an authenticator of one cluster."""
    lab = KubernetesCluster(name="lab", issuer=ISSUER, audience=AUDIENCE, **way)
    return KubernetesAuthenticator((lab,), clock, {})


def ask(way: KubernetesAuthenticator, token: str) -> Requester | None:
    """Show a token."""
    evidence = Evidence(authorization=f"Bearer {token}", client_certificate_der=None)
    return way.authenticate(evidence, datetime.now(UTC))


def test_a_projected_token_proves_its_account(either: KubernetesAuthenticator, accounts: Accounts) -> None:
    """Namespace, name and uid are what the API server has; the identity is unique over clusters."""
    uid = accounts.create("deployer")
    requester = ask(either, accounts.token("deployer"))
    assert requester is not None
    assert (requester.method, requester.authority) == (Method.KUBERNETES, "lab")
    assert requester.identity == f"kubernetes:lab:{accounts.namespace}:deployer"
    assert dict(requester.claims) == {"namespace": accounts.namespace, "name": "deployer", "uid": uid}


def test_a_token_of_kubectl_is_one_too(
    either: KubernetesAuthenticator, accounts: Accounts, admin: Kubectl
) -> None:
    """`kubectl create token` with our audience gives a token that proves its account."""
    accounts.create("deployer")
    token = admin("create", "token", "deployer", "-n", accounts.namespace, f"--audience={AUDIENCE}").strip()
    requester = ask(either, token)
    assert requester is not None
    assert requester.claims["name"] == "deployer"


def test_a_name_with_dots_is_a_name(either: KubernetesAuthenticator, accounts: Accounts) -> None:
    """An account's name is a DNS subdomain, as the API server allows it."""
    accounts.create("deployer.v2.example")
    requester = ask(either, accounts.token("deployer.v2.example"))
    assert requester is not None
    assert requester.claims["name"] == "deployer.v2.example"


def test_a_token_of_a_pod_names_the_pod(either: KubernetesAuthenticator, accounts: Accounts) -> None:
    """A token that is bound to a pod says which one, by name and uid."""
    accounts.create("deployer")
    pod = ("web-0", accounts.create_pod("web-0", "deployer"))
    requester = ask(either, accounts.token("deployer", pod=pod))
    assert requester is not None
    assert (requester.claims["pod"], requester.claims["podUid"]) == pod


@pytest.mark.parametrize("audience", [ISSUER, "kubemint2", "KUBEMINT"])
def test_another_audience_is_refused(either: KubernetesAuthenticator, accounts: Accounts, audience: str) -> None:
    """A token for the API server itself, or for another service, proves nothing here."""
    accounts.create("deployer")
    token = accounts.token("deployer", audience)
    with pytest.raises(NotAuthenticated):
        ask(either, token)


def test_a_changed_token_is_refused(either: KubernetesAuthenticator, accounts: Accounts) -> None:
    """A token whose payload says another account does not verify."""
    accounts.create("deployer")
    header, payload, signature = accounts.token("deployer").split(".")
    claims = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).replace(b"deployer", b"operator")
    forged = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
    with pytest.raises(NotAuthenticated):
        ask(either, f"{header}.{forged}.{signature}")


def test_what_is_deleted_is_refused_when_the_cache_ends(
    cluster: Cluster, accounts: Accounts, admin: Kubectl
) -> None:
    """The account or pod of a token is gone, or another of its name: a yes holds for ten seconds and no longer."""
    clock = Clock()
    way = authenticator(clock, review=Review(kubeconfig=cluster.admin_kubeconfig))
    tokens = []
    for name in ("gone", "recreated", "podless"):
        accounts.create(name)
        tokens.append(accounts.token(name, pod=(name, accounts.create_pod(name, name))))
        assert ask(way, tokens[-1]) is not None
    admin("delete", "serviceaccount", "gone", "recreated", "-n", accounts.namespace)
    admin("delete", "pod", "podless", "--grace-period=0", "--force", "-n", accounts.namespace)
    accounts.create("recreated")
    clock.seconds += 9.9
    assert all(ask(way, token) is not None for token in tokens)
    for token in tokens:
        wait_until_refused(way, token, clock)


def wait_until_refused(way: KubernetesAuthenticator, token: str, clock: Clock) -> None:
    """Ask anew until it is refused: the API server too remembers a token, for ten seconds."""
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        clock.seconds += 10.1
        try:
            ask(way, token)
        except NotAuthenticated:
            return
        time.sleep(0.5)
    pytest.fail("still accepted")


def test_an_offline_token_holds_for_a_deleted_account(
    offline: KubernetesAuthenticator, accounts: Accounts, admin: Kubectl
) -> None:
    """Keys alone cannot know that an account is gone: the token holds until its end."""
    accounts.create("deployer")
    token = accounts.token("deployer")
    admin("delete", "serviceaccount", "deployer", "-n", accounts.namespace)
    assert ask(offline, token) is not None


def test_an_account_may_review_once_it_is_a_delegator(
    cluster: Cluster, accounts: Accounts, admin: Kubectl, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the cluster, with the files of a pod: 403 tells what to bind, and the binding mends it."""
    accounts.create("kubemint")
    (tmp_path / "token").write_text(accounts.token("kubemint", ISSUER))
    (tmp_path / "ca.crt").write_bytes(cluster.ca.certificate_file.read_bytes())
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(cluster.port)}
    lab = KubernetesCluster(name="lab", issuer=ISSUER, audience=AUDIENCE, review=Review(folder=tmp_path))
    way = KubernetesAuthenticator((lab,), environment=environment)
    token = accounts.token("kubemint")
    with pytest.raises(IdentityUnavailable):
        ask(way, token)
    assert "system:auth-delegator" in caplog.records[-1].mend

    subject = f"--serviceaccount={accounts.namespace}:kubemint"
    admin("create", "clusterrolebinding", accounts.namespace, "--clusterrole=system:auth-delegator", subject)
    assert eventually(way, token).claims["name"] == "kubemint"

    (tmp_path / "token").write_text("not of this cluster")  # the file is read again: kubelet replaces it
    accounts.create("other")
    with pytest.raises(IdentityUnavailable):
        ask(way, accounts.token("other"))
    assert "credentials" in caplog.records[-1].mend


def eventually(way: KubernetesAuthenticator, token: str) -> Requester:
    """Ask until the API server has seen a new binding."""
    give_up = time.monotonic() + 10
    while True:
        try:
            requester = ask(way, token)
        except IdentityUnavailable:
            assert time.monotonic() < give_up
            time.sleep(0.1)
        else:
            assert requester is not None
            return requester
