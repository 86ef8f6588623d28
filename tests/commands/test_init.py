"""`kubemint init`: a folder with all that a service needs, or none."""

import os
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from commands.authorities import kubeadm_ca
from commands.cli import environment, failed_cleanly, kubemint, kubemint_process
from kubemint import config
from kubemint.authentication.tokens import load_tokens
from kubemint.config import Cluster
from kubemint.wiring import prepare

SECRET, PUBLIC = 0o600, 0o644
MODES = {
    "ca.crt": PUBLIC,
    "ca.key": SECRET,
    "tls.crt": PUBLIC,
    "tls.key": SECRET,
    "kubemint.yaml": PUBLIC,
    "policy.yaml": PUBLIC,
    "client.yaml": PUBLIC,
    "requester.token": SECRET,
    "operator.token": SECRET,
    "webhook.token": SECRET,
    "tokens.yaml": SECRET,
    "ledger.db": SECRET,
    "log.key": SECRET,
}
FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "front-proxy CA": ({"name": "front-proxy-ca"}, "front proxy"),
    "k3s request-header CA": ({"name": "k3s-request-header-ca@1700000000"}, "front proxy"),
    "etcd CA": ({"name": "etcd-ca"}, "etcd"),
    "expired": ({"starts": -timedelta(days=20), "lifetime": timedelta(days=10)}, "expired"),
    "not valid yet": ({"starts": timedelta(days=1)}, "not valid before"),
    "key of another CA": ({"key_of": "other"}, "does not belong"),
    "no CA": ({"is_ca": False}, "not a CA"),
}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder that `kubemint init` made, under a umask that hides nothing."""
    place = tmp_path_factory.mktemp("fresh")
    before = os.umask(0)
    try:
        ran = kubemint("init", cwd=place)
    finally:
        os.umask(before)
    assert ran.code == 0, ran.errors
    assert "a new CA" in ran.output
    return place / ".kubemint"


def test_all_files_and_their_modes(fresh: Path) -> None:
    """The folder holds these files and no others; secrets are their owner's alone."""
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in fresh.iterdir()} == MODES
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o700
    assert list(fresh.parent.iterdir()) == [fresh]


def test_a_service_could_start_from_it(fresh: Path) -> None:
    """The configuration loads, and everything that a start checks is in order."""
    settings = config.load(fresh / "kubemint.yaml")
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8443)
    assert settings.cluster is None
    prepare(settings)


def test_the_ca_is_new_and_signs_for_ten_years(fresh: Path) -> None:
    """The CA is a root that may sign certificates and no further CA, with a key of its own."""
    certificate = x509.load_pem_x509_certificate((fresh / "ca.crt").read_bytes())
    key = load_pem_private_key((fresh / "ca.key").read_bytes(), None)
    assert key.public_key() == certificate.public_key()
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    assert certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=3640)


def test_the_tokens_are_those_of_the_file(fresh: Path) -> None:
    """Each token's hash is on file under its name, and the token itself is not."""
    records = load_tokens(fresh / "tokens.yaml")
    assert [record.name for record in records] == ["requester", "operator", "webhook"]
    for record in records:
        token = (fresh / f"{record.name}.token").read_text().strip()
        assert token not in (fresh / "tokens.yaml").read_text()


