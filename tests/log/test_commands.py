"""`kubemint log` as people run it, on a running service and on the database below it."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from commands.cli import Ran, environment, failed_cleanly, kubemint
from kubemint.transparency.checkpoint import NoteSigner, NoteVerifier, open_checkpoint
from kubemint.transparency.notation import encode_base64
from kubemint.transparency.tree import leaf_hash
from running_service import RunningService

CERTIFICATES = 4
_CHANGE = "UPDATE entries SET body = CAST(replace(body, 'user-1', 'user-9') AS BLOB) WHERE \"index\" = 2"


class Home:
    """A folder with a running service in it, a few certificates, and what was kept of its log."""

    def __init__(self, place: Path, service: RunningService) -> None:
        self.place = place
        self.service = service
        self.key = self.log("key").output.strip()

    def log(self, *arguments: str) -> Ran:
        """Run `kubemint log`."""
        return kubemint("log", *arguments, cwd=self.place)

    def request(self, user: str) -> None:
        """Get one more certificate."""
        ran = kubemint("request", "--user", user, "--group", "developers", "--overwrite", cwd=self.place)
        assert ran.code == 0, ran.errors

    @property
    def there(self) -> tuple[str, ...]:
        """Give the options that name the running service, as an auditor does."""
        token = str(self.service.directory / "operator.token")
        return ("--url", self.service.url, "--ca", str(self.service.tls_ca_file), "--token-file", token)

    def verified(self, *arguments: str) -> dict[str, Any]:
        """Verify, and give what is reported as JSON; exit code and verdict agree."""
        ran = self.log("verify", "--output", "json", *arguments)
        report: dict[str, Any] = json.loads(ran.output)
        assert ran.code == (0 if report["verified"] else 1)
        assert report["verified"] == (report["findings"] == [])
        return report

    def codes(self, *arguments: str) -> list[str]:
        """Verify, and give the codes of what is found."""
        return [one["code"] for one in self.verified(*arguments)["findings"]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Give a folder as `kubemint dev` leaves it, with the service running."""
    place = tmp_path_factory.mktemp("home")
    with RunningService(place / ".kubemint") as service:
        made = Home(place, service)
        for number in range(CERTIFICATES):
            made.request(f"user-{number}")
        yield made


