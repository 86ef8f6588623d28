"""`kubemint ledger archive`: the text of old entries goes from the database to files."""

from datetime import UTC, datetime
from pathlib import Path

import click

from kubemint import config
from kubemint.commands.config_option import config_option
from kubemint.commands.ledger_open import opened, retention_of
from kubemint.errors import ConfigurationError
from kubemint.ledger.archive import Archive
from kubemint.ledger.archiving import archive_old


@click.command()
@click.option("--dry-run", is_flag=True, help="Count, and move nothing.")
@config_option("Configuration that names the ledger")
def archive(dry_run: bool, config_file: Path | None) -> None:
    """Move the text of old entries to ledger.archive.

    Old is what was over for longer than ledger.retention. Whole bundles of 256 entries go, oldest
    first, as files of C2SP tlog-tiles. Their hashes stay in the ledger: what was archived is still
    proven. Every replica needs the folder.

    \b
    kubemint ledger archive --dry-run
    """
    settings = config.load(config.find_config(config_file))
    if settings.ledger.archive is None:
        raise ConfigurationError("ledger.archive", ["names no folder"])
    kept, now = retention_of(settings), datetime.now(UTC)
    with opened(settings) as database:
        moved = archive_old(database.engine, Archive(settings.ledger.archive), kept, now, dry_run=dry_run)
    click.echo(f"{'would archive' if dry_run else 'archived'}  bundles: {moved.bundles}, bodies: {moved.bodies}")
