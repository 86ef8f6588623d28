"""A certificate from kubemint, a real API server, and kubectl: the server sees the user, and RBAC the groups."""

import base64
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster.authorities import CertificateAuthority, openssl
from cluster.client import Client, import_ca
from cluster.cluster import Cluster, Kubectl
from running_service import RunningService

pytestmark = pytest.mark.xdist_group("cluster")  # one API server is enough, where xdist keeps groups together

UNAUTHORIZED = "You must be logged in to the server"  # how kubectl says 401

Introduce = Callable[[Kubectl], tuple[str, list[str]]]


@pytest.fixture(scope="module")
def service(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Give a service that signs with the CA of a cluster, as on a kubeadm cluster of today."""
    directory = tmp_path_factory.mktemp("service") / "kubemint"
    import_ca(directory, cluster, cluster.ca.files)
    with RunningService(directory) as running:
        yield running


@pytest.fixture
def client(service: RunningService, kubectl: Kubectl, tmp_path: Path) -> Client:
    """Give the command line of someone who may ask that service."""
    return Client(kubectl, tmp_path, service)


@pytest.fixture(scope="module")
def introduce(admin: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Introduce:
    """Give the question as whom the API server sees a user: the name, and the groups in their order.

    The server writes both into every CertificateSigningRequest, in a dry run too.
    (`kubectl auth whoami` asks for what Kubernetes has from 1.28 on.)
    """
    admin("create", "clusterrole", "introduce", "--verb=create", "--resource=certificatesigningrequests")
    admin("create", "clusterrolebinding", "introduce", "--clusterrole=introduce", "--group=system:authenticated")
    csr_file = new_csr(tmp_path_factory.mktemp("introduce"), "/CN=nobody")
    specification = {
        "request": base64.b64encode(csr_file.read_bytes()).decode(),
        "signerName": "example.com/nobody",
        "usages": ["client auth"],
    }
    kind = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
    manifest = {**kind, "metadata": {"name": "introduce"}, "spec": specification}

    def ask(user: Kubectl) -> tuple[str, list[str]]:
        seen = user.create(manifest, "--dry-run=server", "--validate=false")["spec"]
        return seen["username"], seen["groups"]

    return ask


def let_group_read(admin: Kubectl, namespace: str, group: str, resource: str) -> None:
    """Bind the reading of one resource to a group, in one namespace."""
    admin("create", "role", resource, "--verb=get,list", f"--resource={resource}", "-n", namespace)
    admin("create", "rolebinding", resource, f"--role={resource}", f"--group={group}", "-n", namespace)


def new_csr(folder: Path, subject: str) -> Path:
    """Make `myuser.key` and `myuser.csr` as Kubernetes' documentation does; the key lies beside the CSR."""
    key_file, csr_file = folder / "myuser.key", folder / "myuser.csr"
    openssl("genrsa", "-out", str(key_file), "3072")
    openssl("req", "-new", "-key", str(key_file), "-out", str(csr_file), "-subj", subject)
    return csr_file


def test_unbound_user_is_known_and_may_do_nothing(client: Client, namespace: str) -> None:
    """Before any binding, the API server knows the user by name and refuses for want of a right."""
    jane = client("jane", "developers", "team-a")
    message = jane.refused("get", "configmaps", "-n", namespace)
    assert "(Forbidden)" in message
    assert 'User "jane" cannot list resource "configmaps"' in message


def test_server_sees_the_user_and_each_group(client: Client, introduce: Introduce) -> None:
    """The API server sees the very user and groups of the request, and adds its own group only."""
    jane = client("jane", "developers", "team-a")
    assert introduce(jane) == ("jane", ["developers", "team-a", "system:authenticated"])


def test_name_beyond_ascii_arrives_unchanged(client: Client, introduce: Introduce) -> None:
    """The API server reads the UTF-8 of a name as it was meant."""
    assert introduce(client("Zoë Łąka", "team-ü")) == ("Zoë Łąka", ["team-ü", "system:authenticated"])


def test_each_group_brings_its_own_right(client: Client, admin: Kubectl, namespace: str) -> None:
    """A role that is bound to a group is there for its members, whichever of their groups it is."""
    let_group_read(admin, namespace, "developers", "configmaps")
    let_group_read(admin, namespace, "team-a", "endpoints")
    admin("create", "configmap", "greeting", "--from-literal=text=hello", "-n", namespace)
    jane = client("jane", "developers", "team-a")
    assert jane("get", "configmap", "greeting", "-o", "jsonpath={.data.text}", "-n", namespace) == "hello"
    assert jane("get", "endpoints", "-o", "name", "-n", namespace) == ""
    assert "(Forbidden)" in jane.refused("get", "secrets", "-n", namespace)


@pytest.mark.parametrize(
    ("user", "groups"),
    [
        ("jane", ("team-a",)),
        ("mallory", ()),
        ("developers", ("team-developers",)),
    ],
)
def test_no_right_without_the_group(
    client: Client, admin: Kubectl, namespace: str, user: str, groups: tuple[str, ...]
) -> None:
    """A certificate without the group has no right of it, even where the user's other certificate has it."""
    let_group_read(admin, namespace, "developers", "configmaps")
    member, other = client("jane", "developers"), client(user, *groups)
    question = ("get", "configmaps", "-n", namespace)
    member(*question)
    assert f'configmaps is forbidden: User "{user}"' in other.refused(*question)


def test_expired_certificate_is_refused(client: Client, namespace: str) -> None:
    """A certificate past its end proves nothing any more: 401, not 403."""
    jane, answer = client.request("jane", "developers", options=("--expires", "2s"))
    end = datetime.fromisoformat(answer["notAfter"])
    left = (end - datetime.now(UTC)).total_seconds()
    assert left < 3
    time.sleep(max(0.0, left) + 0.5)
    assert UNAUTHORIZED in jane.refused("get", "configmaps", "-n", namespace)


def test_certificate_of_another_ca_is_refused(
    cluster: Cluster, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    """A certificate of a CA that this cluster does not trust, though it has the same name, proves nothing: 401."""
    foreign = CertificateAuthority(tmp_path / "foreign")
    import_ca(tmp_path / "kubemint", cluster, foreign.files)
    with RunningService(tmp_path / "kubemint") as service:
        client = Client(kubectl, tmp_path, service)
        eve = client("eve", "developers", options=("--cluster-ca", str(cluster.ca.certificate_file)))
    assert UNAUTHORIZED in eve.refused("get", "configmaps", "-n", namespace)


def test_walk_with_openssl_and_kubectl_config(
    service: RunningService, cluster: Cluster, kubectl: Kubectl, introduce: Introduce, tmp_path: Path
) -> None:
    """The walk of Kubernetes' documentation, with one HTTP call in the administrator's place, gives a user."""
    csr_file = new_csr(tmp_path, "/O=developers/O=team-a/CN=myuser")
    media_types = {"Content-Type": "application/x-pem-file", "Accept": "application/pem-certificate-chain"}
    answer = service.call(
        "POST", "/v1/certificates", body=csr_file.read_bytes(), headers=media_types, token="requester"
    )
    assert answer.status == 201, answer.text
    certificate_file = csr_file.with_suffix(".crt")
    certificate_file.write_bytes(answer.body)

    myuser = kubectl.with_kubeconfig(tmp_path / "config")
    server = (f"--server={cluster.url}", f"--certificate-authority={cluster.ca.certificate_file}")
    pair = (f"--client-certificate={certificate_file}", f"--client-key={csr_file.with_suffix('.key')}")
    myuser("config", "set-cluster", "lab", *server, "--embed-certs")
    myuser("config", "set-credentials", "myuser", *pair, "--embed-certs")
    myuser("config", "set-context", "myuser", "--cluster=lab", "--user=myuser")
    myuser("config", "use-context", "myuser")
    assert introduce(myuser) == ("myuser", ["developers", "team-a", "system:authenticated"])


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048"])
def test_key_of_each_type_authenticates(client: Client, introduce: Introduce, key_type: str) -> None:
    """A key of each type that a client may have proves its holder to the API server."""
    jane = client("jane", "developers", options=("--key-type", key_type))
    assert introduce(jane) == ("jane", ["developers", "system:authenticated"])


@pytest.mark.parametrize("kind", ["rsa-serial-0", "p256", "ed25519", "intermediate"])
def test_ca_of_each_kind_can_be_imported(
    cluster: Cluster, kubectl: Kubectl, introduce: Introduce, tmp_path: Path, kind: str
) -> None:
    """Whatever key the imported CA has, the API server takes what is signed with it, an intermediate's too."""
    is_root = kind in cluster.authorities
    files = cluster.authorities[kind].files if is_root else cluster.ca.intermediate(tmp_path / kind)
    import_ca(tmp_path / "kubemint", cluster, files)
    with RunningService(tmp_path / "kubemint") as service:
        client = Client(kubectl, tmp_path, service)
        jane = client("jane", "developers", options=("--cluster-ca", str(cluster.ca.certificate_file)))
    assert introduce(jane) == ("jane", ["developers", "system:authenticated"])
