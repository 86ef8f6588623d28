"""`kubemint revoke` and `kubemint revocations` against a service: what is meant is hit, and nothing else."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from client.revoking import Terminal
from commands.cli import failed_cleanly
from kubemint.commands.main import kubemint as command_line
from running_service import RunningService

UNKNOWN = "0" * 32


@pytest.fixture
def terminal(service: RunningService, tmp_path: Path) -> Terminal:
    """Give a terminal in an empty folder."""
    return Terminal(service, tmp_path)


def answering(terminal: Terminal, said: str, *arguments: str | Path) -> Result:
    """Run a command as operator, and type an answer."""
    service = terminal.service
    found = (
        "--url",
        service.url,
        "--ca",
        service.tls_ca_file,
        "--token-file",
        service.directory / "operator.token",
    )
    return CliRunner().invoke(command_line, [str(text) for text in (*arguments, *found)], input=said)


def test_by_serial_number(terminal: Terminal) -> None:
    """One certificate is revoked; one of the same user is not, and the answer says what happened."""
    first, second = terminal.issue("ann"), terminal.issue("ann")
    colons = ":".join(
        first["serialNumber"][place : place + 2] for place in range(0, len(first["serialNumber"]), 2)
    )

    ran = terminal.run("operator", "revoke", "--serial", colons.upper(), "--yes", "--note", "lost\x1b[2J")

    assert ran.code == 0, ran.errors
    assert "Certificates: 1 certificate\n" in ran.output
    assert "Reason:       unspecified\n" in ran.output
    assert "lost\\x1b[2J" in ran.output
    assert ran.errors == ""
    assert [terminal.state(one["serialNumber"]) for one in (first, second)] == ["revoked", "valid"]


@pytest.mark.parametrize("form", ["pem", "der", "id"])
def test_by_the_certificate_itself(terminal: Terminal, form: str) -> None:
    """Its credential id is computed here, whatever the file's form, and is the one of the audit log."""
    issued = terminal.issue("bea")
    options: dict[str, tuple[str | Path, ...]] = {
        "pem": ("--certificate", "bea.crt"),
        "der": ("--certificate", "bea.der"),
        "id": ("--credential-id", issued["credentialId"]),
    }
    certificate = x509.load_pem_x509_certificate((terminal.place / "bea.crt").read_bytes())
    (terminal.place / "bea.der").write_bytes(certificate.public_bytes(Encoding.DER))

    revocation = terminal.json("operator", "revoke", *options[form], "--yes")

    assert revocation["select"] == {"credentialId": issued["credentialId"]}
    assert revocation["certificates"] == 1
    assert terminal.state(issued["serialNumber"]) == "revoked"


def test_everything_must_be_true(terminal: Terminal) -> None:
    """Options narrow each other; a certificate for which one is not true goes on."""
    since = datetime.now(UTC) - timedelta(minutes=1)
    meant, other_group = terminal.issue("cleo", "viewers"), terminal.issue("cleo", "developers")
    other_user = terminal.issue("carl", "viewers")
    selection = (
        "--user",
        "cleo",
        "--group",
        "viewers",
        "--requester",
        "token:requester",
        "--profile",
        "developers",
    )
    times = ("--issued-since", since.isoformat(), "--issued-until", "2999-01-01T00:00:00+01:00")

    counted = terminal.json("operator", "revoke", *selection, *times, "--preview")
    before = terminal.state(meant["serialNumber"])
    revocation = terminal.json("operator", "revoke", *selection, *times, "--yes", "--reason", "superseded")

    assert (counted["certificates"], before) == (1, "valid")
    assert (revocation["certificates"], revocation["reason"]) == (1, "superseded")
    states = [terminal.state(one["serialNumber"]) for one in (meant, other_group, other_user)]
    assert states == ["revoked", "valid", "valid"]


def test_how_long_ago(terminal: Terminal) -> None:
    """A time may be told by how long ago it was."""
    terminal.issue("cora")
    selection = ("revoke", "--user", "cora", "--preview")
    assert terminal.json("operator", *selection, "--issued-since", "1h")["certificates"] == 1
    assert terminal.json("operator", *selection, "--issued-until", "1h")["certificates"] == 0


