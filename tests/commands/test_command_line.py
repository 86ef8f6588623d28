"""The command line as a whole: help, version, exit codes, and what stops a start."""

import re
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from commands.authorities import kubeadm_ca
from commands.cli import failed_cleanly, kubemint, kubemint_process
from kubemint.commands.main import kubemint as command_line
from kubemint.commands.workspace import CaSource, Listen, create_workspace

COMMANDS = (
    *("dev", "init", "serve", "token", "policy"),
    *("log", "ledger", "backup", "restore"),
    *("request", "requests", "certificates", "revoke", "revocations"),
    *("kubernetes", "audit-log"),
)
HELP = (
    (),
    *((name,) for name in COMMANDS),
    *(("token", name) for name in ("create", "list", "delete")),
    *(("policy", name) for name in ("check", "explain", "test", "replay")),
    *(("log", name) for name in ("verify", "export", "checkpoint", "key")),
    *(("ledger", name) for name in ("migrate", "retain", "archive")),
    *(("requests", name) for name in ("list", "show", "fetch", "approve", "deny")),
    *(("certificates", name) for name in ("list", "show")),
    *(("revocations", name) for name in ("list", "show", "lift")),
    *(("kubernetes", name) for name in ("authorizer-config", "deny-list")),
)

GROUPS = ("token", "policy", "log", "ledger", "requests", "certificates", "revocations", "kubernetes")
# `serve` needs nothing, and these take the id that their own list shows, if anything.
NO_EXAMPLE = {*(("revocations", name) for name in ("list", "show", "lift"))}


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


@pytest.mark.parametrize("group", [(), *((name,) for name in GROUPS)], ids=" ".join)
def test_no_summary_is_cut_off(tmp_path: Path, group: tuple[str, ...]) -> None:
    """On a terminal of 80 columns each command of a list is told in a whole sentence."""
    ran = kubemint_process(*group, "--help", cwd=tmp_path, COLUMNS="80")
    lines = re.findall(r"^  [a-z][a-z-]*  +(\S.*)$", ran.output.partition("Commands:")[2], re.MULTILINE)
    assert lines
    assert [line for line in lines if not line.endswith(".") or line.endswith("...")] == []


def test_the_help_of_every_command_is_looked_at() -> None:
    """No command is missing among those whose help these tests read."""
    assert {names for names, _ in _commands(command_line)} == set(HELP)


def test_help_has_an_example() -> None:
    """Every command but a few that explain themselves shows a line that can be typed."""
    commands = {
        names: command for names, command in _commands(command_line) if not isinstance(command, click.Group)
    }
    without = {names for names in commands if not _examples(names)}
    assert without <= NO_EXAMPLE
    assert all(names in commands for names in NO_EXAMPLE)


def test_examples_can_be_typed() -> None:
    """An example has no option that is not there, and all arguments that the command needs."""
    for names, command in _commands(command_line):
        for example in _examples(names):
            words = shlex.split(re.split(r" [|>] |\)$", example)[0])
            said, left, _ = command.make_parser(click.Context(command)).parse_args(words[len(names) :])
            assert not left, example
            missing = [
                param.name for param in command.params if param.required and said.get(param.name or "") is None
            ]
            assert not missing, example


def _commands(command: click.Command, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Walk through all commands, each with the words that call it."""
    yield names, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _commands(found, *names, name)


def _examples(names: tuple[str, ...]) -> list[str]:
    """Give the examples in the help of a command, from the name of the command on."""
    shown = CliRunner().invoke(command_line, [*names, "--help"], terminal_width=200).output
    lines = shown.partition("\nOptions:")[0].replace("\\\n", " ").splitlines()[1:]
    found = (re.search(rf"^  .*\bkubemint ({' '.join(names)}(?: \S.*)?)$", line) for line in lines)
    return [match[1] for match in found if match]


@pytest.mark.parametrize("command", [("ledger", "migrate"), ("log", "key"), ("token", "list"), ("backup",)])
def test_where_the_configuration_is_found(command: tuple[str, ...]) -> None:
    """The help names the places in which a configuration is looked for, in their order."""
    shown = " ".join(CliRunner().invoke(command_line, [*command, "--help"]).output.split())
    assert "[default: the first of KUBEMINT_CONFIG, .kubemint/kubemint.yaml, /etc/kubemint/kubemint.yaml]" in shown


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


def _encrypt(file: Path) -> None:
    key = load_pem_private_key(file.read_bytes(), None)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))


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
    "TLS key encrypted": (
        lambda made: _encrypt(made / "tls.key"),
        "server.tls: .*tls.key is encrypted, .*openssl",
    ),
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
