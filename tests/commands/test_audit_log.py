"""`kubemint audit-log`: who used which certificate, and what should not have been possible."""

import gzip
import io
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from client.revoking import Terminal
from commands.audit_lines import STRANGER, line
from commands.cli import Ran, failed_cleanly, kubemint
from kubemint.commands.audit_log_files import AuditFiles
from kubemint.commands.main import kubemint as command_line
from kubemint.errors import ConfigurationError
from kubemint.record import rfc3339


@dataclass(frozen=True, slots=True)
class Past:
    """A service whose certificates were used, and where that is written."""

    terminal: Terminal
    issued: dict[str, dict[str, Any]]
    revoked_at: datetime

    @property
    def place(self) -> Path:
        """The folder."""
        return self.terminal.place

    def event(self, user: str, minutes: float = 0, code: int = 200, **changes: Any) -> bytes:
        """Write a line of a request so many minutes after the revocation, by the certificate of a user."""
        credential = self.issued[user]["credentialId"] if user in self.issued else STRANGER
        return line(user, self.revoked_at + timedelta(minutes=minutes), code, credential, **changes)

    def log(self, *lines: bytes, name: str = "audit.log") -> Path:
        """Write a log."""
        file = self.place / name
        file.write_bytes(b"".join(lines))
        return file

    def run(self, *arguments: str | Path) -> Ran:
        """Read a log, with the ledger of the configuration."""
        return kubemint("audit-log", "--config", "made/kubemint.yaml", *arguments, cwd=self.place)

    def found(self, *arguments: str | Path) -> Any:
        """Read a log, and read what is said in JSON."""
        ran = self.run(*arguments, "--output", "json")
        assert ran.code == 0, ran.errors
        return json.loads(ran.output)


@pytest.fixture(scope="module")
def past(serving: Terminal) -> Past:
    """Give a past: ann's certificate is good, bob's is revoked, and nobody uses cy's."""
    issued = {user: serving.issue(user) for user in ("ann", "bob", "cy")}
    revocation = serving.json("operator", "revoke", "--user", "bob", "--yes", "--reason", "keyCompromise")
    return Past(serving, issued, datetime.fromisoformat(revocation["time"]))


def use_of(found: Any, credential: str) -> Any:
    """Give the use of one certificate."""
    (use,) = (one for one in found["uses"] if one["credential"] == credential)
    return use


def test_who_used_which_certificate_when(past: Past) -> None:
    """Each certificate of the log is joined with the record: whose it is, when it was used, and from where."""
    log = past.log(past.event("ann", -5), past.event("ann", 5), line("sa", past.revoked_at, 200, None))
    found = past.found(log)
    use = use_of(found, past.issued["ann"]["credentialId"])
    assert use["certificate"] == {"serialNumber": past.issued["ann"]["serialNumber"], "user": "ann"}
    times = use["firstAt"], use["lastAt"]
    assert times == tuple(rfc3339(past.revoked_at + timedelta(minutes=minutes)) for minutes in (-5, 5))
    assert (use["requests"], use["sourceIps"], use["neverIssuedHere"]) == (2, ["10.0.0.7"], False)
    assert "triedAfterRevocation" not in use
    assert (found["events"], found["eventsWithoutCertificate"], found["notEvents"]) == (3, 1, 0)
    assert "unused" not in found


def test_a_revoked_one_that_was_still_tried(past: Past) -> None:
    """What it was answered is counted, and whether it got in; before its revocation it did nothing wrong."""
    lines = [
        past.event("bob", -1),
        past.event("bob", 1, 403),
        past.event("bob", 2, 403),
        past.event("bob", 3, 429),
    ]
    found = past.found(past.log(*lines, past.event("bob", 4, 503)))
    tried = use_of(found, past.issued["bob"]["credentialId"])["triedAfterRevocation"]
    assert tried["codes"] == {"403": 2, "429": 1, "503": 1}
    assert (tried["requests"], tried["letIn"], found["revokedAndLetIn"]) == (4, 0, 0)
    assert (tried["sourceIps"], tried["moreSourceIps"]) == (["10.0.0.7"], False)
    assert tried["firstAt"] == rfc3339(past.revoked_at + timedelta(minutes=1))

    let_in = past.found(past.log(*lines, past.event("bob", 0.1, 404), past.event("bob", 0.1, 101)))
    assert let_in["revokedAndLetIn"] == 2


@pytest.mark.parametrize(
    ("user", "minutes", "status", "code"),
    [
        ("ann", 1, 200, 0),
        ("bob", -1, 200, 0),
        ("bob", 1, 403, 0),
        ("bob", 1, 200, 1),
        ("mallory", 1, 200, 1),
        ("mallory", 1, 403, 1),
        ("system:node:a", 1, 200, 0),
    ],
)
def test_strict(past: Past, user: str, minutes: float, status: int, code: int) -> None:
    """With --strict what must not be is an exit code, without it none."""
    log = past.log(past.event(user, minutes, status))
    options = ("--issued-by-others", "system:node:*", "--issued-by-others", "kubernetes-admin")
    assert past.run(log, *options, "--strict").code == code
    assert past.run(log, *options).code == 0


