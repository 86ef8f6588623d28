"""`kubemint ledger`: tables brought up to date, rows dropped, text archived; and what each refuses."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from commands.cli import Ran, failed_cleanly, kubemint
from kubemint import config
from kubemint.errors import ConfigurationError
from kubemint.ledger.sqlite import SqliteFile, create_file
from kubemint.ledger.writer import LedgerWriter
from kubemint.transparency.tiles import TILE_WIDTH
from kubemint.wiring import kept_for, load_policy_of, log_keys_of, prepare, store_of
from ledger.events import issued
from ledger.filling import bodies, entry_rows, migrate_to

LONG_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=30)
NOTHING = "dropped  certificates: 0, refusals: 0, groups: 0\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder whose ledger has a bundle of certificates of last month, and keeps what is over for a week."""
    assert kubemint("init", "--directory", tmp_path, cwd=tmp_path).code == 0
    _set(tmp_path, retention="7d", archive="archive")
    assert _ledger(tmp_path, "migrate").output == "The ledger is up to date.\n"
    settings = config.load(tmp_path / "kubemint.yaml")
    database = store_of(settings).writable()
    writer = LedgerWriter(database, log_keys_of(settings), lambda _: None)
    for start in range(1, TILE_WIDTH, 64):
        writer.append(*(issued(serial, time=LONG_AGO) for serial in range(start, start + 64)))
    database.close()
    return tmp_path


def _set(folder: Path, **settings: str) -> None:
    """Change the ledger's settings in the configuration; an empty one is taken away."""
    file = folder / "kubemint.yaml"
    body = yaml.safe_load(file.read_text(encoding="utf-8"))
    body["ledger"] |= settings
    body["ledger"] = {name: value for name, value in body["ledger"].items() if value}
    file.write_text(yaml.safe_dump(body), encoding="utf-8")


def _ledger(folder: Path, *arguments: str) -> Ran:
    return kubemint("ledger", *arguments, "--config", "kubemint.yaml", cwd=folder)


def test_migrating_again_is_no_fault(folder: Path) -> None:
    """A ledger that is up to date is left alone, and the command says that it is."""
    assert _ledger(folder, "migrate").code == 0


@pytest.fixture
def unsigned(folder: Path) -> Path:
    """Give a folder whose ledger is one that no version has signed, with a bundle of entries."""
    (folder / "ledger.db").unlink()
    database = SqliteFile(_made(folder / "ledger.db"))
    migrate_to("0002", database.engine)
    with database.transaction() as cursor:
        cursor.execute("UPDATE head SET size = ?", (TILE_WIDTH,))
        for row in entry_rows(bodies(TILE_WIDTH)):
            cursor.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", row)
    database.close()
    return folder


def _made(file: Path) -> Path:
    create_file(file)
    return file


def test_entries_that_were_never_signed(unsigned: Path) -> None:
    """Neither a migration nor a start signs them by itself; --sign-existing does, once and for all."""
    ran = _ledger(unsigned, "migrate")
    assert failed_cleanly(ran)
    assert "kubemint ledger migrate --help" in ran.errors
    with pytest.raises(ConfigurationError, match="kubemint ledger migrate --help"):
        prepare(config.load(unsigned / "kubemint.yaml"))
    assert _ledger(unsigned, "migrate", "--sign-existing").output == "The ledger is up to date.\n"
    assert _ledger(unsigned, "migrate").code == 0
    ran = kubemint("log", "verify", "--config", "kubemint.yaml", cwd=unsigned)
    assert f"{TILE_WIDTH} entries" in ran.output


@pytest.mark.parametrize("is_empty", [False, True], ids=["with entries", "new"])
def test_no_first_signature_against_an_anchor(unsigned: Path, is_empty: bool) -> None:
    """Where an anchor holds a checkpoint, nothing is signed as if it were the first time, not even nothing."""
    if is_empty:
        (unsigned / "ledger.db").unlink()
    _anchor(unsigned, {"file": "anchor"})
    (unsigned / "anchor").write_text("a checkpoint\n", encoding="utf-8")
    ran = _ledger(unsigned, "migrate", "--sign-existing")
    assert failed_cleanly(ran)
    assert "log.anchors" in ran.errors
    assert "holds a checkpoint" in ran.errors
    (unsigned / "anchor").unlink()
    assert _ledger(unsigned, "migrate", "--sign-existing").code == 0


