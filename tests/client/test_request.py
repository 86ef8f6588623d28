"""`kubemint request`: a key that is made here, a certificate for it, and files that are whole or absent."""

import base64
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from client.peers import listening, problem
from commands.cli import Ran, failed_cleanly, kubemint, kubemint_process
from kubemint.client.files import write_file
from kubemint.errors import ConfigurationError
from running_service import RunningService


class Client:
    """Runs `kubemint request` in a folder of its own against the running service."""

    def __init__(self, service: RunningService, place: Path) -> None:
        self.place = place
        self.service = service
        (place / ".kubemint").symlink_to(service.directory)

    def request(self, *arguments: str, user: str = "jane") -> Ran:
        """Ask for a certificate."""
        return kubemint("request", "--user", user, *arguments, cwd=self.place)

    def files(self) -> set[str]:
        """Name what is in the folder."""
        return {file.name for file in self.place.iterdir()} - {".kubemint"}

    def recorded(self) -> int:
        """Count the decisions of the service."""
        return len(self.service.decisions())


@pytest.fixture
def client(service: RunningService, tmp_path: Path) -> Client:
    """Give a client in an empty folder that knows the service."""
    return Client(service, tmp_path)


def test_key_and_certificate(client: Client) -> None:
    """Key and certificate are written, belong together, and say what was asked for; the key is 0600."""
    ran = client.request("--group", "developers", "--group", "team-a", "--expires", "15m")
    assert ran.code == 0, ran.errors
    assert client.files() == {"jane.key", "jane.crt", "jane.tlog-proof"}
    certificate, key = read_pair(client.place / "jane.crt", client.place / "jane.key")
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == "CN=jane,O=team-a,O=developers"
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(minutes=14) < left <= timedelta(minutes=15)
    assert stat.S_IMODE((client.place / "jane.key").stat().st_mode) == 0o600
    assert "Certificate for jane (groups: developers, team-a)" in ran.output
    assert "PRIVATE" not in ran.output + ran.errors


def test_the_key_never_leaves(tmp_path: Path) -> None:
    """What is sent holds the CSR and nothing of the private key; what is refused leaves no file."""
    with listening(problem(403)) as peer:
        ran = kubemint("request", "--user", "jane", "--url", peer.url, cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    (seen,) = peer.seen
    body = json.loads(seen.body)
    assert set(body) == {"csr"}
    assert body["csr"].startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert body["csr"].count("-----BEGIN") == 1
    assert list(tmp_path.iterdir()) == []


def test_options_are_sent(tmp_path: Path) -> None:
    """Profile and lifetime are sent as they were given."""
    with listening(problem(403)) as peer:
        options = ("--user", "jane", "--profile", "ops", "--expires", "90m", "--url", peer.url)
        kubemint("request", *options, cwd=tmp_path)
    body = json.loads(peer.seen[0].body)
    assert (body["profile"], body["expirationSeconds"]) == ("ops", 5400)


@pytest.mark.parametrize(
    ("key_type", "kind"),
    [
        ("ecdsa-p256", ec.EllipticCurvePrivateKey),
        ("ecdsa-p384", ec.EllipticCurvePrivateKey),
        ("ed25519", ed25519.Ed25519PrivateKey),
        ("rsa-2048", rsa.RSAPrivateKey),
    ],
)
def test_types_of_key(client: Client, key_type: str, kind: type) -> None:
    """Each type of key can be made and is certified."""
    ran = client.request("--key-type", key_type)
    assert ran.code == 0, ran.errors
    certificate, key = read_pair(client.place / "jane.crt", client.place / "jane.key")
    assert isinstance(key, kind)
    assert certificate.public_key() == key.public_key()


def test_named_files(client: Client) -> None:
    """Files get the names that were given."""
    assert client.request("--key-file", "k.pem", "--certificate-file", "c.pem").code == 0
    assert client.files() == {"k.pem", "c.pem", "c.tlog-proof"}


@pytest.mark.parametrize(("user", "stem"), [("a/../b", "a_.._b"), ("..", "certificate"), (".hidden", "hidden")])
def test_a_user_name_is_no_path(client: Client, user: str, stem: str) -> None:
    """Whatever the user is called, the files are in this folder and can be seen."""
    ran = client.request(user=user)
    assert ran.code == 0, ran.errors
    assert client.files() == {f"{stem}.key", f"{stem}.crt", f"{stem}.tlog-proof"}


def test_a_kubeconfig(client: Client) -> None:
    """The kubeconfig holds cluster, user and context as kubectl wants them, with key and certificate in it."""
    ran = client.request("--group", "developers", "--kubeconfig", "jane.kubeconfig")
    assert ran.code == 0, ran.errors
    assert client.files() == {"jane.kubeconfig", "jane.kubeconfig.tlog-proof"}
    file = client.place / "jane.kubeconfig"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    document = json.loads(file.read_text())
    assert (document["apiVersion"], document["kind"]) == ("v1", "Config")
    (cluster,), (user,), (context,) = document["clusters"], document["users"], document["contexts"]
    assert (cluster["name"], cluster["cluster"]["server"]) == ("prod", "https://10.0.0.1:6443")
    assert context == {"name": "jane@prod", "context": {"cluster": "prod", "user": user["name"]}}
    assert document["current-context"] == "jane@prod"
    authority = decoded(cluster["cluster"]["certificate-authority-data"])
    assert authority == client.service.ca_file.read_bytes()
    certificate = x509.load_pem_x509_certificate(decoded(user["user"]["client-certificate-data"]))
    key = load_pem_private_key(decoded(user["user"]["client-key-data"]), None)
    assert certificate.public_key() == key.public_key()
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))


