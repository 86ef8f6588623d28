"""The command line as a whole: help, version, exit codes, and what stops a start."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from commands.authorities import kubeadm_ca
from commands.cli import failed_cleanly, kubemint, kubemint_process
from kubemint.commands.main import kubemint as command_line
from kubemint.commands.workspace import CaSource, Listen, create_workspace

COMMANDS = (
    *("dev", "init", "serve", "token", "policy"),
    *("log", "ledger", "backup", "restore"),
    *("request", "requests", "revoke", "revocations"),
    *("kubernetes", "audit-log"),
)
HELP = (
    (),
    *((name,) for name in COMMANDS),
    *(("token", name) for name in ("create", "list", "delete")),
    *(("policy", name) for name in ("check", "explain", "test", "replay")),
    *(("log", name) for name in ("verify", "export", "checkpoint", "key")),
    *(("ledger", name) for name in ("migrate", "retain", "archive")),
    *(("requests", name) for name in ("list", "show", "approve", "deny")),
    *(("revocations", name) for name in ("list", "show", "lift")),
    *(("kubernetes", name) for name in ("authorizer-config", "deny-list")),
)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Give a folder as `kubemint init` makes it."""
    create_workspace(tmp_path / "made", CaSource(), Listen(port=8443), None, datetime.now(UTC))
    return tmp_path / "made"


@pytest.mark.parametrize("command", HELP, ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_explains_itself(command: tuple[str, ...], option: str) -> None:
    """Each command's help says what it does, and a sentence for each option."""
    ran = CliRunner().invoke(command_line, [*command, option])
    assert ran.exit_code == 0, ran.output
    assert ran.output.startswith("Usage: ")
    for option_line in re.findall(r"^  --[a-z-]+.*$", ran.output, re.MULTILINE):
        assert len(option_line.split()) >= 2, option_line


def test_the_help_names_every_command() -> None:
    """The first help lists the commands with what they do."""
    ran = CliRunner().invoke(command_line, ["--help"])
    assert re.findall(r"^  ([a-z][a-z-]*)  +\S", ran.output, re.MULTILINE) == list(COMMANDS)


def test_the_version(tmp_path: Path) -> None:
    """--version tells a version."""
    ran = kubemint("--version", cwd=tmp_path)
    assert ran.code == 0
    assert re.search(r"\d+\.\d+\.\d+", ran.output)


@pytest.mark.parametrize("arguments", [("frobnicate",), ("--frobnicate",), ("serve", "extra"), ("request",)])
def test_wrong_use_is_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """What cannot be understood ends with code 2 and how it is used."""
    ran = kubemint_process(*arguments, cwd=tmp_path)
    assert ran.code == 2
    assert "Usage: kubemint" in ran.errors


def test_serve_without_a_configuration(tmp_path: Path) -> None:
    """Without any configuration the error names the places and how to name another."""
    ran = kubemint_process("serve", "--config", tmp_path / "missing.yaml", cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert "missing.yaml: cannot be read" in ran.errors


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


STOPS = {
    "unknown key": (lambda made: _edit(made / "kubemint.yaml", "policyFile:", "polcy: x\npolicyFile:"), "polcy"),
    "policy with system:masters": (
        lambda made: _edit(made / "policy.yaml", "developers, viewers", "system:masters"),
        "profiles.developers.*system:masters",
    ),
    "CA key gone": (lambda made: (made / "ca.key").unlink(), "ca.key: cannot be read"),
    "CA key unreadable": (lambda made: (made / "ca.key").write_text("-----BEGIN"), "no private key in PEM"),
    "CA key of another": (
        lambda made: (made / "ca.key").write_bytes((made / "tls.key").read_bytes()),
        "does not belong",
    ),
    "TLS key gone": (lambda made: (made / "tls.key").unlink(), "server.tls"),
    "tokens gone": (lambda made: (made / "tokens.yaml").unlink(), "tokens.yaml"),
    "nobody could prove who they are": (
        lambda made: _edit(made / "kubemint.yaml", "{tokensFile: tokens.yaml}", "{}"),
        "nobody could prove",
    ),
    "ledger is no database": (lambda made: (made / "ledger.db").write_bytes(b"x" * 5000), "ledger"),
    "folder of the ledger gone": (
        lambda made: _edit(made / "kubemint.yaml", "///ledger.db", "///gone/ledger.db"),
        "ledger.db",
    ),
}


@pytest.mark.parametrize(("damage", "said"), STOPS.values(), ids=STOPS.keys())
def test_what_stops_a_start(made: Path, damage: Callable[[Path], object], said: str) -> None:
    """Nothing is served unless everything is in order: code 1, the reason, and no secret."""
    secret = (made / "ca.key").read_text().splitlines()[1]
    damage(made)
    ran = kubemint_process("serve", "--config", made / "kubemint.yaml", cwd=made)
    assert ran.code == 1, ran.errors
    assert re.search(said, ran.errors)
    assert "Traceback" not in ran.errors
    assert secret not in ran.errors


def test_an_imported_ca_that_has_become_unfit_stops_the_start(made: Path, tmp_path: Path) -> None:
    """A CA that was put in place of the good one is looked at again at each start."""
    given = kubeadm_ca(tmp_path, name="etcd-ca")
    (made / "ca.crt").write_bytes(given.certificate_file.read_bytes())
    (made / "ca.key").write_bytes(given.key_file.read_bytes())
    ran = kubemint_process("serve", "--config", made / "kubemint.yaml", cwd=made)
    assert failed_cleanly(ran), ran.errors
    assert "etcd" in ran.errors


def test_a_policy_that_binds_no_names_is_warned_of(made: Path) -> None:
    """A profile whose requesters choose names is told at each start, on standard error."""
    (made / "ca.key").unlink()  # so that the start ends after the warnings
    ran = kubemint_process("serve", "--config", made / "kubemint.yaml", cwd=made)
    assert "warning: profiles.developers.users" in ran.errors
    assert ran.output == ""
