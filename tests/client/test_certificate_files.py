"""A certificate out of whatever its holder has: PEM, DER or a kubeconfig."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from commands.cli import failed_cleanly, kubemint
from kubemint.client.certificate_files import read_certificate
from kubemint.errors import ConfigurationError
from log.issuing import der_of, issued, pem_of
from running_service import RunningService

EVENT, OTHER = issued(1, user="jane"), issued(2, user="joe")


def config(*names: str, current: str = "a", **user: str) -> dict[str, Any]:
    """Give a kubeconfig with a user of each name; `user` is what all of them have."""
    return {
        "kind": "Config",
        "users": [{"name": name, "user": user} for name in names],
        "contexts": [{"name": name, "context": {"user": name}} for name in names],
        "current-context": current,
    }


def encoded(text: str) -> str:
    """Write base64 as kubectl does."""
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(pem_of(EVENT).encode(), id="PEM"),
        pytest.param((pem_of(EVENT) + pem_of(OTHER)).encode(), id="PEM with a chain"),
        pytest.param(b"Certificate:\n  Data\n" + pem_of(EVENT).encode(), id="PEM below a text"),
        pytest.param(der_of(EVENT), id="DER"),
        pytest.param(
            json.dumps(config("a", **{"client-certificate-data": encoded(pem_of(EVENT))})).encode(),
            id="kubeconfig",
        ),
        pytest.param(
            json.dumps(config("a", current="", **{"client-certificate-data": encoded(pem_of(EVENT))})).encode(),
            id="kubeconfig without a context",
        ),
    ],
)
def test_a_certificate_is_found(tmp_path: Path, content: bytes) -> None:
    """Each form gives the same certificate."""
    (tmp_path / "file").write_bytes(content)
    assert read_certificate(tmp_path / "file") == x509.load_der_x509_certificate(der_of(EVENT))


def test_the_user_of_the_current_context(tmp_path: Path) -> None:
    """Of several users the one in use counts, by its context and not by its place."""
    document = config("a", "b", current="b")
    for user, event in zip(document["users"], (OTHER, EVENT), strict=True):
        user["user"] = {"client-certificate-data": encoded(pem_of(event))}
    (tmp_path / "file").write_text(json.dumps(document))
    assert read_certificate(tmp_path / "file") == x509.load_der_x509_certificate(der_of(EVENT))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\n", "holds no certificate"),
        (b"kind: Secret", "holds no certificate"),
        (json.dumps(config("a")).encode(), "no client-certificate-data"),
        (json.dumps(config("a", "b", current="c")).encode(), "no client-certificate-data"),
        (json.dumps(config("a", **{"client-certificate-data": "%"})).encode(), "is not base64"),
        (json.dumps(config("a", **{"client-certificate-data": encoded("x")})).encode(), "holds no certificate"),
        (b"kind: Config\nusers: 1\ncontexts: [1]", "no client-certificate-data"),
    ],
)
def test_a_file_without_one_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    """What holds none is an error that says which file it is, in `log verify` and `revoke` too."""
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"file: .*{said}"):
        read_certificate(tmp_path / "file")
    ran = kubemint("revoke", "--certificate", "file", "--yes", cwd=tmp_path)
    assert failed_cleanly(ran)
    assert "file: " in ran.errors


@given(content=st.binary(max_size=400) | st.text(max_size=200).map(lambda text: f"kind: Config\n{text}".encode()))
def test_garbage_is_our_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever a file holds, it is a certificate or a ConfigurationError."""
    file = tmp_path_factory.getbasetemp() / "garbage"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError):
        read_certificate(file)


def test_a_receipt_is_checked_against_a_kubeconfig(service: RunningService, tmp_path: Path) -> None:
    """`log verify` takes the kubeconfig that `request` wrote, and names a file that is neither."""
    (tmp_path / ".kubemint").symlink_to(service.directory)
    assert kubemint("request", "--user", "jane", "--kubeconfig", "jane.config", cwd=tmp_path).code == 0
    vkey = kubemint("log", "key", cwd=tmp_path).output
    (tmp_path / "log.vkey").write_text(vkey)

    def verify(receipt: str, certificate: str) -> Any:
        options = "--receipt", receipt, "--certificate", certificate, "--key", "log.vkey"
        return kubemint("log", "verify", *options, cwd=tmp_path)

    assert verify("jane.config.tlog-proof", "jane.config").code == 0
    assert "log.vkey: holds no certificate" in verify("jane.config.tlog-proof", "log.vkey").errors
    assert "log.vkey is no receipt" in verify("log.vkey", "jane.config").output