def test_the_tls_certificate_is_for_this_machine(fresh: Path) -> None:
    """The service's certificate names localhost and both loopback addresses, and is no CA."""
    certificate = x509.load_pem_x509_certificate((fresh / "tls.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == {"localhost", "127.0.0.1", "::1"}
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize("key_type", ["ecdsa-p384", "ed25519", "rsa-2048"])
def test_the_key_type_of_a_new_ca(tmp_path: Path, key_type: str) -> None:
    """A new CA has the type of key that was asked for, and a service could start with it."""
    assert kubemint("init", "--key-type", key_type, cwd=tmp_path).code == 0
    prepare(config.load(tmp_path / ".kubemint" / "kubemint.yaml"))


def test_port_and_cluster_are_written_down(tmp_path: Path) -> None:
    """What was said of port and cluster is in the configuration, and for the client."""
    options = ("--port", "9443", "--cluster-server", "https://10.0.0.1:6443", "--cluster-name", "prod")
    assert kubemint("init", "--directory", "made", *options, cwd=tmp_path).code == 0
    settings = config.load(tmp_path / "made" / "kubemint.yaml")
    assert settings.server.port == 9443
    assert settings.cluster == Cluster(name="prod", server="https://10.0.0.1:6443", certificate_authority=None)
    assert "url: https://127.0.0.1:9443\n" in (tmp_path / "made" / "client.yaml").read_text()


def test_the_log_is_named_for_ever(tmp_path: Path) -> None:
    """The name of the log is told, and can be another than the address of now."""
    ran = kubemint("init", "--directory", "by-address", "--tls-name", "mint.example", cwd=tmp_path)
    assert "The log is named mint.example:8443/v1/log (log.origin)" in ran.output
    assert "To change it, delete the folder and run init again before the first start." in ran.output
    ran = kubemint("init", "--directory", "named", "--log-origin", "acme.example/log", cwd=tmp_path)
    assert "The log is named acme.example/log (log.origin)" in ran.output
    assert "copied" not in ran.output
    settings = config.load(tmp_path / "named" / "kubemint.yaml")
    assert settings.log.origin == "acme.example/log"
    assert 'logKey: "acme.example/log+' in (tmp_path / "named" / "client.yaml").read_text()
    prepare(settings)


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\x00b"])
def test_a_log_cannot_have_such_a_name(tmp_path: Path, origin: str) -> None:
    """What no signed note can be named is wrong use, and nothing is made."""
    ran = kubemint("init", "--log-origin", origin, cwd=tmp_path)
    assert (ran.code, "--log-origin: " in ran.errors) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_the_policys_warnings_are_told(tmp_path: Path) -> None:
    """The policy that is made lets requesters choose names: whoever makes it reads so, not only who starts it."""
    ran = kubemint("init", cwd=tmp_path)
    assert ran.code == 0
    assert "kubemint: warning: profiles.developers.users" in ran.errors


def test_folders_above_are_made(tmp_path: Path) -> None:
    """A folder deep in others that are not there is made with them."""
    assert kubemint("init", "--directory", "a/b/c", cwd=tmp_path).code == 0
    assert (tmp_path / "a/b/c/ca.key").exists()


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    """An empty folder that is there, such as a mounted one's, counts as none."""
    (tmp_path / "made").mkdir()
    assert kubemint("init", "--directory", "made", cwd=tmp_path).code == 0
    assert {file.name for file in (tmp_path / "made").iterdir()} == set(MODES)


def test_kubeadms_ca_is_imported(tmp_path: Path) -> None:
    """kubeadm's RSA key in PKCS#1 and its certificate are taken byte for byte, and a service could start."""
    given = kubeadm_ca(tmp_path)
    assert b"BEGIN RSA PRIVATE KEY" in given.key_file.read_bytes()
    ran = kubemint("init", *given.options, cwd=tmp_path)
    assert ran.code == 0, ran.errors
    assert "the imported CA" in ran.output
    made = tmp_path / ".kubemint"
    assert (
        f"CA's key was copied to .kubemint/ca.key, for its owner alone; {given.key_file} is as it was"
        in ran.output
    )
    assert (made / "ca.key").read_bytes() == given.key_file.read_bytes()
    assert (made / "ca.crt").read_bytes() == given.certificate_file.read_bytes()
    assert stat.S_IMODE((made / "ca.key").stat().st_mode) == SECRET
    prepare(config.load(made / "kubemint.yaml"))


def test_an_encrypted_ca_key_is_imported_as_it_is(tmp_path: Path) -> None:
    """An encrypted key stays encrypted, and the configuration names the passphrase's file."""
    given = kubeadm_ca(tmp_path, passphrase=b"correct horse")
    passphrase_file = tmp_path / "passphrase.txt"
    passphrase_file.write_bytes(b"correct horse\r\nnot this line\n")
    ran = kubemint("init", *given.options, "--passphrase-file", "passphrase.txt", cwd=tmp_path)
    assert ran.code == 0, ran.errors
    settings = config.load(tmp_path / ".kubemint" / "kubemint.yaml")
    assert settings.issuer.passphrase_file == passphrase_file
    assert b"ENCRYPTED" in (tmp_path / ".kubemint" / "ca.key").read_bytes()
    prepare(settings)


def test_a_new_ca_key_can_be_encrypted(tmp_path: Path) -> None:
    """With a passphrase's file, the key of a new CA is encrypted with it."""
    (tmp_path / "passphrase.txt").write_text("correct horse\n")
    assert kubemint("init", "--passphrase-file", "passphrase.txt", cwd=tmp_path).code == 0
    key_pem = (tmp_path / ".kubemint" / "ca.key").read_bytes()
    assert b"ENCRYPTED" in key_pem
    load_pem_private_key(key_pem, b"correct horse")
    prepare(config.load(tmp_path / ".kubemint" / "kubemint.yaml"))


@pytest.mark.parametrize(
    ("passphrase", "file_content", "said"),
    [
        (b"right", None, "is encrypted: name a passphraseFile"),
        (b"right", "wrong\n", "passphrase is wrong"),
        (None, "needless\n", "is not encrypted"),
    ],
    ids=["none given", "wrong", "needless"],
)
def test_a_passphrase_that_does_not_fit(
    tmp_path: Path, passphrase: bytes | None, file_content: str | None, said: str
) -> None:
    """A passphrase that is missing, wrong or needless is told, never shown, and leaves no folder."""
    given = kubeadm_ca(tmp_path, passphrase=passphrase)
    options: tuple[str, ...] = ()
    if file_content is not None:
        (tmp_path / "passphrase.txt").write_text(file_content)
        options = ("--passphrase-file", "passphrase.txt")
    before = set(tmp_path.iterdir())
    ran = kubemint("init", *given.options, *options, cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert said in ran.errors
    assert "wrong\n" not in ran.errors.replace("is wrong\n", "")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("what", "said"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_ca_that_must_not_sign_is_refused(tmp_path: Path, what: dict[str, Any], said: str) -> None:
    """A CA that is not fit is refused with the reason, and nothing is left behind."""
    given = kubeadm_ca(tmp_path, **what)
    before = set(tmp_path.iterdir())
    ran = kubemint("init", *given.options, cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert said in ran.errors
    assert set(tmp_path.iterdir()) == before


def test_files_that_are_no_ca(tmp_path: Path) -> None:
    """Certificate and key the wrong way round are told by their files, and nothing of a key is shown."""
    given = kubeadm_ca(tmp_path)
    ran = kubemint("init", "--ca-certificate", given.key_file, "--ca-key", given.certificate_file, cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert "there is no certificate in PEM" in ran.errors
    assert not any(line in ran.errors for line in given.key_file.read_text().splitlines()[1:-1])
    assert not (tmp_path / ".kubemint").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    """A second `init` changes nothing, and neither does one into a folder with somebody's file."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "notes.txt").write_text("mine")
    ran = kubemint("init", "--directory", "made", cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert "no empty folder; nothing was changed" in ran.errors
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["notes.txt"]
    assert list(tmp_path.iterdir()) == [tmp_path / "made"]


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    """A file by the folder's name is left alone."""
    (tmp_path / "made").write_text("mine")
    assert kubemint("init", "--directory", "made", cwd=tmp_path).code == 2
    assert (tmp_path / "made").read_text() == "mine"


def test_interrupted_it_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C while the CA's key is about to be written leaves no folder and no draft of one."""
    passphrase_file = tmp_path / "passphrase"
    os.mkfifo(passphrase_file)  # reading it waits, with the CA's certificate written already
    process = subprocess.Popen(
        (sys.executable, "-m", "kubemint", "init", "--passphrase-file", "passphrase"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - ignored in background jobs
    )
    try:
        deadline = time.monotonic() + 30
        while not (drafts := [file for file in tmp_path.glob("*/ca.crt") if file.stat().st_size]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)
        assert drafts[0].parent != tmp_path / ".kubemint"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) != 0
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == [passphrase_file]


@pytest.mark.parametrize(
    "options",
    [
        ("--ca-certificate", "ca.crt"),
        ("--ca-key", "ca.crt"),
        ("--ca-certificate", "missing", "--ca-key", "ca.crt"),
        ("--cluster-server", "http://10.0.0.1:6443"),
        ("--port", "0"),
        ("--port", "65536"),
        ("--key-type", "dsa"),
        ("--frobnicate",),
        ("extra",),
    ],
)
def test_wrong_use(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Wrong options end with code 2 before anything is made."""
    (tmp_path / "ca.crt").write_text("")
    ran = kubemint("init", *options, cwd=tmp_path)
    assert ran.code == 2
    assert "Usage: kubemint init" in ran.errors
    assert [file.name for file in tmp_path.iterdir()] == ["ca.crt"]


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "two\nlines"])
def test_a_cluster_name_with_quotes(tmp_path: Path, name: str) -> None:
    """Whatever the cluster is called, the configuration that `init` writes loads and says so."""
    options = ("--cluster-server", "https://10.0.0.1:6443", "--cluster-name", name)
    assert kubemint_process("init", *options, cwd=tmp_path).code == 0
    settings = config.load(tmp_path / ".kubemint" / "kubemint.yaml")
    assert settings.cluster is not None
    assert settings.cluster.name == name


@pytest.mark.parametrize("server", ["https://", 'https://10.0.0.1:6443"', "https://a b"])
def test_a_cluster_server_that_is_no_address(tmp_path: Path, server: str) -> None:
    """An address that the configuration would refuse is refused by `init`, which leaves no folder."""
    ran = kubemint_process("init", "--cluster-server", server, cwd=tmp_path)
    assert ran.code in {1, 2}
    assert list(tmp_path.iterdir()) == []


def test_an_empty_passphrase(tmp_path: Path) -> None:
    """An empty passphrase is refused with a sentence, and leaves no folder."""
    (tmp_path / "passphrase.txt").write_text("\n")
    ran = kubemint_process("init", "--passphrase-file", "passphrase.txt", cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert [file.name for file in tmp_path.iterdir()] == ["passphrase.txt"]


@pytest.mark.parametrize("directory", [".", "notes.txt/made", "link", "/proc/made"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, directory: str) -> None:
    """Where the folder cannot be made, a sentence says so; nothing is left beside it."""
    place = tmp_path / "place"
    place.mkdir()
    if directory != ".":
        (place / "notes.txt").write_text("mine")
        (place / "elsewhere").mkdir()
        (place / "link").symlink_to("elsewhere")
    before = set(place.iterdir())
    ran = kubemint_process("init", "--directory", directory, cwd=place)
    assert failed_cleanly(ran) or (ran.code == 0 and directory in {".", "link"}), ran.errors
    if ran.code:
        assert set(place.iterdir()) == before


def test_terminated_it_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM while the CA's key is about to be written leaves no draft of the folder."""
    passphrase_file = tmp_path / "passphrase"
    os.mkfifo(passphrase_file)
    process = subprocess.Popen(
        (sys.executable, "-m", "kubemint", "init", "--passphrase-file", "passphrase"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob("*/ca.crt")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)
        process.terminate()
        process.wait(30)
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == [passphrase_file]


def test_an_address_beyond_this_machine(tmp_path: Path) -> None:
    """The service listens where it is told to, and its certificate is for the names that it is called by."""
    made = tmp_path / "made"
    kubemint("init", "--directory", str(made), "--host", "::", "--tls-name", "mint.example.com", cwd=tmp_path)
    assert config.load(made / "kubemint.yaml").server.host == "::"
    names = x509.load_pem_x509_certificate((made / "tls.crt").read_bytes()).extensions
    san = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["localhost", "mint.example.com"]