def test_what_was_never_issued_here(past: Past) -> None:
    """It is told, but for users whose certificates others issue; a revoked one is told whatever its name."""
    log = past.log(past.event("mallory"), past.event("bob", 1))
    assert use_of(past.found(log), STRANGER)["neverIssuedHere"] is True
    ran = past.run(log)
    assert f"NEVER ISSUED HERE: {STRANGER} as mallory: 1 request, " in ran.output
    assert "rewritten" not in ran.output
    others = past.run(log, "--issued-by-others", "*")
    assert "NEVER ISSUED HERE" not in others.output
    assert "REVOKED, and tried: bob, serial number " in others.output


@pytest.mark.parametrize("is_asked_of_the_ledger", [True, False])
def test_another_form_or_a_stolen_key(past: Past, is_asked_of_the_ledger: bool) -> None:
    """Where the user has certificates on record, both are said; where none are, or none can be, neither."""
    names = ("ann", "nobody", "x\0", "x" * 300, "")
    events = (line(name, past.revoked_at, 200, f"X509SHA256={place:064x}") for place, name in enumerate(names))
    log = past.log(*events)
    ran = past.run(log) if is_asked_of_the_ledger else past.terminal.run("operator", "audit-log", log)
    assert ran.code == 0, ran.errors
    strange = [text for text in ran.output.splitlines() if text.startswith("NEVER ISSUED HERE")]
    assert len(strange) == len(names)
    (ann,) = (text for text in strange if "certificates on record" in text)
    assert " as ann: 1 request, " in ann
    assert ann.endswith(
        "one of them that its holder has rewritten (an id is not signed), or be signed with a stolen CA key"
    )
    uses = past.found(log)["uses"]
    assert [use["userIsOnRecord"] for use in uses] == [True, False, False, False, False]


def test_what_was_not_used(past: Past) -> None:
    """What is valid and in no line is named; what is revoked, or was used by its serial number, is not."""
    serial = past.issued["ann"]["serialNumber"]
    group = f"kubemint:serial:{serial}"
    log = past.log(past.event("mallory"), line("ann", past.revoked_at, 200, None, group))
    found = past.found(log, "--unused")
    unused = {one["user"]: one for one in found["unused"]}
    assert "cy" in unused
    assert not {"ann", "bob"} & set(unused)
    assert unused["cy"]["credentialId"] == past.issued["cy"]["credentialId"]
    assert unused["cy"]["requester"] == "token:requester"
    assert use_of(found, serial)["certificate"]["user"] == "ann"
    assert f"not used: cy, serial number {past.issued['cy']['serialNumber']}" in past.run(log, "--unused").output


def test_what_people_read(past: Past) -> None:
    """A line for each certificate and each thing that is strange, and counts; no progress where nobody looks."""
    log = past.log(past.event("ann"), past.event("bob", 1, 403), past.event("bob", 1, 200), b"no event\n")
    ran = past.run(log)
    assert ran.code == 0, ran.errors
    ann, bob, revoked, counts = ran.output.splitlines()
    named = {
        user: f"serial number {issued['serialNumber']} ({issued['credentialId']})"
        for user, issued in past.issued.items()
    }
    assert ann.split("\t")[:2] == ["ann", named["ann"]]
    assert ann.endswith("from 10.0.0.7")
    assert bob.split("\t")[:2] == ["bob", named["bob"]]
    second = rfc3339(past.revoked_at.replace(microsecond=0))
    when = rfc3339(past.revoked_at + timedelta(minutes=1))
    assert revoked == (
        f"REVOKED, and tried: bob, {named['bob']}, revoked {second}:"
        f" 2 requests, {when} to {when}, from 10.0.0.7, answered 200 (1), 403 (1); let in: 1"
    )
    assert counts == (
        "events: 3, without a certificate: 0, lines that are no events: 1, certificates: 2, revoked and tried: 1, "
        "requests let in: 1, never issued here: 0"
    )
    assert ran.errors == f"{log}, line 4: not JSON\n"


@pytest.mark.parametrize(
    ("content", "lines"), [(b"{}\n" * 299, "299 lines"), (b"x", "1 line"), (b"", "0 lines"), (b"\n\n", "0 lines")]
)
@pytest.mark.parametrize("options", [(), ("--strict",), ("--output", "json")])
def test_a_log_without_an_event(past: Past, options: tuple[str, ...], content: bytes, lines: str) -> None:
    """It is another log, or the wrong file: that nothing in it is strange must not look like an answer."""
    log = past.log(content, name="other.log")
    ran = past.run(log, *options)
    assert (ran.code, ran.output) == (1, "")
    said = f"{log}: holds no audit.k8s.io event in {lines}; is it kube-apiserver's --audit-log-path?\n"
    assert ran.errors.endswith(said)


def test_complaints_have_an_end(past: Past) -> None:
    """Sixteen lines that are no events are named, and of the others it is said how many they are."""
    ran = past.run(past.log(past.event("ann"), b"x\n" * 299))
    assert ran.code == 0
    *named, more = ran.errors.splitlines()
    assert (len(named), more) == (16, "… and 283 more")
    assert "lines that are no events: 299" in ran.output
    assert "more" not in past.run(past.log(past.event("ann"), b"x\n" * 16)).errors


