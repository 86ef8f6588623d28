"""`kubemint backup` and `kubemint restore` as people run them: what they say, refuse, and never write."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from backup.events import one_of_each, refusals
from backup.workspaces import STORES, Workspace
from commands.cli import Ran, failed_cleanly, kubemint
from kubemint.ledger.backup_folder import BackupFolder
from kubemint.signing.pem import load_key

PASSPHRASE = "correct horse"
KEYS = ("ca.key", "log.key", "tls.key")


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """Give a folder whose ledger has entries."""
    made = Workspace(tmp_path / "place")
    made.append(*one_of_each())
    return made


@pytest.fixture
def backup(place: Workspace) -> Path:
    """Give a backup of it."""
    assert back_up(place).code == 0
    return place.directory.parent / "backup"


@pytest.fixture
def copy(place: Workspace, backup: Path) -> Workspace:
    """Give the same folder after its ledger was lost."""
    return Workspace.copy(place, place.directory.parent / "copy")


def back_up(place: Workspace, *options: str | Path) -> Ran:
    """Back up into the folder `backup` beside a workspace."""
    return kubemint("backup", "backup", "--config", place.config, *options, cwd=place.directory.parent)


def restore(place: Workspace, *options: str) -> Ran:
    """Restore from there."""
    return kubemint("restore", "backup", "--config", place.config, *options, cwd=place.directory.parent)


def lines(ran: Ran) -> dict[str, tuple[str, str]]:
    """Give what was looked at: by its name, ok or FAILED, and what was told."""
    found = {}
    for line in ran.output.splitlines():
        name, _, told = line[8:].partition(": ")
        found[name] = (line[:8].strip(), told)
    return found


def failed(ran: Ran) -> set[str]:
    """Give the names of what did not hold."""
    return {name for name, (word, _) in lines(ran).items() if word == "FAILED"}


def assert_refused(ran: Ran, place: Workspace, *names: str) -> None:
    """Check that a restore failed for this, and that nothing counts."""
    assert failed(ran) == set(names), ran.output + ran.errors
    assert ran.code == 1
    assert "Traceback" not in ran.errors
    assert "Not restored" in ran.errors
    assert not place.size()


@pytest.mark.parametrize("into", STORES)
@pytest.mark.parametrize("store", STORES)
def test_from_store_to_store(tmp_path: Path, store: str, into: str) -> None:
    """A lost ledger is there again, on the other store too, and each thing that was looked at is told."""
    place = Workspace(tmp_path / "place", store)
    note = place.append(*one_of_each())
    assert back_up(place).code == 0
    copy = Workspace.copy(place, tmp_path / "copy", into)
    ran = restore(copy)
    assert ran.code == 0, ran.output + ran.errors
    assert set(lines(ran)) == {"backup", "log key", "CA key", "certificate", "ledger", "kinds", "revocations"}
    assert failed(ran) == set()
    assert copy.size() == 12
    assert copy.append(*next(refusals(1))) != note
    again = restore(copy)
    assert failed_cleanly(again)
    assert "has entries already" in again.errors


def test_no_key_is_in_it(place: Workspace, backup: Path) -> None:
    """Without a passphrase there is no private key in any file, whatever its name; and the command says so."""
    for file in filter(Path.is_file, backup.rglob("*")):
        assert b"PRIVATE KEY" not in file.read_bytes(), file
    told = back_up(place).output
    assert (
        "Private keys NOT in it, to be kept elsewhere: CA key (file:ca.key), log key (file:log.key), TLS" in told
    )
    assert "encrypted" not in told


def test_a_key_beside_a_certificate_is_not_taken_along(place: Workspace) -> None:
    """People keep both in one file; the backup has the certificate alone."""
    for name in ("ca", "tls"):
        with (place.directory / f"{name}.crt").open("ab") as file:
            file.write((place.directory / f"{name}.key").read_bytes())
    assert back_up(place).code == 0
    backup = place.directory.parent / "backup"
    for name in ("ca", "tls"):
        assert b"PRIVATE KEY" not in (backup / f"{name}.crt").read_bytes()


def test_keys_are_in_it_encrypted(place: Workspace, tmp_path: Path) -> None:
    """With a passphrase the keys are there as PKCS#8 that opens with it alone, and a later backup keeps them."""
    (tmp_path / "passphrase").write_text(f"{PASSPHRASE}\n")
    ran = back_up(place, "--passphrase-file", "passphrase")
    assert "Private keys in it, encrypted: CA key (ca.key), log key (log.key), TLS key (tls.key)." in ran.output
    assert "NOT" not in ran.output
    for name in KEYS:
        file = tmp_path / "backup" / name
        assert file.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
        with pytest.raises(TypeError):
            load_pem_private_key(file.read_bytes(), None)
        found, ours = load_key(file, tmp_path / "passphrase"), load_key(place.directory / name, None)
        assert found.public_key() == ours.public_key()
    assert "in it, encrypted: CA key" in back_up(place).output
    assert set(KEYS) <= set(BackupFolder(tmp_path / "backup").manifest().files)


