"""`kubemint dev` where it cannot serve: it says so, and leaves what others rely on."""

import socket
from pathlib import Path

from commands.cli import failed_cleanly, kubemint_process
from running_service import RunningService, free_port


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """No greeting, a way out, and client.yaml still names the service that this folder serves."""
    with RunningService(tmp_path / "here", port=free_port()) as service:
        client_file = service.directory / "client.yaml"
        before = client_file.read_bytes()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            options = "--directory", service.directory, "--port", str(port)
            ran = kubemint_process("dev", *options, cwd=tmp_path)
        assert client_file.read_bytes() == before
    assert failed_cleanly(ran), ran.errors
    assert f"127.0.0.1:{port} cannot be listened on: " in ran.errors
    assert ran.errors.endswith('; another port: make run ARGS="--port 9443"\n')
    assert ran.output == ""


def test_nobody_is_greeted_before_all_is_in_order(tmp_path: Path) -> None:
    """A policy that does not load is said, and nothing is promised before it."""
    port = str(free_port())
    with RunningService(tmp_path / "here", port=free_port()) as service:
        pass
    (service.directory / "policy.yaml").write_text("{}")
    ran = kubemint_process("dev", "--directory", service.directory, "--port", port, cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert "policy.yaml" in ran.errors
    assert ran.output == ""
    assert port not in (service.directory / "client.yaml").read_text()