def test_a_preview_revokes_nothing(terminal: Terminal) -> None:
    """It counts for people too, and says that nothing was done."""
    issued = terminal.issue("dora")
    ran = terminal.run("operator", "revoke", "--user", "dora", "--preview", "--yes", "--reason", "keyCompromise")
    assert ran.code == 0, ran.errors
    assert "Meant:        user dora\n" in ran.output
    assert "Certificates: 1 certificate that has not expired\n" in ran.output
    assert ran.output.endswith("Nothing was revoked.\n")
    assert terminal.state(issued["serialNumber"]) == "valid"


@pytest.mark.parametrize(("said", "state"), [("n\n", "valid"), ("", "valid"), ("y\n", "revoked")])
def test_a_yes_is_asked_for(terminal: Terminal, said: str, state: str) -> None:
    """Where nobody says yes to the count and the selection, nothing is revoked."""
    user = f"eve{len(said)}{state}"
    issued = terminal.issue(user)
    ran = answering(terminal, said, "revoke", "--user", user, "--note", "ticket 7")
    assert ran.exit_code == (0 if state == "revoked" else 1), ran.stderr
    assert f"user {user}" in ran.stderr
    assert "Revoke 1 certificate?" in ran.stderr
    assert ("Nothing was revoked" in ran.stderr) is (state == "valid")
    assert ("nobody answered" in ran.stderr) is (said == "")
    assert "more than" not in ran.stderr
    assert terminal.state(issued["serialNumber"]) == state


def test_a_suspension(terminal: Terminal) -> None:
    """A suspended user gets no certificate; another does, and a lifted hold lets both through."""
    issued = terminal.issue("fay")
    options = ("--user", "fay", "--reason", "certificateHold", "--suspend-for", "7d")
    revocation = terminal.json("operator", "revoke", *options, "--yes")
    left = datetime.fromisoformat(revocation["suspendUntil"]) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)
    refused = terminal.run("requester", "request", "--user", "fay", "--overwrite")
    assert (refused.code, terminal.state(issued["serialNumber"])) == (1, "revoked")
    terminal.issue("gus")

    lifted = terminal.run("operator", "revocations", "lift", revocation["revocation"], "--yes", "--note", "found")

    assert lifted.code == 0, lifted.errors
    assert "State:        lifted\n" in lifted.output
    assert "by token:operator: found" in lifted.output
    terminal.issue("fay")
    assert terminal.state(issued["serialNumber"]) == "valid"


def test_until_a_time(terminal: Terminal) -> None:
    """The end of a suspension is sent as it was given; one that is over is refused with the reason."""
    until = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    options = ("revoke", "--group", "team-x", "--reason", "certificateHold", "--yes", "--suspend-until")
    revocation = terminal.json("operator", *options, until.isoformat())
    assert datetime.fromisoformat(revocation["suspendUntil"]) == until
    ran = terminal.run("operator", *options, "2020-01-01T00:00:00Z")
    assert failed_cleanly(ran)
    assert "the suspension would be over already" in ran.errors
    terminal.json("operator", "revocations", "lift", revocation["revocation"], "--yes")


def test_a_name_that_is_misspelt(terminal: Terminal) -> None:
    """Nothing hit is code 1 and a line, for operators with a record, for others without; scripts may allow it."""
    terminal.issue("janice")
    arguments = ("revoke", "--user", "janicee", "--reason", "keyCompromise", "--yes")

    def recorded() -> int:
        listed = terminal.json("operator", "revocations", "list", "--limit", "500")
        return len([one for one in listed if one["select"].get("user") == "janicee"])

    ran = terminal.run("operator", *arguments)
    assert (ran.code, recorded()) == (1, 1)
    assert "Certificates: no certificates\n" in ran.output
    assert "Keys:" not in ran.output
    assert ran.errors.startswith("kubemint: nothing was hit, so nothing is revoked: the order is on record")
    assert ran.errors.count("\n") == 1
    allowed = terminal.run("operator", *arguments, "--allow-none")
    assert (allowed.code, allowed.errors, recorded()) == (0, "", 2)
    terminal.issue("janicee")  # the record says the truth: its key and name are not refused

    other = ("revoke", "--user", "janiceee", "--yes")
    mine = terminal.run("requester", *other)
    assert failed_cleanly(mine)
    assert "No certificate that counts and is yours to revoke" in mine.errors
    assert terminal.json("requester", *other, "--allow-none") == {
        "certificates": 0,
        "select": {"user": "janiceee"},
    }
    assert terminal.run("requester", *other, "--allow-none").output.endswith("Nothing was revoked.\n")


