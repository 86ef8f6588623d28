"""What stops the start: exit code 1 and one line that names the place, before anything is served."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from csrs import pem, private_key
from kubemint.config import load
from kubemint.transparency.checkpoint import NoteVerifier
from kubemint.wiring import log_keys_of
from running_service import RunningService
from service.workspaces import change_yaml, make_workspace, refusal_to_start


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder that is in order, and has been served from: the ledger's tables are there."""
    directory = make_workspace(tmp_path_factory.mktemp("pristine") / "kubemint").parent
    with RunningService(directory, config=directory / "kubemint.yaml"):
        return directory


@pytest.fixture
def config(pristine: Path, tmp_path: Path) -> Path:
    """Give the configuration of a copy, to be harmed."""
    return shutil.copytree(pristine, tmp_path / "kubemint") / "kubemint.yaml"


def _start(config: Path) -> str:
    return refusal_to_start(RunningService(config.parent, config=config))


def _developers(policy: Any) -> Any:
    return policy["profiles"]["developers"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda policy: _developers(policy)["groups"].append("system:masters"), "profiles.developers.groups.3"),
        (lambda policy: _developers(policy)["groups"].append("System:Masters "), "profiles.developers.groups.3"),
        (lambda policy: _developers(policy)["users"].append("system:masters"), "profiles.developers.users.1"),
        (
            lambda policy: _developers(policy).update(reserved=["system:masters"]),
            "profiles.developers.reserved.0",
        ),
        (lambda policy: _developers(policy)["groups"].append("system:*"), "profiles.developers.groups.3"),
    ],
    ids=["group", "group in other letters", "user", "reserved", "pattern"],
)
def test_a_policy_that_allows_system_masters(config: Path, change: Callable[[Any], object], path: str) -> None:
    """With a policy that would give out system:masters nothing is served, and the line names the place in it."""
    policy = config.with_name("policy.yaml")
    change_yaml(policy, change)
    assert f"{policy}: {path}: " in _start(config)


def _take_away(file: Path) -> None:
    file.unlink()


def _make_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _write_garbage(file: Path) -> None:
    file.write_bytes(b"garbage\n" * 2048)


def _write_garbage_in_pem(file: Path) -> None:
    file.write_bytes(pem(b"garbage", "PRIVATE KEY"))


def _write_another_key(file: Path) -> None:
    key = private_key("ecdsa-p256", "another")
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _forbid(file: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    file.chmod(0)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        pytest.param(_take_away, "cannot be read", id="missing"),
        pytest.param(_make_a_folder, "cannot be read", id="a folder"),
        pytest.param(_forbid, "cannot be read", id="unreadable"),
        pytest.param(_write_garbage, "no private key", id="garbage"),
        pytest.param(_write_garbage_in_pem, "no private key", id="garbage in PEM"),
        pytest.param(_write_another_key, "key", id="of another certificate"),
    ],
)
def test_a_ca_key_that_cannot_sign(config: Path, harm: Callable[[Path], None], words: str) -> None:
    """Without the key that belongs to the CA's certificate nothing is served, and no octet of a key is shown."""
    harm(config.with_name("ca.key"))
    said = _start(config)
    assert words in said
    assert "ca." in said
    assert "BEGIN" not in said


@pytest.mark.parametrize("name", ["ca.crt", "tls.crt", "tls.key", "tokens.yaml"])
def test_a_file_with_other_content(config: Path, name: str) -> None:
    """Where a file that the configuration names holds something else, nothing is served."""
    _write_garbage(config.with_name(name))
    assert _start(config)


def _cut(file: Path) -> None:
    with file.open("r+b") as ledger:
        ledger.truncate(5000)


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(_write_garbage, id="garbage"),
        pytest.param(_cut, id="cut off"),
        pytest.param(_make_a_folder, id="a folder"),
        pytest.param(_forbid, id="unreadable"),
    ],
)
def test_a_ledger_that_cannot_be_opened(config: Path, harm: Callable[[Path], None]) -> None:
    """With a ledger that is damaged or cannot be read nothing is served, and the file is left as it is."""
    ledger = config.with_name("ledger.db")
    harm(ledger)
    before = ledger.read_bytes() if ledger.is_file() and os.access(ledger, os.R_OK) else b""
    said = _start(config)
    assert "ledger" in said
    assert "sqlalche" not in said
    if before:
        assert ledger.read_bytes() == before


def test_a_ledger_in_a_folder_that_is_not_there(config: Path) -> None:
    """A ledger whose folder is missing is not made elsewhere."""
    change_yaml(config, lambda settings: settings["ledger"].update(url="sqlite:///nowhere/ledger.db"))
    assert "ledger.db" in _start(config)


def test_a_ledger_that_another_key_has_signed(config: Path) -> None:
    """With a log key that did not sign the ledger nothing is served; the line names both keys, and the way out."""
    former = _log_key(config)
    pem_octets = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    config.with_name("log.key").write_bytes(pem_octets)
    now, said = _log_key(config), _start(config)
    signed = f"log.key: the newest checkpoint is signed by key {former.key_id.hex()} of '{former.name}'"
    assert f"{signed}, and log.key is {now.key_id.hex()} of '{now.name}'. If log.key was replaced, put" in said
    assert "under log.formerKeys until an entry has been written since (docs/incidents.md)" in said


def test_a_ledger_with_a_signature_that_does_not_hold(config: Path) -> None:
    """Under a checkpoint that only says that the log's key has signed it, nothing is served."""
    with closing(sqlite3.connect(config.with_name("ledger.db"))) as ledger, ledger:
        (note,) = ledger.execute("SELECT checkpoint FROM head").fetchone()
        place = note.rindex(" ") + 20
        changed = note[:place] + ("A" if note[place] != "A" else "B") + note[place + 1 :]
        ledger.execute("UPDATE head SET checkpoint = ?", (changed,))
    assert "the head of the ledger is not what was signed" in _start(config)


def _log_key(config: Path) -> NoteVerifier:
    return log_keys_of(load(config)).signer.verifier
