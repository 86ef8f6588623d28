"""Approval on the command line: asking, looking, deciding and waiting."""

import base64
import io
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from commands.cli import Ran, environment, failed_cleanly
from kubemint.client.certificate_files import read_certificate
from kubemint.transparency.checkpoint import NoteSigner
from running_service import RunningService
from service.approving import UNKNOWN, Terminal, workspace_with_approval


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve with approval."""
    config = workspace_with_approval(tmp_path_factory.mktemp("home") / ".kubemint")
    with RunningService(config.parent, config=config) as running:
        yield running


@pytest.fixture
def terminal(service: RunningService, tmp_path: Path) -> Terminal:
    """Give a terminal in an empty folder."""
    return Terminal(service, tmp_path)


def test_the_command_line(terminal: Terminal) -> None:
    """From the request to the certificate without HTTP in sight: the key that was kept fits it."""
    asked = terminal.request("--output", "json")
    assert asked.code == 3, asked.errors
    request = json.loads(asked.output)["request"]
    assert json.loads(asked.output)["files"] == ["jane.key"]
    assert {file.name for file in terminal.place.iterdir()} == {"jane.key"}
    assert (terminal.place / "jane.key").stat().st_mode & 0o777 == 0o600

    assert request in terminal.run("ann", "requests", "list").output
    early = terminal.run("requester", "requests", "show", request, "--output", "pem")
    approved = terminal.run("ann", "requests", "approve", request, "--yes", "--reason", "ticket 7")
    shown = terminal.run("requester", "requests", "show", request, "--output", "pem")

    assert early.code == 1
    assert approved.code == 0, approved.errors
    assert "admins" in approved.errors
    assert f"Request {request} is issued" in approved.output
    certificate = x509.load_pem_x509_certificate(shown.output.encode())
    key = load_pem_private_key((terminal.place / "jane.key").read_bytes(), None)
    assert certificate.public_key() == key.public_key()
    human = terminal.run("bob", "requests", "show", request)
    assert "by token:ann" in human.output
    assert "ticket 7" in human.output
    recorded = terminal.run("bob", "certificates", "show", f"{certificate.serial_number:x}")
    assert recorded.code == 0, recorded.errors
    assert f"Approved:     by token:ann (request {request})" in recorded.output


@pytest.mark.parametrize(("said", "state"), [("n\n", "pending"), ("", "pending"), ("y\n", "issued")])
def test_a_yes_is_asked_for(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, said: str, state: str) -> None:
    """Where nobody confirms the terms that are shown, nothing is sent."""
    request = json.loads(terminal.request("--output", "json").output)["request"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(said))

    ran = terminal.run("ann", "requests", "approve", request)

    seen = json.loads(terminal.run("bob", "requests", "show", request, "--output", "json").output)
    assert (ran.code, seen["state"]) == (0 if state == "issued" else 1, state)
    assert all(term in ran.errors for term in ("jane", "admins", seen["digest"], seen["publicKeySha256"]))


def test_denied_on_the_command_line(terminal: Terminal) -> None:
    """A denial needs a reason, and a second verdict fails with every reason."""
    request = json.loads(terminal.request("--output", "json").output)["request"]

    assert terminal.run("ann", "requests", "deny", request).code == 2
    denied = terminal.run("ann", "requests", "deny", request, "--reason", "no", "--output", "json")
    late = terminal.run("bob", "requests", "approve", request, "--yes")

    assert json.loads(denied.output)["denial"]["reason"] == "no"
    assert failed_cleanly_after_terms(late)


def failed_cleanly_after_terms(ran: Ran) -> bool:
    """Tell whether a command showed the terms and then failed with a sentence."""
    return ran.code == 1 and "kubemint: This verdict cannot count." in ran.errors and "Traceback" not in ran.errors


@pytest.mark.parametrize("form", [(), ("--kubeconfig", "config", "--cluster-server", "https://10.0.0.1:6443")])
def test_waiting(terminal: Terminal, form: tuple[str, ...]) -> None:
    """With --wait the command goes on as soon as it is approved, and leaves the usual files alone behind."""
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(_request_process, terminal, "--wait", "60s", *form)
        request = _wait_for_request(terminal)
        kept = {file.name for file in terminal.place.iterdir()}
        approved = terminal.run("ann", "requests", "approve", request, "--yes")
        code, errors = waiting.result()

    assert approved.code == 0, approved.errors
    assert code == 0, errors
    assert kept == ({f"config.{request}.key"} if form else {"jane.key"})
    written = {"config", "config.tlog-proof"} if form else {"jane.key", "jane.crt", "jane.tlog-proof"}
    assert {file.name for file in terminal.place.iterdir()} == written


@pytest.mark.parametrize("form", [(), ("--kubeconfig", "my config", "--cluster-server", "https://10.0.0.1:6443")])
def test_fetching_later(terminal: Terminal, form: tuple[str, ...]) -> None:
    """The command that the hint names writes what `request` would have written, when it is approved."""
    hint = terminal.request(*form).output.splitlines()[-1]
    words = shlex.split(hint.removeprefix("Once it is approved: "))
    assert words[:3] == ["kubemint", "requests", "fetch"]
    key_file = terminal.place / words[words.index("--key-file") + 1]
    command = (*words[1:], *form[2:])
    early = terminal.run("requester", *command)
    assert (early.code, "waits for approval until" in early.errors) == (3, True)
    assert terminal.run("ann", "requests", "approve", words[3], "--yes").code == 0

    ran = terminal.run("requester", *command)

    assert ran.code == 0, ran.errors
    assert "signature was not checked" in ran.errors
    written = {"my config", "my config.tlog-proof"} if form else {"jane.crt", "jane.tlog-proof"}
    assert {file.name for file in terminal.place.iterdir()} == {*written, key_file.name}
    (credential,) = (terminal.place / name for name in written if not name.endswith("proof"))
    key = load_pem_private_key(key_file.read_bytes(), None)
    assert read_certificate(credential).public_key() == key.public_key()
    if form:
        assert credential.stat().st_mode & 0o777 == 0o600
        (user,) = json.loads(credential.read_text())["users"]
        assert base64.b64decode(user["user"]["client-key-data"]) == key_file.read_bytes()
    again = terminal.run("requester", *command)
    assert failed_cleanly(again)
    assert "--overwrite" in again.errors


def test_what_is_not_fetched(terminal: Terminal) -> None:
    """Another key, another log, a denial or the key's own file: nothing is written, and no key is touched."""
    request = json.loads(terminal.request("--output", "json").output)["request"]
    denied = json.loads(terminal.request("--output", "json", "--key-file", "b.key").output)["request"]
    assert terminal.run("ann", "requests", "approve", request, "--yes").code == 0
    assert terminal.run("ann", "requests", "deny", denied, "--reason", "no").code == 0
    foreign = NoteSigner("log.test/other", Ed25519PrivateKey.generate()).vkey
    (terminal.place / "no.key").write_text("no key")
    before = {file.name: file.read_bytes() for file in terminal.place.iterdir()}

    def fetch(*arguments: str) -> Ran:
        return terminal.run("requester", "requests", "fetch", *arguments)

    for refused, said in (
        (fetch(request, "--key-file", "b.key"), "is not the key that the certificate is for"),
        (fetch(request, "--key-file", "no.key"), "no.key: holds no private key"),
        (fetch(request, "--key-file", "gone.key"), "gone.key: cannot be read"),
        (fetch(request, "--key-file", "jane.key", "--log-key", foreign), "is not signed by log.test/other"),
        (fetch(denied, "--key-file", "b.key"), f"request {denied} is denied: no"),
    ):
        assert refused.code == 1
        assert said in refused.errors
    assert fetch(request, "--key-file", "jane.key", "--certificate-file", "jane.key", "--overwrite").code == 2
    assert {file.name: file.read_bytes() for file in terminal.place.iterdir()} == before


