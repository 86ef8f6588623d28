"""`kubemint ledger retain`: rows of what was over long ago are dropped, now."""

from datetime import UTC, datetime
from pathlib import Path

import click

from kubemint import config
from kubemint.commands.config_option import config_option
from kubemint.commands.ledger_open import opened, retention_of
from kubemint.ledger import retention


@click.command()
@click.option("--dry-run", is_flag=True, help="Count, and drop nothing.")
@config_option("Configuration that names the ledger")
def retain(dry_run: bool, config_file: Path | None) -> None:
    """Drop rows of what was over before ledger.retention.

    They find certificates that expired, and refusals, from longer ago than it says. The service does it
    once a day. Entries stay, and so do tiles, idempotency keys, uses of tokens and requests;
    certificates that have not expired are never dropped.

    \b
    kubemint ledger retain --dry-run
    """
    settings = config.load(config.find_config(config_file))
    kept, now = retention_of(settings), datetime.now(UTC)
    with opened(settings) as database:
        if dry_run:
            dropped = retention.count_over(database.engine, kept, now)
        else:
            dropped = retention.retain(database, kept, now)
    counts = f"certificates: {dropped.certificates}, refusals: {dropped.refusals}, groups: {dropped.groups}"
    click.echo(f"{'would drop' if dry_run else 'dropped'}  {counts}")