def test_a_key_in_clear_stops_the_backup(place: Workspace, backup: Path) -> None:
    """Somebody who copied a key into the backup is told to take it away."""
    shutil.copy(place.directory / "ca.key", backup / "ca.key")
    ran = back_up(place)
    assert failed_cleanly(ran)
    assert "ca.key, which is not encrypted" in ran.errors


@pytest.mark.parametrize("passphrase", [None, "", "\n", "x" * 2000])
def test_a_passphrase_that_is_none(place: Workspace, tmp_path: Path, passphrase: str | None) -> None:
    """No key is written under nothing, and no backup is made that has none."""
    if passphrase is not None:
        (tmp_path / "passphrase").write_text(passphrase)
    assert failed_cleanly(back_up(place, "--passphrase-file", "passphrase"))
    assert not (tmp_path / "backup").exists()


def test_a_ledger_that_is_not_there(tmp_path: Path) -> None:
    """There is nothing to back up, and no ledger is made."""
    place = Workspace(tmp_path / "place")
    (place.directory / "ledger.db").unlink()
    ran = back_up(place)
    assert failed_cleanly(ran)
    assert not (tmp_path / "backup").exists()
    assert not (place.directory / "ledger.db").exists()


def _flip(file: Path) -> None:
    octets = bytearray(file.read_bytes())
    octets[len(octets) // 2] ^= 4
    file.write_bytes(bytes(octets))


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [_flip, _cut, Path.unlink], ids=["flipped", "cut", "missing"])
@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("checkpoint", "backup"),
        ("manifest.json", "backup"),
        ("tile/entries/000.p/12", "ledger"),
        ("tile/0/000.p/12", "ledger"),
        ("policy.yaml", "backup"),
        ("tokens.yaml", "backup"),
        ("kubemint.yaml", "backup"),
    ],
)
def test_a_damaged_backup(
    copy: Workspace, backup: Path, name: str, subject: str, damage: Callable[[Path], None]
) -> None:
    """One flipped bit, or the end of one file, and nothing of it counts; with the file whole again, it does."""
    whole = (backup / name).read_bytes()
    damage(backup / name)
    is_unsigned = name == "checkpoint" and damage is not Path.unlink
    assert_refused(restore(copy), copy, "log key" if is_unsigned else subject)
    (backup / name).write_bytes(whole)
    assert restore(copy).code == 0
    assert copy.size() == 12


def test_manifest_and_checkpoint_of_two_backups(place: Workspace, copy: Workspace, backup: Path) -> None:
    """A backup that was cut off between its last two files says so, and the next one mends it."""
    checkpoint = (backup / "checkpoint").read_bytes()
    place.append(*next(refusals(3)))
    assert back_up(place).code == 0
    newer = (backup / "checkpoint").read_bytes()
    (backup / "checkpoint").write_bytes(checkpoint)
    ran = restore(copy)
    assert "not of one backup" in lines(ran)["backup"][1]
    assert ran.code == 1
    assert back_up(place).code == 0
    assert (backup / "checkpoint").read_bytes() == newer
    assert restore(copy).code == 0


def test_a_key_of_another_ca(copy: Workspace, tmp_path: Path) -> None:
    """A key that does not belong to the certificate restores nothing, and signs nothing that passes."""
    other = Workspace(tmp_path / "other")
    shutil.copy(other.directory / "ca.key", copy.directory / "ca.key")
    assert_refused(restore(copy), copy, "CA key", "certificate")


def test_another_ca(copy: Workspace, tmp_path: Path) -> None:
    """A CA that is whole, and not the one that clusters trust, is told before anything is issued by it."""
    other = Workspace(tmp_path / "other")
    for name in ("ca.key", "ca.crt"):
        shutil.copy(other.directory / name, copy.directory / name)
    ran = restore(copy)
    assert "another one than the backup's ca.crt" in lines(ran)["CA key"][1]
    assert_refused(ran, copy, "CA key")


def test_another_log_key(place: Workspace, copy: Workspace, tmp_path: Path) -> None:
    """The log that goes on is the one that has signed, or one that names its key as a former one."""
    vkey = copy.vkey
    other = Workspace(tmp_path / "other")
    shutil.copy(other.directory / "log.key", copy.directory / "log.key")
    assert_refused(restore(copy), copy, "log key")
    copy.change(formerKeys=[vkey])
    ran = restore(copy)
    assert ran.code == 0, ran.output
    assert lines(ran)["log key"][1].startswith("one of log.formerKeys has signed")
    copy.append(*next(refusals(1)))
    assert copy.size() == 13


@pytest.fixture
def anchor(copy: Workspace, tmp_path: Path) -> Path:
    """Give a file that is the anchor of the ledger that was lost, and of the one to come."""
    copy.change(anchors=[{"file": str(tmp_path / "anchor")}])
    return tmp_path / "anchor"