def test_waiting_in_vain(terminal: Terminal) -> None:
    """Where nobody decides in time there is no certificate yet, which is exit code 3, and the key must stay."""
    ran = terminal.request("--wait", "1s")

    assert ran.code == 3
    assert "kubemint requests fetch " in ran.errors
    assert "still waits after 1s" in ran.errors
    assert {file.name for file in terminal.place.iterdir()} == {"jane.key"}


def test_a_key_in_use_is_not_replaced_while_it_waits(terminal: Terminal) -> None:
    """With --overwrite, the old pair must stay a pair until the new certificate is there."""
    (terminal.place / "jane.key").write_text("old key")
    (terminal.place / "jane.crt").write_text("old certificate")

    ran = terminal.request("--overwrite", "--output", "json")

    request = json.loads(ran.output)["request"]
    assert (terminal.place / "jane.key").read_text() == "old key"
    assert json.loads(ran.output)["files"] == [f"jane.key.{request}.key"]


@pytest.mark.parametrize("name", ["1", "../certificates", "F" * 32, UNKNOWN + "?x=1"])
def test_bad_names_are_not_sent(terminal: Terminal, name: str) -> None:
    """What is not the name of a request is wrong use."""
    for command in (("show", name), ("approve", name, "--yes"), ("deny", name, "--reason", "no")):
        assert terminal.run("ann", "requests", *command).code == 2


def test_an_unknown_request_on_the_command_line(terminal: Terminal) -> None:
    """A request that is not there must be a sentence."""
    assert failed_cleanly(terminal.run("ann", "requests", "show", UNKNOWN))


def _request_process(terminal: Terminal, *arguments: str) -> tuple[int, str]:
    """Run `kubemint request` beside this process, whose folder is one for all its threads."""
    service = terminal.service
    done = subprocess.run(
        (
            *(sys.executable, "-m", "kubemint", "request", "--user", "jane", "--group", "admins"),
            *("--profile", "admins", "--url", service.url, "--ca", str(service.tls_ca_file)),
            *("--token-file", str(service.directory / "requester.token"), *arguments),
        ),
        cwd=terminal.place,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stderr


def _wait_for_request(terminal: Terminal) -> str:
    """Wait until the key lies in the folder, and give the newest request."""
    end = time.monotonic() + 30
    while not any(file.suffix == ".key" for file in terminal.place.iterdir()):
        assert time.monotonic() < end
        time.sleep(0.05)
    listed = terminal.run("requester", "requests", "list", "--output", "json", "--limit", "1")
    return json.loads(listed.output)[0]["request"]