@pytest.fixture
def copy(home: Home, tmp_path: Path) -> Home:
    """Give a copy of the folder with a ledger of its own, which a test may spoil."""
    directory = tmp_path / ".kubemint"
    directory.mkdir()
    for file in home.service.directory.iterdir():
        if file.is_file() and not file.name.startswith("ledger.db"):
            (directory / file.name).write_bytes(file.read_bytes())
    with (
        closing(sqlite3.connect(home.service.ledger_file)) as source,
        closing(sqlite3.connect(directory / "ledger.db")) as target,
    ):
        source.backup(target)
    for file in home.place.glob("user-*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return Home(tmp_path, home.service)


def _execute(home: Home, *statements: str) -> None:
    with closing(sqlite3.connect(home.place / ".kubemint" / "ledger.db", isolation_level=None)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in names:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)


def test_the_key_and_the_checkpoint(home: Home) -> None:
    """The key that is printed is the one that signs what is printed, here and over HTTP."""
    verifier = NoteVerifier.from_vkey(home.key)
    for arguments in ((), home.there):
        ran = home.log("checkpoint", *arguments)
        assert ran.code == 0, ran.errors
        assert open_checkpoint(ran.output, verifier).size > CERTIFICATES


def test_a_sound_ledger(home: Home) -> None:
    """People read one line, scripts a document, and the exit code is 0."""
    ran = home.log("verify")
    assert (ran.code, ran.output.count("\n")) == (0, 1)
    assert ran.output.startswith("verified: ")
    assert ran.output.endswith(" entries, in order\n")
    report = home.verified()
    assert report["entries"] > CERTIFICATES
    assert (report["findingsNotShown"], report["notChecked"]) == (0, [])


def test_a_running_service(home: Home) -> None:
    """Who has the key verifies what a service publishes; what cannot be seen from there is told."""
    report = home.verified("--key", home.key, *home.there, "--issuer", str(home.service.ca_file))
    assert report["verified"]
    assert len(report["notChecked"]) == 1
    report = home.verified("--key", home.key, *home.there, "--issuer", str(home.service.tls_ca_file))
    assert {one["code"] for one in report["findings"]} == {"certificate-differs"}
    told = report["findings"][0]["message"]
    assert "is signed by another CA (CN=kubemint, key " in told
    assert told.endswith("after a change of CA: --issuer FILE with all of them")


def test_the_key_of_another(home: Home) -> None:
    """A log that another key has signed is told with both keys, here and over HTTP, and what to do about it."""
    signer = NoteSigner(NoteVerifier.from_vkey(home.key).name, Ed25519PrivateKey.generate())
    other = signer.verifier.key_id.hex()
    for arguments in ((), home.there):
        ran = home.log("verify", "--key", signer.vkey, *arguments)
        assert ran.code == 1
        told = f"signed by key {home.key.split('+')[1]} of '{signer.name}', and known is {other}; if log.key was"
        assert told in ran.output.splitlines()[0]
        assert ran.output.startswith("checkpoint-unsigned: ")
        assert home.log("verify", "--key", signer.vkey, "--key", home.key, *arguments).code == 0


def test_a_running_service_without_its_key(home: Home) -> None:
    """What a service says of itself is not believed."""
    ran = home.log("verify", *home.there)
    assert ran.code == 2
    assert "--url needs --key" in ran.errors


def test_a_requester_reads_no_log(home: Home) -> None:
    """Who may not read the log is refused, and that is no verdict."""
    token = str(home.service.directory / "requester.token")
    ran = home.log("verify", "--key", home.key, *home.there[:-1], token)
    assert failed_cleanly(ran), ran.errors
    assert "not-permitted" in ran.errors


def test_a_receipt_offline(home: Home, tmp_path: Path) -> None:
    """A receipt is checked with the key alone, for its certificate and no other."""
    (tmp_path / "log.pub").write_text(home.key)
    files = {name: str(home.place / name) for name in ("user-0.crt", "user-1.crt", "user-0.tlog-proof")}

    def check(certificate: str, *arguments: str, key: str = "log.pub") -> Ran:
        options = ("--receipt", files["user-0.tlog-proof"], "--certificate", files[certificate], "--key", key)
        return kubemint("log", "verify", *options, *arguments, cwd=tmp_path)

    assert check("user-0.crt").code == 0
    assert check("user-0.crt", "--issuer", str(home.service.ca_file)).code == 0
    ran = check("user-1.crt")
    assert (ran.code, ran.output.splitlines()[0]) == (1, "receipt-invalid: the receipt is for another certificate")
    assert "certificate-differs" in check("user-0.crt", "--issuer", str(home.service.tls_ca_file)).output
    foreign = NoteVerifier.from_vkey(home.key)
    foreign = NoteVerifier(
        name=foreign.name, signature_type=foreign.signature_type, public_key_octets=bytes(range(32))
    )
    assert "receipt-invalid" in check("user-0.crt", key=foreign.vkey).output
    assert check("user-0.crt", "--key", home.key, key=foreign.vkey).code == 0
    assert check("user-0.crt", *home.there).code == 2
    assert kubemint("log", "verify", "--receipt", files["user-0.tlog-proof"], cwd=tmp_path).code == 2


def test_a_changed_entry(copy: Home) -> None:
    """A changed body is a line, a code and exit code 1."""
    _execute(copy, _CHANGE)
    ran = copy.log("verify")
    assert (ran.code, ran.output.splitlines()[0]) == (
        1,
        "entry-changed: entry 2 is not what its leaf hash was made of",
    )
    entries = copy.verified()["entries"]
    assert ran.output.splitlines()[-1] == f"NOT in order: 1 finding ({entries} entries)"
    (found,) = copy.verified()["findings"]
    assert (found["code"], found["logIndex"]) == ("entry-changed", 2)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ('UPDATE entries SET body = CAST(body AS TEXT) WHERE "index" = 2', "entry-changed"),
        ('UPDATE entries SET leaf_hash = hex(substr(leaf_hash, 1, 16)) WHERE "index" = 2', "entry-changed"),
        ("UPDATE head SET frontier = 'x'", "head-differs"),
        ("UPDATE head SET size = 'many'", "head-differs"),
        ("UPDATE head SET archived = 'x'", "head-differs"),
        ("UPDATE certificates SET not_after = 'x' WHERE entry_index = 2", "row-differs"),
    ],
)
def test_values_of_another_type(copy: Home, statement: str, code: str) -> None:
    """SQLite keeps text where octets or numbers belong; that is a finding as any other."""
    _execute(copy, statement)
    assert code in copy.codes()


