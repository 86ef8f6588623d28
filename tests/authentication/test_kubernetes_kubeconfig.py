"""How the API server is reached: kubeconfigs of each honest form, a pod's files, and mistakes with their path."""

import base64
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from authentication.api_servers import AUDIENCE, ISSUER, PlayedApiServer, pem, token, write_kubeconfig
from authentication.certificates import cn
from kubemint.authentication import Evidence
from kubemint.authentication.kubernetes import KubernetesAuthenticator, KubernetesCluster, Review
from kubemint.errors import ConfigurationError, IdentityUnavailable
from kubemint.kubernetes.kubeconfig import Kubeconfig, in_cluster

NOW = datetime.now(UTC)
TOKEN = {"token": "secret-of-the-service"}
URL = "https://127.0.0.1:6443"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PlayedApiServer]:
    """Give an API server that accepts all."""
    with PlayedApiServer(tmp_path) as running:
        yield running


def ask(review: Review, environment: dict[str, str] | None = None, jti: str = "1") -> Any:
    """Show a good token to a cluster that is reached so."""
    cluster = KubernetesCluster(name="lab", issuer=ISSUER, audience=AUDIENCE, review=review)
    evidence = Evidence(authorization=f"Bearer {token(NOW, jti=jti)}", client_certificate_der=None)
    return KubernetesAuthenticator((cluster,), environment=environment or {}).authenticate(evidence, NOW)


@pytest.mark.parametrize("form", ["files", "data", "data before files"])
def test_a_client_certificate_proves_the_service(server: PlayedApiServer, tmp_path: Path, form: str) -> None:
    """Files beside the kubeconfig or inline data, which counts first as for kubectl; the key leaves no file."""
    client = server.ca.client(cn("kubemint"), now=NOW)
    certificate, key = client.files(tmp_path, "kubemint")
    user = {"client-certificate": certificate.name, "client-key": key.name}
    if form != "files":
        inline = {f"{name}-data": encoded(tmp_path / file) for name, file in user.items()}
        user = inline if form == "data" else {**dict.fromkeys(user, "/no/such/file"), **inline}
    before = set(Path(tempfile.gettempdir()).iterdir())
    file = write_kubeconfig(tmp_path / "config", server.url, server.ca, user)
    assert ask(Review(kubeconfig=file)) is not None
    assert server.asked[0].client_certificate == client.der
    assert "Authorization" not in server.asked[0].headers
    assert not [new for new in set(Path(tempfile.gettempdir()).iterdir()) - before if holds_key(new)]


def encoded(file: Path) -> str:
    """Write a file as kubectl embeds it."""
    return base64.b64encode(file.read_bytes()).decode()


def holds_key(file: Path) -> bool:
    """Tell whether a file of ours has a private key in it."""
    return file.is_file() and stat.S_ISREG(file.stat().st_mode) and b"PRIVATE KEY" in file.read_bytes()


@pytest.mark.parametrize("both", [False, True])
def test_a_token_file_is_read_for_each_call(server: PlayedApiServer, tmp_path: Path, both: bool) -> None:
    """Whoever renews the file needs to tell nobody; beside it, `token` does not count (client-go)."""
    user = {"tokenFile": "credential", **(TOKEN if both else {})}
    file = write_kubeconfig(tmp_path / "config", server.url, server.ca, user)
    for credential in ("first", "second"):
        (tmp_path / "credential").write_text(f"{credential}\n")
        assert ask(Review(kubeconfig=file)) is not None
    assert [asked.headers["Authorization"] for asked in server.asked] == ["Bearer first", "Bearer second"]


def test_a_token_file_that_is_gone_is_no_refusal(server: PlayedApiServer, tmp_path: Path) -> None:
    """Without credentials of our own, nothing is known of the client's token."""
    file = write_kubeconfig(tmp_path / "config", server.url, server.ca, {"tokenFile": "credential"})
    with pytest.raises(IdentityUnavailable):
        ask(Review(kubeconfig=file))
    (tmp_path / "credential").write_bytes(b"\xff")
    with pytest.raises(IdentityUnavailable):
        ask(Review(kubeconfig=file))
    assert not server.asked


def test_inline_ca_path_and_name(server: PlayedApiServer, tmp_path: Path) -> None:
    """A CA inline, a path before /apis as of a proxy, and a name of its own in the certificate."""
    cluster = {
        "certificate-authority": None,
        "certificate-authority-data": base64.b64encode(pem(server.ca).encode()).decode(),
        "tls-server-name": "127.0.0.1",
    }
    url = f"https://localhost:{server.port}/clusters/lab/"
    file = write_kubeconfig(tmp_path / "config", url, server.ca, TOKEN, **cluster)
    assert ask(Review(kubeconfig=file)) is not None
    assert server.asked[0].line == "POST /clusters/lab/apis/authentication.k8s.io/v1/tokenreviews HTTP/1.1"