def test_a_key_or_a_suspension_needs_no_hit(terminal: Terminal) -> None:
    """An operator who keeps out a key, or a user, that has no certificate yet has done something."""
    named = terminal.run("operator", "revoke", "--key-sha256", "cd" * 32, "--yes")
    assert (named.code, named.errors) == (0, "")
    assert "Keys:         refused from then on\n" in named.output
    hold = ("revoke", "--user", "nobody-yet", "--reason", "certificateHold", "--suspend-for", "1h", "--yes")
    assert terminal.run("operator", *hold).code == 0


def test_only_ones_own(terminal: Terminal) -> None:
    """A requester revokes what it asked for, and no suspension; the refusal is a sentence."""
    issued = terminal.issue("hal")
    assert terminal.json("requester", "revoke", "--user", "hal", "--yes")["requester"] == "token:requester"
    assert terminal.state(issued["serialNumber"]) == "revoked"
    ran = terminal.run("requester", "revoke", "--user", "hal", "--suspend-for", "1h", "--yes")
    assert failed_cleanly(ran)
    assert "Only operators" in ran.errors


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_by_the_private_key(terminal: Terminal, is_encrypted: bool) -> None:
    """Whoever holds the key needs no token; its certificates are revoked and it is never certified again."""
    user = f"ida-{is_encrypted}".lower()
    issued, other = terminal.issue(user), terminal.issue("ike")
    key_file, options = terminal.place / f"{user}.key", ["--yes", "--note", "found in a repository"]
    if is_encrypted:
        key = load_pem_private_key(key_file.read_bytes(), None)
        key_file.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open, please"))
        )
        (terminal.place / "passphrase").write_text("open, please\nnot this\n")
        options += ["--passphrase-file", "passphrase"]

    said = terminal.json(None, "revoke", "--private-key", key_file, *options)
    again = terminal.run(None, "revoke", "--private-key", key_file, *options)

    assert again.code == 0, again.errors
    assert again.output.startswith(f"The key sha256:{said['publicKeySha256']} is revoked since ")
    revocation = terminal.json("operator", "revocations", "show", said["revocation"])
    assert (revocation["method"], revocation["reason"], revocation["certificates"]) == ("key", "keyCompromise", 1)
    assert (revocation["blocksKeys"], revocation["note"]) == (True, "found in a repository")
    states = [terminal.state(one["serialNumber"]) for one in (issued, other)]
    assert states == ["revoked", "valid"]


def test_the_key_is_shown_before_it_is_revoked(terminal: Terminal) -> None:
    """Without a yes nothing is sent."""
    issued = terminal.issue("jo")
    service = terminal.service
    arguments = ["revoke", "--private-key", str(terminal.place / "jo.key"), "--url", service.url]
    ran = CliRunner().invoke(command_line, [*arguments, "--ca", str(service.tls_ca_file)], input="n\n")
    assert ran.exit_code == 1
    assert "Public key:   sha256:" in ran.stderr
    assert terminal.state(issued["serialNumber"]) == "valid"


def test_by_the_digest_of_a_key(terminal: Terminal) -> None:
    """The digest may be given as it is printed; the key is refused later."""
    issued = terminal.issue("kim")
    record = terminal.service.call("GET", f"/v1/certificates/{issued['serialNumber']}", token="operator").json()
    digest = record["publicKeySha256"]
    revocation = terminal.json("operator", "revoke", "--key-sha256", f"sha256:{digest.upper()}", "--yes")
    assert revocation["select"] == {"publicKeySha256": digest}
    assert (revocation["certificates"], revocation["blocksKeys"]) == (1, True)


