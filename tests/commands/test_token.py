"""`kubemint token`: create, list, delete."""

import json
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commands.cli import Ran, environment, failed_cleanly, kubemint, kubemint_process
from kubemint.authentication import Evidence
from kubemint.authentication.tokens import TokenAuthenticator, TokenRecord, load_tokens, save_tokens
from kubemint.commands.workspace import CaSource, Listen, create_workspace

FILE = "tokens.yaml"


def token(place: Path, *arguments: str) -> Ran:
    """Run `kubemint token` on the file in a folder."""
    return kubemint("token", *arguments, "--tokens-file", FILE, cwd=place)


def test_a_created_token_works(tmp_path: Path) -> None:
    """The token is printed, alone, once; only its hash is in the file; it proves its name."""
    ran = token(tmp_path, "create", "ci")
    assert ran.code == 0, ran.errors
    secret = ran.output.strip()
    assert re.fullmatch(r"kubemint_[A-Za-z0-9_-]{43}", secret)
    assert secret not in (tmp_path / FILE).read_text()
    assert secret not in ran.errors
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    evidence = Evidence(authorization=f"Bearer {secret}", client_certificate_der=None)
    found = TokenAuthenticator(tmp_path / FILE).authenticate(evidence, datetime.now(UTC))
    assert found is not None
    assert found.identity == "token:ci"


@pytest.mark.parametrize(("options", "days"), [((), 90), (("--expires", "36h"), 1.5), (("--expires", "7d"), 7)])
def test_the_expiry(tmp_path: Path, options: tuple[str, ...], days: float) -> None:
    """A token is good for as long as was said, else for 90 days."""
    assert token(tmp_path, "create", "ci", *options).code == 0
    (record,) = load_tokens(tmp_path / FILE)
    expected = datetime.now(UTC) + timedelta(days=days)
    assert abs(record.expires - expected) < timedelta(minutes=1)


def test_create_list_delete(tmp_path: Path) -> None:
    """Names come and go one by one; the list tells name, expiry, state and which token, not the token."""
    secrets = [token(tmp_path, "create", name).output.strip() for name in ("ci", "cd")]
    records = load_tokens(tmp_path / FILE)
    past = TokenRecord(name="old", sha256="0" * 64, expires=datetime(2020, 1, 1, tzinfo=UTC))
    save_tokens(tmp_path / FILE, (*records, past))
    listed = token(tmp_path, "list")
    assert listed.code == 0
    lines = [line.split("\t") for line in listed.output.splitlines()]
    assert [(line[0], line[2]) for line in lines] == [("ci", "valid"), ("cd", "valid"), ("old", "expired")]
    assert lines[2][1] == "2020-01-01T00:00:00Z"
    assert not any(secret in listed.output for secret in secrets)
    assert token(tmp_path, "delete", "ci").code == 0
    assert [record.name for record in load_tokens(tmp_path / FILE)] == ["cd", "old"]


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    """A second token of one name is refused, and the first one stays."""
    token(tmp_path, "create", "ci")
    before = (tmp_path / FILE).read_bytes()
    ran = token(tmp_path, "create", "ci")
    assert failed_cleanly(ran), ran.errors
    assert ran.output == ""
    assert (tmp_path / FILE).read_bytes() == before


def test_deleting_what_is_not_there(tmp_path: Path) -> None:
    """A name that nobody has is an error, and the file stays as it is."""
    token(tmp_path, "create", "ci")
    before = (tmp_path / FILE).read_bytes()
    ran = token(tmp_path, "delete", "cd")
    assert failed_cleanly(ran), ran.errors
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("command", [("list",), ("delete", "ci")])
def test_without_a_file(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Where there is no file there is nothing to list or to delete."""
    assert failed_cleanly(token(tmp_path, *command))
    assert not (tmp_path / FILE).exists()


def test_a_broken_file_is_not_written_over(tmp_path: Path) -> None:
    """A file that cannot be read is left as it is, and the error tells where it is wrong."""
    (tmp_path / FILE).write_text(json.dumps({"apiVersion": "kubemint/v1", "kind": "Tokens", "tokens": [{}]}))
    before = (tmp_path / FILE).read_bytes()
    ran = token(tmp_path, "create", "ci")
    assert failed_cleanly(ran), ran.errors
    assert "tokens.0.name" in ran.errors
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "CI"),
        ("create", ""),
        ("create", "-ci"),
        ("create", "c" * 64),
        ("create", "ci\n"),
        ("create", "ci", "--expires", "0h"),
        ("create", "ci", "--expires", "soon"),
        ("create", "ci", "--expires", "-1h"),
        ("create",),
        ("delete",),
        ("frobnicate",),
    ],
    ids=ascii,
)
def test_wrong_use(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A name or expiry that cannot be is wrong use: code 2, and no file."""
    assert token(tmp_path, *arguments).code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_configured_file(tmp_path: Path) -> None:
    """Without --tokens-file it is the file that the configuration names: given, by variable, or found."""
    made = tmp_path / ".kubemint"
    create_workspace(made, CaSource(), Listen(port=8443), None, datetime.now(UTC))
    settings = str(made / "kubemint.yaml")
    assert kubemint("token", "create", "one", "--config", settings, cwd=made).code == 0
    assert kubemint_process("token", "create", "two", cwd=made, KUBEMINT_CONFIG=settings).code == 0
    assert kubemint_process("token", "create", "three", cwd=tmp_path).code == 0
    names = [record.name for record in load_tokens(made / "tokens.yaml")]
    assert names == ["requester", "operator", "webhook", "one", "two", "three"]


def test_a_configuration_without_a_tokens_file(tmp_path: Path) -> None:
    """A configuration that knows no tokens file is an error that says so."""
    made = tmp_path / "made"
    create_workspace(made, CaSource(), Listen(port=8443), None, datetime.now(UTC))
    text = (made / "kubemint.yaml").read_text()
    (made / "kubemint.yaml").write_text(text.replace("{tokensFile: tokens.yaml}", "{}"))
    ran = kubemint("token", "list", "--config", made / "kubemint.yaml", cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert "no tokensFile" in ran.errors


def test_a_tokens_file_in_no_folder(tmp_path: Path) -> None:
    """A tokens file that cannot be written is told with its path."""
    ran = kubemint_process("token", "create", "ci", "--tokens-file", "gone/tokens.yaml", cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert ran.output == ""


def test_tokens_that_are_created_at_once(tmp_path: Path) -> None:
    """Of several tokens that are created at the same time, all are in the file."""
    names = [f"ci-{number}" for number in range(6)]
    processes = [
        subprocess.Popen(
            (sys.executable, "-m", "kubemint", "token", "create", name, "--tokens-file", "tokens.yaml"),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name in names
    ]
    assert [process.wait(60) for process in processes] == [0] * len(names)
    listed = kubemint_process("token", "list", "--tokens-file", "tokens.yaml", cwd=tmp_path)
    assert sorted(line.split("\t")[0] for line in listed.output.splitlines()) == names