def test_names_cannot_steer_the_terminal(past: Past) -> None:
    """Names and addresses of a log are shown as what they are."""
    evil = "x\x1b[2J\r\u202e"
    ran = past.run(past.log(line(evil, past.revoked_at, 200, STRANGER, sourceIPs=[evil])))
    assert ran.code == 0
    assert not {"\x1b", "\r", "\u202e"} & set(ran.output)
    assert "as x\\x1b[2J\\r\\u202e: " in ran.output


def test_several_files_packed_and_not(past: Past) -> None:
    """Each line counts once, whatever the file's name says, and a wrong line is named by its own file."""
    first = past.log(past.event("ann"), past.event("ann"), name="first.log")
    second = past.log(gzip.compress(past.event("ann") + b"[]\n") + gzip.compress(past.event("ann")), name="second")
    empty = past.log(name="empty.log")
    found = past.found(first, empty, second)
    assert use_of(found, past.issued["ann"]["credentialId"])["requests"] == 4
    (wrong,) = found["firstNotEvents"]
    assert (wrong["file"], wrong["line"]) == (str(second), 2)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_standard_input(past: Past, pack: Any) -> None:
    """A dash is standard input, packed or not."""
    config = past.place / "made" / "kubemint.yaml"
    arguments = ["audit-log", "-", "--config", str(config), "--output", "json"]
    ran = CliRunner().invoke(command_line, arguments, input=pack(past.event("ann") + b"x\n"))
    assert ran.exit_code == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert use_of(found, past.issued["ann"]["credentialId"])["requests"] == 1
    assert (found["firstNotEvents"][0]["file"], found["firstNotEvents"][0]["line"]) == ("-", 2)


def test_the_service_says_the_same_as_the_ledger(past: Past) -> None:
    """Where there is no configuration the service is asked."""
    serial = past.issued["bob"]["serialNumber"]
    log = past.log(
        past.event("ann"),
        past.event("bob", 1),
        past.event("mallory"),
        line("bob", past.revoked_at + timedelta(minutes=1), 403, None, f"kubemint:serial:{serial}"),
    )
    asked = past.terminal.json("operator", "audit-log", log, "--unused")
    assert asked == past.found(log, "--unused")
    assert use_of(asked, serial)["triedAfterRevocation"]["codes"] == {"403": 1}


def test_who_does_not_see_everything_is_refused(past: Past) -> None:
    """To a requester the certificates of others are not there, and would all seem never issued."""
    ran = past.terminal.run("requester", "audit-log", past.log(past.event("bob")))
    assert failed_cleanly(ran)
    assert "Only auditors and operators" in ran.errors
    assert ran.output == ""


@pytest.mark.parametrize(
    "options", [(), ("--config", "x", "--token-file", "x", "audit.log"), ("--output", "xml", "audit.log")]
)
def test_wrong_use(tmp_path: Path, options: tuple[str, ...]) -> None:
    """No file, and two records, end with code 2."""
    assert kubemint("audit-log", *options, cwd=tmp_path).code == 2


def test_no_ledger(tmp_path: Path) -> None:
    """A sentence, and none is made."""
    assert kubemint("init", cwd=tmp_path).code == 0
    (tmp_path / ".kubemint" / "ledger.db").unlink()
    ran = kubemint("audit-log", "--config", ".kubemint/kubemint.yaml", "x", cwd=tmp_path)
    assert failed_cleanly(ran)
    assert "there is no ledger" in ran.errors


@pytest.mark.parametrize("damage", [lambda packed: packed[:-4], lambda packed: packed[:40] + b"\0" * 40])
def test_a_damaged_file(past: Past, damage: Any) -> None:
    """A log that ends too soon is a sentence, not a shorter log."""
    log = past.log(damage(gzip.compress(past.event("ann") * 20)), name="damaged.gz")
    ran = past.run(log)
    assert failed_cleanly(ran), ran.errors
    assert f"{log}: cannot be read" in ran.errors


@pytest.mark.parametrize("name", ["gone.log", "."])
def test_no_file(past: Past, name: str) -> None:
    """What is not there, or is a folder, is a sentence."""
    ran = past.run(name)
    assert failed_cleanly(ran)
    assert f"{name}: cannot be read" in ran.errors


@given(
    st.lists(
        st.binary(max_size=40) | st.binary(max_size=40).map(gzip.compress) | st.just(b"\x1f\x8b\x08"), max_size=3
    )
)
@settings(deadline=None, derandomize=True)
def test_garbage_raises_our_error(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    """Whatever is in the files, lines come, each with its place, or our error and no other."""
    files = [tmp_path_factory.getbasetemp() / f"garbage-{place}" for place in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    walked = AuditFiles(files)
    with suppress(ConfigurationError):
        for number, text in enumerate(walked.lines(), start=1):
            file, in_file = walked.place(number)
            assert list(io.BytesIO(_unpacked(file)))[in_file - 1] == text


def _unpacked(file: Path) -> bytes:
    content = file.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