def test_a_renewed_file_counts_with_the_next_call(server: PlayedApiServer, tmp_path: Path) -> None:
    """A certificate that is replaced, by whoever renews it, is used; what did not change is not read again."""
    certificates = [server.ca.client(cn(name), now=NOW) for name in ("first", "second")]
    user = {"client-certificate": "own.crt", "client-key": "own.key"}
    certificates[0].files(tmp_path, "own")
    kubeconfig = Kubeconfig(write_kubeconfig(tmp_path / "config", server.url, server.ca, user))
    assert kubeconfig.server() is kubeconfig.server()
    kubeconfig.server().post("/", {}, 3)
    certificates[1].files(tmp_path, "own")
    kubeconfig.server().post("/", {}, 3)
    assert [asked.client_certificate for asked in server.asked] == [each.der for each in certificates]


def test_https_has_a_port_of_its_own(server: PlayedApiServer, tmp_path: Path) -> None:
    """443 where none is named, and the credential is not shown by repr."""
    file = write_kubeconfig(tmp_path / "config", "https://k8s.example", server.ca, TOKEN)
    found = Kubeconfig(file).server()
    assert (found.host, found.port, found.base_path, found.tls_name) == ("k8s.example", 443, "", "k8s.example")
    assert TOKEN["token"] not in repr(found)


@pytest.mark.parametrize(
    ("user", "problem"),
    [
        ({"exec": {"command": "aws"}}, "users.kubemint.exec: No program is run"),
        ({**TOKEN, "exec": {"command": "aws"}}, "users.kubemint.exec"),
        ({"auth-provider": {"name": "gcp"}}, "users.kubemint.auth-provider"),
        ({"username": "admin", "password": "x"}, "users.kubemint.password"),
        ({**TOKEN, "as": "system:admin"}, "users.kubemint.as"),
        ({**TOKEN, "surprise": 1}, "users.kubemint.surprise"),
        ({"token": ""}, "users.kubemint.token"),
        ({"token": "two words"}, "users.kubemint.token"),
        ({"token": 5}, "users.kubemint.token"),
        ({}, "user: needs a client certificate, a token or a tokenFile"),
        ({"client-certificate": "server.crt"}, "user: client-certificate and client-key go together"),
        ({"client-key": "server.key"}, "user: client-certificate and client-key go together"),
        ({"client-certificate": "no.crt", "client-key": "server.key"}, "no.crt: cannot be read"),
        ({"client-certificate": "server.key", "client-key": "server.key"}, "client-certificate: is no"),
        ({"client-certificate": "server.crt", "client-key": "server.crt"}, "client-certificate: is no"),
        ({"client-certificate": "server.crt", "client-key": "locked.key"}, "client-certificate: is no"),
        (
            {"client-certificate-data": "?", "client-key-data": "?"},
            "client-certificate-data: is not PEM in base64",
        ),
    ],
)
def test_a_user_that_cannot_be_used(
    server: PlayedApiServer, tmp_path: Path, user: dict[str, Any], problem: str
) -> None:
    """Plugins, passwords, impersonation and what is not known stop the start, with the path of the mistake."""
    key = server.ca.client(cn("x"), now=NOW).key
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    (tmp_path / "locked.key").write_bytes(locked)
    refused(write_kubeconfig(tmp_path / "config", URL, server.ca, user), problem)


@pytest.mark.parametrize(
    ("cluster", "problem"),
    [
        ({"server": None}, "clusters.lab.server"),
        ({"server": "http://127.0.0.1:6443"}, "server: must be https://"),
        ({"server": "127.0.0.1:6443"}, "server: must be https://"),
        ({"server": "https://"}, "server: must be https://"),
        ({"server": "https://user@host"}, "server: must be https://"),
        ({"server": "https://host?x=1"}, "server: must be https://"),
        ({"server": "https://host:port"}, "server: is no address"),
        ({"server": "https://host:99999"}, "server: is no address"),
        ({"insecure-skip-tls-verify": True}, "clusters.lab.insecure-skip-tls-verify"),
        ({"proxy-url": "http://proxy"}, "clusters.lab.proxy-url"),
        ({"surprise": 1}, "clusters.lab.surprise"),
        ({"certificate-authority": None}, "certificate-authority: holds no CA certificate"),
        ({"certificate-authority": "server.key"}, "certificate-authority: holds no CA certificate"),
        ({"certificate-authority": "no.crt"}, "no.crt: cannot be read"),
        ({"certificate-authority-data": "AAAA"}, "certificate-authority: holds no CA certificate"),
    ],
)
def test_a_cluster_that_cannot_be_trusted(
    server: PlayedApiServer, tmp_path: Path, cluster: dict[str, Any], problem: str
) -> None:
    """HTTPS to a server that a named CA vouches for, or no start."""
    changed = {"server": URL, **cluster}
    refused(write_kubeconfig(tmp_path / "config", changed.pop("server"), server.ca, TOKEN, **changed), problem)