def test_an_anchor_that_agrees(place: Workspace, copy: Workspace, backup: Path, anchor: Path) -> None:
    """What it knows is the backup, or its beginning."""
    shutil.copy(backup / "checkpoint", anchor)
    place.append(*next(refusals(5)))
    assert back_up(place).code == 0
    ran = restore(copy)
    assert ran.code == 0, ran.output
    assert lines(ran)[f"anchor {anchor}"] == ("ok", "knows 12 entries, and they are the first of the backup")


def test_an_anchor_that_knows_more(place: Workspace, copy: Workspace, anchor: Path) -> None:
    """An old backup does not count, unless what is lost is accepted; then it is told."""
    anchor.write_text(place.append(*next(refusals(5))))
    ran = restore(copy)
    assert_refused(ran, copy, f"anchor {anchor}")
    assert "knows 17 entries, and the backup has 12: 5 entries, 12 to 16, are lost" in ran.output
    accepted = restore(copy, "--accept-loss")
    assert accepted.code == 0
    assert "accepted: 5 entries, 12 to 16, are lost" in accepted.output
    assert copy.size() == 12


def test_an_anchor_of_another_history(place: Workspace, copy: Workspace, tmp_path: Path, anchor: Path) -> None:
    """A backup that was made of a rewritten ledger does not count, whatever is accepted."""
    true = Workspace.copy(place, tmp_path / "true")
    anchor.write_text(true.append(*reversed(one_of_each())))
    for options in ((), ("--accept-loss", "--without-witnesses")):
        assert_refused(restore(copy, *options), copy, f"anchor {anchor}")


@pytest.mark.parametrize("content", [b"", b"\xff", b"log\n0\n"])
def test_an_anchor_that_was_spoilt(copy: Workspace, anchor: Path, content: bytes) -> None:
    """A file that holds what the log has not signed does not count as one that is away, whatever is accepted."""
    anchor.write_bytes(content)
    ran = restore(copy, "--accept-loss", "--without-witnesses")
    assert_refused(ran, copy, f"anchor {anchor}")
    assert "holds no checkpoint of this log" in ran.output


def test_an_anchor_that_is_away(copy: Workspace, anchor: Path) -> None:
    """Whether the backup is old cannot be told then: somebody must say that it is to be restored all the same."""
    assert_refused(restore(copy), copy, f"anchor {anchor}")
    assert_refused(restore(copy, "--accept-loss"), copy, f"anchor {anchor}")
    ran = restore(copy, "--without-witnesses")
    assert ran.code == 0
    assert "not asked (--without-witnesses)" in ran.output


def test_a_folder_that_is_no_backup(place: Workspace, tmp_path: Path) -> None:
    """An empty folder is none, and a folder that is not there is wrong use."""
    copy = Workspace.copy(place, tmp_path / "copy")
    assert kubemint("restore", "nowhere", "--config", copy.config, cwd=tmp_path).code == 2
    (tmp_path / "backup").mkdir()
    ran = restore(copy)
    assert failed(ran) == {"backup"}
    assert ran.code == 1
    assert ran.errors == "Not restored: nothing was written.\n"
    assert copy.size() is None


def test_a_ledger_that_is_not_empty_is_told_first(place: Workspace, tmp_path: Path) -> None:
    """Whatever is wrong with the backup, a ledger that has entries is not what it goes into."""
    (tmp_path / "backup").mkdir()
    ran = restore(place)
    assert failed_cleanly(ran)
    assert "has entries already" in ran.errors
    assert ran.output == ""
    assert place.size() == 12


def test_a_backup_that_fails_while_it_is_restored(copy: Workspace, backup: Path) -> None:
    """What has been written by then does not count, and that is what is told."""
    _flip(backup / "tile/entries/000.p/12")
    assert restore(copy).errors == "Not restored: the ledger does not count, and no service starts on it.\n"


def test_the_configuration_must_be_named(place: Workspace, backup: Path) -> None:
    """A restore is into the ledger that somebody names, not into the one that is found."""
    assert kubemint("restore", backup, cwd=place.directory.parent).code == 2


def test_a_ledger_that_was_damaged_since_the_last_backup(place: Workspace, backup: Path) -> None:
    """What the folder has already says nothing of the ledger: a changed entry fails the backup, and it stays."""
    before = {file: file.read_bytes() for file in backup.rglob("*") if file.is_file()}
    with closing(sqlite3.connect(place.directory / "ledger.db")) as database, database:
        database.execute("DROP TRIGGER entries_no_update")
        database.execute("""UPDATE entries SET body = CAST('{"kind":"issued"}' AS BLOB) WHERE "index" = 3""")
    ran = back_up(place)
    assert failed_cleanly(ran), ran.output
    assert "entries 0 to 11 are not those that were signed" in ran.errors
    assert {file: file.read_bytes() for file in backup.rglob("*") if file.is_file()} == before