def test_the_list_is_newest_first(terminal: Terminal) -> None:
    """Each revocation is a line or an object; a limit cuts the list."""
    terminal.issue("lea")
    first = terminal.json("operator", "revoke", "--user", "lea", "--yes")
    second = terminal.json("operator", "revoke", "--user", "lea", "--yes", "--reason", "superseded")
    listed = terminal.json("operator", "revocations", "list", "--limit", "2")
    assert [one["revocation"] for one in listed] == [second["revocation"], first["revocation"]]
    lines = terminal.run("operator", "revocations", "list", "--limit", "1").output.splitlines()
    (columns,) = (line.split("\t") for line in lines)
    assert columns[0] == second["revocation"]
    assert columns[2:] == ["revoked", "superseded", "1", "token:operator", "user=lea"]
    assert second["revocation"] not in terminal.run("requester", "revocations", "list").output


def test_one_is_shown(terminal: Terminal) -> None:
    """What it meant, why, by whom, and for others than auditors and its orderer it is not there."""
    terminal.issue("mia")
    revocation = terminal.json("operator", "revoke", "--user", "mia", "--yes", "--note", "ticket 9")["revocation"]
    shown = terminal.run("operator", "revocations", "show", revocation)
    assert shown.code == 0, shown.errors
    for said in ("user mia", "ticket 9", "by token:operator (by token)", "State:        revoked"):
        assert said in shown.output
    assert terminal.json("operator", "revocations", "show", revocation)["note"] == "ticket 9"
    assert failed_cleanly(terminal.run("requester", "revocations", "show", revocation))
    assert failed_cleanly(terminal.run("operator", "revocations", "show", UNKNOWN))


def test_only_a_hold_is_lifted_and_once(terminal: Terminal) -> None:
    """What is revoked for good stays so; a requester lifts nothing; nothing is lifted without a yes."""
    issued = terminal.issue("nia")
    held = terminal.json("operator", "revoke", "--user", "nia", "--yes", "--reason", "certificateHold")[
        "revocation"
    ]
    assert failed_cleanly(terminal.run("requester", "revocations", "lift", held, "--yes"))
    asked = answering(terminal, "n\n", "revocations", "lift", held)
    assert (asked.exit_code, terminal.state(issued["serialNumber"])) == (1, "revoked")
    assert "Lift it? 1 certificate counts again, if nothing else revokes it [y/N]" in asked.stderr
    assert answering(terminal, "y\n", "revocations", "lift", held).exit_code == 0
    assert terminal.state(issued["serialNumber"]) == "valid"
    again = terminal.run("operator", "revocations", "lift", held, "--yes")
    assert failed_cleanly(again)
    assert f"{held} was lifted at 2" in again.errors

    final = terminal.json("operator", "revoke", "--user", "nia", "--yes")["revocation"]
    ran = terminal.run("operator", "revocations", "lift", final, "--yes")
    assert failed_cleanly(ran)
    assert f"{final} is unspecified, and that is for good" in ran.errors


def test_another_revocation_of_what_is_lifted(terminal: Terminal) -> None:
    """What another revocation hit too is not said to count again, and does not."""
    issued = [terminal.issue("nils") for _ in range(2)]
    hold = ("revoke", "--user", "nils", "--reason", "certificateHold", "--suspend-for", "7d", "--yes")
    held = terminal.json("operator", *hold)["revocation"]
    terminal.json("operator", "revoke", "--user", "nils", "--reason", "keyCompromise", "--yes")

    lifted = answering(terminal, "y\n", "revocations", "lift", held)

    assert lifted.exit_code == 0, lifted.stderr
    question = "Lift it? Of 2 certificates those that nothing else revokes count again; "
    assert question + "unless another suspension stands, user nils may get new ones [y/N]" in lifted.stderr
    assert [terminal.state(one["serialNumber"]) for one in issued] == ["revoked", "revoked"]
    assert ", when it was lifted\n" in lifted.stdout


def test_json_is_all_that_is_printed(terminal: Terminal) -> None:
    """What is asked goes to standard error, so that the answer can be read by a program."""
    terminal.issue("ola")
    ran = answering(terminal, "y\n", "revoke", "--user", "ola", "--output", "json")
    printed: dict[str, Any] = json.loads(ran.stdout)
    assert printed["certificates"] == 1