def test_an_anchor_that_does_not_answer(unsigned: Path) -> None:
    """While an anchor cannot be asked, old entries are not signed; a new ledger does not wait for it."""
    _anchor(unsigned, {"url": "http://127.0.0.1:9/anchor"})
    ran = _ledger(unsigned, "migrate", "--sign-existing")
    assert failed_cleanly(ran)
    assert "log.anchors" in ran.errors
    (unsigned / "ledger.db").unlink()
    assert _ledger(unsigned, "migrate").code == 0


def _anchor(folder: Path, anchor: dict[str, str]) -> None:
    file = folder / "kubemint.yaml"
    body = yaml.safe_load(file.read_text(encoding="utf-8"))
    body["log"]["anchors"] = [anchor]
    file.write_text(yaml.safe_dump(body), encoding="utf-8")


def test_rows_are_counted_and_then_dropped(folder: Path) -> None:
    """A dry run says what a run would drop and drops nothing; a second run has nothing to do."""
    counts = f"certificates: {TILE_WIDTH}, refusals: 0, groups: {TILE_WIDTH}\n"
    for _ in range(2):
        assert _ledger(folder, "retain", "--dry-run").output == f"would drop  {counts}"
    assert _ledger(folder, "retain").output == f"dropped  {counts}"
    assert _ledger(folder, "retain").output == NOTHING


def test_text_is_counted_and_then_archived(folder: Path) -> None:
    """A dry run writes no file; a run writes the bundle, and says so; a second run has nothing to do."""
    counts = f"bundles: 1, bodies: {TILE_WIDTH}\n"
    assert _ledger(folder, "archive", "--dry-run").output == f"would archive  {counts}"
    assert not (folder / "archive").exists()
    assert _ledger(folder, "archive").output == f"archived  {counts}"
    assert (folder / "archive" / "tile" / "entries" / "000").is_file()
    assert _ledger(folder, "archive").output == "archived  bundles: 0, bodies: 0\n"


@pytest.mark.parametrize("command", ["retain", "archive"])
def test_without_a_retention_nothing_is_dropped_or_archived(folder: Path, command: str) -> None:
    """Where the configuration says nothing about how long, the command refuses."""
    _set(folder, retention="")
    ran = _ledger(folder, command)
    assert failed_cleanly(ran)
    assert "ledger.retention" in ran.errors


def test_without_a_folder_nothing_is_archived(folder: Path) -> None:
    """Where the configuration names no folder, the command refuses."""
    _set(folder, archive="")
    ran = _ledger(folder, "archive")
    assert failed_cleanly(ran)
    assert "ledger.archive" in ran.errors


@pytest.mark.parametrize("command", ["retain", "archive"])
def test_without_a_ledger(folder: Path, command: str) -> None:
    """Where there is no ledger, the command refuses and makes none."""
    for file in folder.glob("ledger.db*"):
        file.unlink()
    assert failed_cleanly(_ledger(folder, command))
    assert not (folder / "ledger.db").exists()


def test_what_a_quota_counts_is_kept(folder: Path) -> None:
    """Rows that a quota of the policy counts stay, however short the retention."""
    policy = folder / "policy.yaml"
    text = policy.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.lstrip().startswith("lifetime:"))
    indent = line[: -len(line.lstrip())]
    policy.write_text(
        text.replace(line, f"{line}\n{indent}quota: {{certificates: 5, per: 60d}}", 1), encoding="utf-8"
    )
    assert _ledger(folder, "retain").output == NOTHING


def test_what_a_revocation_list_may_hold_is_kept(folder: Path) -> None:
    """Rows stay for as long as a list that has them counts, however short the retention."""
    settings = config.load(folder / "kubemint.yaml")
    short = replace(settings, ledger=replace(settings.ledger, retention=timedelta(hours=1)))
    kept = kept_for(short, load_policy_of(short))
    assert kept is not None
    assert kept > settings.crl.lifetime > timedelta(hours=1)