@pytest.mark.parametrize("off", [False, None])
def test_what_is_switched_off_is_no_mistake(server: PlayedApiServer, tmp_path: Path, off: Any) -> None:
    """`insecure-skip-tls-verify: false` says what is so anyway, and what is null is not there."""
    file = write_kubeconfig(tmp_path / "config", URL, server.ca, TOKEN, **{"insecure-skip-tls-verify": off})
    assert Kubeconfig(file).server()


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"current-context": "none"}, "contexts: must hold 'none' once"),
        ({"current-context": ""}, "current-context: Must not be empty"),
        ({"current-context": None}, "current-context"),
        ({"contexts": None}, "contexts"),
        ({"contexts": ["x"]}, "contexts"),
        ({"clusters": []}, "clusters: must hold 'lab' once"),
        ({"users": [{"name": "kubemint"}]}, "users: must hold 'kubemint' once"),
        ({"users": [{"name": "kubemint", "user": {}}] * 2}, "users: must hold 'kubemint' once"),
        ({"users": [{"name": "kubemint", "user": "x"}]}, "users.kubemint"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_kubeconfig_of_another_shape(
    server: PlayedApiServer, tmp_path: Path, changed: dict[str, Any], problem: str
) -> None:
    """What is missing, there twice, or unknown is named."""
    file = write_kubeconfig(tmp_path / "config", URL, server.ca, TOKEN)
    file.write_text(json.dumps(yaml.safe_load(file.read_text()) | changed))
    refused(file, problem)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"a: &x 1\nb: *x", b"\xff", b"a: 1\na: 2", b" " * 1024 * 1025]
)
def test_a_file_that_is_no_kubeconfig(tmp_path: Path, content: bytes) -> None:
    """Read as strictly as every other file."""
    (tmp_path / "config").write_bytes(content)
    refused(tmp_path / "config", "")


def test_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    """Its path is in the message."""
    refused(tmp_path / "config", "cannot be read: No such file")


def refused(file: Path, problem: str) -> None:
    """Tell that the start stops, with the path of the file that is wrong."""
    cluster = KubernetesCluster(name="lab", issuer=ISSUER, audience=AUDIENCE, review=Review(kubeconfig=file))
    with pytest.raises(ConfigurationError) as caught:
        KubernetesAuthenticator((cluster,))
    assert problem in str(caught.value)
    assert str(file.parent) in str(caught.value)
    assert TOKEN["token"] not in str(caught.value)


def pod_files(folder: Path, server: PlayedApiServer) -> dict[str, str]:
    """Write what kubelet gives to a pod, and give its environment."""
    folder.mkdir(exist_ok=True)
    (folder / "token").write_text("of the pod")
    (folder / "ca.crt").write_text(pem(server.ca))
    (folder / "namespace").write_text("kubemint")
    return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}


def test_in_a_pod_its_own_account_asks(server: PlayedApiServer, tmp_path: Path) -> None:
    """The address from the environment, CA and token from the folder, and the token anew for each call."""
    environment = pod_files(tmp_path / "pod", server)
    review = Review(folder=tmp_path / "pod")
    assert ask(review, environment) is not None
    os.replace(write(tmp_path / "new", "rotated"), tmp_path / "pod" / "token")
    assert ask(review, environment) is not None
    assert [asked.headers["Authorization"] for asked in server.asked] == ["Bearer of the pod", "Bearer rotated"]


def write(file: Path, content: str) -> Path:
    """Write a file and give it."""
    file.write_text(content)
    return file


def test_in_a_pod_with_ipv6(tmp_path: Path, server: PlayedApiServer) -> None:
    """The environment has the address without brackets."""
    environment = pod_files(tmp_path / "pod", server) | {"KUBERNETES_SERVICE_HOST": "fd00::1"}
    assert in_cluster(tmp_path / "pod", environment).host == "fd00::1"


@pytest.mark.parametrize("name", ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"])
@pytest.mark.parametrize("value", [None, "", "x"])
def test_outside_of_a_pod_there_is_no_cluster(
    server: PlayedApiServer, tmp_path: Path, name: str, value: str | None
) -> None:
    """Without the address in the environment, the message says what to configure instead."""
    environment = pod_files(tmp_path / "pod", server)
    environment.pop(name)
    if value is not None and not (value and name.endswith("HOST")):
        environment[name] = value
    with pytest.raises(ConfigurationError, match="Name a kubeconfig"):
        in_cluster(tmp_path / "pod", environment)


@pytest.mark.parametrize("name", ["token", "ca.crt"])
@pytest.mark.parametrize("content", [None, b"", b"\xff"])
def test_a_pod_without_its_files(
    server: PlayedApiServer, tmp_path: Path, name: str, content: bytes | None
) -> None:
    """automountServiceAccountToken: false, and damage, stop the start with the file's path."""
    environment = pod_files(tmp_path / "pod", server)
    (tmp_path / "pod" / name).unlink()
    if content is not None:
        (tmp_path / "pod" / name).write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        in_cluster(tmp_path / "pod", environment)
    assert str(tmp_path / "pod") in str(caught.value)
    assert name in str(caught.value)
