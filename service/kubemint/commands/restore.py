"""`kubemint restore`: a ledger out of a backup, which counts only after everything was looked at."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click

from kubemint import config
from kubemint.commands.progress import progress
from kubemint.commands.restore_checks import (
    Check,
    attempted,
    check_backup,
    check_certificate,
    check_counts,
    check_empty,
    check_issuer,
    judge,
    open_issuer,
    signed_by,
)
from kubemint.commands.restore_watchers import BackedUpLog, ask_watchers
from kubemint.errors import InvalidProof
from kubemint.ledger.backup import Progress
from kubemint.ledger.backup_folder import BackupFolder
from kubemint.ledger.backup_manifest import Manifest
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.restoring import Restoration, RestoredLog
from kubemint.transparency.checkpoint import Checkpoint
from kubemint.wiring import log_keys_of, migrate_ledger, store_of, utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """What is to be restored, and where to. The checkpoint was signed by the log."""

    settings: config.Config
    keys: LogKeys
    folder: BackupFolder
    manifest: Manifest
    note: str
    checkpoint: Checkpoint
    accept_loss: bool
    without_witnesses: bool


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--config",
    "config_file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration of the service to restore; it names the ledger, which must be empty.",
)
@click.option("--accept-loss", is_flag=True, help="Restore though an anchor or witness knows of later entries.")
@click.option("--without-witnesses", is_flag=True, help="Restore though an anchor or witness cannot be asked.")
def restore(directory: Path, config_file: Path, accept_loss: bool, without_witnesses: bool) -> None:
    """Restore the ledger from the backup in DIR, and prove it.

    It goes into the empty ledger of the configuration, SQLite or PostgreSQL, whatever it came from.
    Each thing that was looked at is a line, ok or FAILED. Unless all are ok, the exit code is 1, and
    nothing was written, or the ledger does not count: no service starts on it. A restore that was cut
    off is begun again.

    \b
    kubemint restore /mnt/backup --config /etc/kubemint/kubemint.yaml
    """
    settings = config.load(config_file)
    check_empty(settings)
    wanted = _open(BackupFolder(directory), settings, accept_loss, without_witnesses)
    if wanted is None or not _all_hold(_checks_before(wanted)):
        _stop("nothing was written.")
    elif not _fill(wanted):
        _stop("the ledger does not count, and no service starts on it.")


def _stop(state: str) -> None:
    click.echo(f"Not restored: {state}", err=True)
    sys.exit(1)


def _open(
    folder: BackupFolder, settings: config.Config, accept_loss: bool, without_witnesses: bool
) -> Restore | None:
    """Read what the backup says of itself; None, and a line that says why, where nothing can be believed."""
    keys, subject = log_keys_of(settings), "backup"
    try:
        note, manifest = folder.checkpoint(), folder.manifest()
        subject = "log key"
        checkpoint = keys.open(note)
    except InvalidProof as fault:
        _print(Check(subject=subject, holds=False, told=fault.message))
        return None
    return Restore(
        settings=settings,
        keys=keys,
        folder=folder,
        manifest=manifest,
        note=note,
        checkpoint=checkpoint,
        accept_loss=accept_loss,
        without_witnesses=without_witnesses,
    )


def _checks_before(wanted: Restore) -> Iterator[Check]:
    """Look at all that can be looked at before anything is written."""
    settings, folder, now = wanted.settings, wanted.folder, utc_now()
    yield attempted("backup", lambda: check_backup(folder, wanted.manifest, wanted.checkpoint))
    yield Check(subject="log key", holds=True, told=signed_by(wanted.keys, wanted.note))
    yield attempted("CA key", lambda: check_issuer(open_issuer(settings), folder, now))
    yield attempted("certificate", lambda: check_certificate(open_issuer(settings), now))
    backed_up = BackedUpLog(folder, wanted.note, wanted.checkpoint)
    for testimony in ask_watchers(settings.log, wanted.keys, backed_up, utc_now):
        yield judge(
            testimony,
            wanted.checkpoint.size,
            accept_loss=wanted.accept_loss,
            without_witnesses=wanted.without_witnesses,
        )


def _fill(wanted: Restore) -> bool:
    """Fill the ledger and read it back; it counts from when all of that has held."""
    migrate_ledger(wanted.settings, is_restored=True)
    with closing(store_of(wanted.settings).writable()) as database:
        restoration = Restoration(wanted.folder, wanted.note, wanted.checkpoint, database)
        restoration.begin(wanted.keys)
        size = wanted.checkpoint.size
        try:
            _with_progress("Restoring", size, restoration.fill)
            there = _with_progress("Reading back", size, restoration.read_back)
        except InvalidProof as fault:
            _print(Check(subject="ledger", holds=False, told=fault.message))
            return False
        if not _all_hold(check_counts(there, wanted.manifest, wanted.checkpoint)):
            return False
        restoration.finish()
    return True


def _with_progress(label: str, size: int, run: Callable[[Progress], RestoredLog]) -> RestoredLog:
    with progress(label, size) as advance:
        return run(advance)


def _all_hold(checks: Iterator[Check]) -> bool:
    """Print every check as it is made; one that fails keeps none of the others from being made."""
    return not [check for check in checks if not _print(check)]


def _print(check: Check) -> bool:
    click.echo(check.line)
    return check.holds