def test_a_kubeconfig_for_another_cluster(client: Client) -> None:
    """What is said of the cluster on the command line wins over what the service knows."""
    (client.place / "other.crt").write_bytes(client.service.tls_ca_file.read_bytes())
    options = ("--cluster-name", "test", "--cluster-server", "https://test:6443", "--cluster-ca", "other.crt")
    assert client.request("--kubeconfig", "k", *options).code == 0
    (cluster,) = json.loads((client.place / "k").read_text())["clusters"]
    assert (cluster["name"], cluster["cluster"]["server"]) == ("test", "https://test:6443")
    authority = decoded(cluster["cluster"]["certificate-authority-data"])
    assert authority == client.service.tls_ca_file.read_bytes()


def test_a_kubeconfig_for_no_known_cluster(tmp_path: Path) -> None:
    """Where neither the service nor the command line names the API server, nothing is asked for."""
    with listening(problem(404)) as peer:
        ran = kubemint("request", "--user", "jane", "--kubeconfig", "k", "--url", peer.url, cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert "--cluster-server" in ran.errors
    assert {seen.method for seen in peer.seen} == {"GET"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "cannot be read", id="missing"),
        pytest.param("CA of Zürich", "is not text in ASCII", id="no ASCII"),
        pytest.param("no certificate", "there is no certificate in PEM", id="no certificate"),
    ],
)
def test_a_cluster_ca_that_cannot_be_read(tmp_path: Path, content: str | None, said: str) -> None:
    """A --cluster-ca that is missing or no PEM is told by its name before a certificate is asked for."""
    if content is not None:
        (tmp_path / "ca.crt").write_text(content)
    options = (
        "--kubeconfig",
        "k",
        "--cluster-name",
        "a",
        "--cluster-server",
        "https://a",
        "--cluster-ca",
        "ca.crt",
    )
    with listening(problem(403)) as peer:
        ran = kubemint("request", "--user", "jane", "--url", peer.url, *options, cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert f"ca.crt: {said}" in ran.errors
    assert peer.seen == []


def test_output_as_json(client: Client) -> None:
    """--output json is one JSON document: the service's answer, and the files that were written; no key."""
    ran = client.request("--output", "json", "--group", "developers")
    assert ran.code == 0, ran.errors
    document = json.loads(ran.output)
    assert (document["user"], document["groups"], document["files"]) == (
        "jane",
        ["developers"],
        ["jane.key", "jane.crt", "jane.tlog-proof"],
    )
    assert document["certificate"] == (client.place / "jane.crt").read_text()
    assert {"serialNumber", "credentialId", "notAfter", "logIndex", "profile"} <= set(document)
    assert "PRIVATE" not in ran.output


def test_a_refusal_is_shown_with_its_reasons(client: Client) -> None:
    """Who is refused reads every reason and rule, and no file is written."""
    ran = client.request("--group", "admins", "--group", "system:masters", "--expires", "48h")
    assert failed_cleanly(ran), ran.errors
    for part in ("'admins'", "nobody gets 'system:masters'", "[limits.maxLifetime]", "(refused, request "):
        assert part in ran.errors
    assert client.files() == set()
    assert ran.output == ""


@pytest.mark.parametrize("there", ["jane.key", "jane.crt", "jane.tlog-proof"])
def test_files_that_are_there_are_kept(client: Client, there: str) -> None:
    """A file that would be replaced stops the command before anything is asked for."""
    (client.place / there).write_text("mine")
    before = client.recorded()
    ran = client.request()
    assert failed_cleanly(ran), ran.errors
    assert f"{there}: is there already; --overwrite" in ran.errors
    assert (client.place / there).read_text() == "mine"
    assert client.files() == {there}
    assert client.recorded() == before


def test_overwrite(client: Client) -> None:
    """With --overwrite both files are new, and the key's mode is 0600 though the old one's was wider."""
    for name in ("jane.key", "jane.crt"):
        (client.place / name).write_text("old")
        (client.place / name).chmod(0o644)
    assert client.request("--overwrite").code == 0
    certificate, key = read_pair(client.place / "jane.crt", client.place / "jane.key")
    assert certificate.public_key() == key.public_key()
    assert stat.S_IMODE((client.place / "jane.key").stat().st_mode) == 0o600
    assert client.files() == {"jane.key", "jane.crt", "jane.tlog-proof"}


def test_a_refusal_keeps_what_overwrite_would_replace(client: Client) -> None:
    """With --overwrite too, the old files stay until there is a certificate."""
    (client.place / "jane.key").write_text("old")
    assert client.request("--overwrite", "--group", "admins").code == 1
    assert (client.place / "jane.key").read_text() == "old"
    assert client.files() == {"jane.key"}


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    """A file that cannot be finished is not there, and neither is a part of it under another name."""
    with pytest.raises(UnicodeEncodeError):
        write_file(tmp_path / "key", "whole until \ud800", 0o600)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_file(tmp_path / "gone" / "key", "x", 0o600)
    assert not (tmp_path / "key").exists()


def test_a_file_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    """A secret is its owner's alone under a umask that hides nothing."""
    before = os.umask(0)
    try:
        write_file(tmp_path / "key", "secret", 0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("token", [None, "wrong"], ids=["none", "wrong"])
def test_without_a_good_token(client: Client, token: str | None) -> None:
    """Without a token that holds, the command fails with what the service says."""
    (client.place / "token").write_text(token or "x")
    service = client.service
    ran = client.request("--url", service.url, "--ca", str(service.tls_ca_file), "--token-file", "token")
    assert failed_cleanly(ran), ran.errors
    assert "not-authenticated" in ran.errors
    assert client.files() == {"token"}


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--user", "jane", "--expires", "0s"),
        ("--user", "jane", "--expires", "-1h"),
        ("--user", "jane", "--key-type", "dsa"),
        ("--user", "jane", "--output", "xml"),
        ("--user", "jane", "extra"),
        ("--user", "j" * 65),
        ("--user", ""),
    ],
    ids=" ".join,
)
def test_wrong_use(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """What cannot be asked for is wrong use: code 2, and nothing is sent or written."""
    with listening() as peer:
        ran = kubemint("request", *arguments, "--url", peer.url, cwd=tmp_path)
    assert ran.code == 2, ran.errors
    assert peer.seen == []
    assert list(tmp_path.iterdir()) == []


def test_an_address_in_clear_is_refused(tmp_path: Path) -> None:
    """A service without TLS on another machine is not asked."""
    ran = kubemint("request", "--user", "jane", "--url", "http://kubemint.example", cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert "https://" in ran.errors


def read_pair(certificate_file: Path, key_file: Path) -> tuple[x509.Certificate, Any]:
    """Read a certificate and a private key."""
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    return certificate, load_pem_private_key(key_file.read_bytes(), None)


def decoded(encoded: str) -> bytes:
    """Read base64 as kubectl does."""
    return base64.b64decode(encoded, validate=True)


@pytest.mark.parametrize("option", ["--key-file", "--certificate-file", "--kubeconfig"])
def test_a_folder_that_is_not_there_is_told_before_anything_is_issued(
    service: RunningService, tmp_path: Path, option: str
) -> None:
    """Where a file could not be written, no certificate is asked for and no other file is written."""
    (tmp_path / ".kubemint").symlink_to(service.directory)
    before = len(service.decisions())
    ran = kubemint_process("request", "--user", "jane", option, "gone/file", cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert len(service.decisions()) == before
    assert [file.name for file in tmp_path.iterdir()] == [".kubemint"]


def test_one_file_for_key_and_certificate(service: RunningService, tmp_path: Path) -> None:
    """Key and certificate under one name are refused: the certificate would take the key's place."""
    (tmp_path / ".kubemint").symlink_to(service.directory)
    options = ("--key-file", "both.pem", "--certificate-file", "./both.pem")
    ran = kubemint_process("request", "--user", "jane", *options, cwd=tmp_path)
    assert ran.code in {1, 2}
    assert not (tmp_path / "both.pem").exists()


def test_an_unfinished_file_leaves_no_draft(tmp_path: Path) -> None:
    """Whatever stops the writing of a file, no part of it stays under another name."""
    with pytest.raises(UnicodeEncodeError):
        write_file(tmp_path / "key", "whole until \ud800", 0o600)
    assert list(tmp_path.iterdir()) == []