def test_an_old_backup(home: Home, copy: Home) -> None:
    """A ledger that was put back is found by a checkpoint, a receipt or an anchor that is newer."""
    home.request("later")
    checkpoint = copy.place / "seen"
    checkpoint.write_text(home.log("checkpoint").output)
    assert copy.codes() == []
    assert copy.codes("--from-checkpoint", str(checkpoint)) == ["checkpoint-older"]
    assert copy.codes("--from-checkpoint", str(home.place / "later.tlog-proof")) == ["checkpoint-older"]
    assert copy.codes("--from-checkpoint", str(copy.place / "user-0.tlog-proof")) == []
    _anchor(copy, {"file": "anchor"})
    assert copy.verified()["notChecked"][0].endswith("anchor: cannot be read: No such file or directory")
    (copy.place / ".kubemint" / "anchor").write_text(checkpoint.read_text())
    assert copy.codes() == ["checkpoint-older"]
    (copy.place / ".kubemint" / "anchor").write_text("something else")
    assert copy.codes() == ["checkpoint-unsigned"]


def test_an_anchor_at_an_address(copy: Home) -> None:
    """An anchor that is not a file is told not to have been asked."""
    _anchor(copy, {"url": "https://anchor.example/checkpoint"})
    report = copy.verified()
    assert report["verified"]
    assert report["notChecked"] == [
        "the anchor https://anchor.example/checkpoint: give what it holds as --from-checkpoint"
    ]


def test_a_checkpoint_of_another_log(copy: Home) -> None:
    """A file that the log's key did not sign is no checkpoint of it, and that is said before anything is read."""
    (copy.place / "seen").write_text("none")
    ran = copy.log("verify", "--from-checkpoint", "seen")
    assert failed_cleanly(ran), ran.errors
    assert ran.errors.startswith("kubemint: seen: ")


def test_export(home: Home, tmp_path: Path) -> None:
    """Each line is an entry with its index and hash, in order, the same from the database and over HTTP."""
    ran = home.log("export")
    assert ran.code == 0, ran.errors
    lines = [json.loads(line) for line in ran.output.splitlines()]
    assert [line["logIndex"] for line in lines] == list(range(len(lines)))
    assert len(lines) > CERTIFICATES
    assert home.log("export", *home.there).output == ran.output
    for line, text in zip(lines, ran.output.splitlines(), strict=True):
        body = text.partition(',"entry":')[2][:-1].encode()
        assert line["leafHash"] == encode_base64(leaf_hash(body))
    issued = home.log("export", "--kind", "issued", "--from", "2").output.splitlines()
    assert [json.loads(line)["logIndex"] for line in issued] == [
        line["logIndex"] for line in lines if line["entry"]["kind"] == "issued" and line["logIndex"] >= 2
    ]
    assert home.log("export", "--from", "1000000").output == ""


