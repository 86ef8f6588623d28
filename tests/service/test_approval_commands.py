"""Approval on the command line: asking, looking, deciding and waiting."""

import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from commands.cli import Ran, environment, failed_cleanly
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
    assert {file.name for file in terminal.place.iterdir()} == (
        {"config", "config.tlog-proof"} if form else {"jane.key", "jane.crt", "jane.tlog-proof"}
    )


def test_waiting_in_vain(terminal: Terminal) -> None:
    """Where nobody decides in time the command must fail, and the key must stay."""
    ran = terminal.request("--wait", "1s")

    assert ran.code == 1
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