def test_an_export_goes_on(home: Home, tmp_path: Path) -> None:
    """A file is gone on with after its last whole line; what was torn off is written again, and nothing twice."""
    file = tmp_path / "export.jsonl"
    whole = home.log("export").output
    assert home.log("export", "--output", str(file)).code == 0
    assert file.read_text() == whole
    assert file.stat().st_mode & 0o777 == 0o600
    for cut in (0, 1, 40, len(whole) // 2, len(whole) - 1, len(whole)):
        file.write_text(whole[:cut])
        ran = home.log("export", "--output", str(file))
        assert ran.code == 0, ran.errors
        assert file.read_text() == whole
    assert home.log("export", "--output", str(file), "--from", "1").code == 2


def test_an_export_of_another_log(home: Home, tmp_path: Path) -> None:
    """A file that the log does not lead to is left alone: the log was changed, or is another."""
    file = tmp_path / "export.jsonl"
    lines = home.log("export").output.splitlines(keepends=True)
    foreign = json.loads(lines[1]) | {"leafHash": encode_base64(bytes(32))}
    later = json.loads(lines[1]) | {"logIndex": 1_000_000}
    for text, said in (
        (json.dumps(foreign) + "\n", "the log was changed"),
        (json.dumps(later) + "\n", "another, or an old copy"),
        ("no export\n", "is no file of exported entries"),
        ("[1]\n", "is no file of exported entries"),
        ('{"logIndex":true}\n', "is no file of exported entries"),
    ):
        file.write_text(text)
        ran = home.log("export", "--output", str(file))
        assert failed_cleanly(ran), ran.errors
        assert said in ran.errors
        assert file.read_text() == text
    ran = home.log("export", "--output", str(tmp_path / "gone" / "file"))
    assert failed_cleanly(ran), ran.errors


def test_an_export_gives_no_changed_entry(copy: Home) -> None:
    """An entry that is not what was hashed is not given to anybody."""
    _execute(copy, _CHANGE)
    ran = copy.log("export")
    assert failed_cleanly(ran), ran.errors
    assert "entry 2 is missing or changed" in ran.errors
    assert ran.output == ""


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("over_http", [False, True], ids=["database", "http"])
def test_following(home: Home, tmp_path: Path, end: signal.Signals, over_http: bool) -> None:
    """What is issued while somebody follows is written soon, and the end is in order."""
    file = tmp_path / "export.jsonl"
    options = home.there if over_http else ()
    command = (sys.executable, "-m", "kubemint", "log", "export", "--follow", "--output", str(file), *options)
    with subprocess.Popen(command, cwd=home.place, env=environment(), stderr=subprocess.PIPE) as process:
        try:
            _wait_for(lambda: file.exists() and len(file.read_text().splitlines()) > CERTIFICATES)
            home.request("follower")
            expected = home.log("export").output
            _wait_for(lambda: file.read_text() == expected)
            process.send_signal(end)
            assert process.wait(20) == 0
        finally:
            with suppress(ProcessLookupError):
                process.kill()


def test_both_places_at_once(home: Home) -> None:
    """A database and a service cannot be meant at the same time."""
    for command in ("verify", "export", "checkpoint"):
        key = ("--key", home.key) if command == "verify" else ()
        assert home.log(command, "--config", ".kubemint/kubemint.yaml", *home.there, *key).code == 2


def test_without_a_ledger(copy: Home) -> None:
    """A configuration whose ledger is not there is told so, and none is made."""
    (copy.place / ".kubemint" / "ledger.db").unlink()
    for command in ("verify", "export", "checkpoint"):
        ran = copy.log(command)
        assert failed_cleanly(ran), ran.errors
        assert "there is no ledger" in ran.errors
    assert not (copy.place / ".kubemint" / "ledger.db").exists()


def _anchor(home: Home, anchor: dict[str, str]) -> None:
    file = home.place / ".kubemint" / "kubemint.yaml"
    settings = yaml.safe_load(file.read_text())
    settings["log"]["anchors"] = [anchor]
    file.write_text(yaml.safe_dump(settings))


def _wait_for(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
