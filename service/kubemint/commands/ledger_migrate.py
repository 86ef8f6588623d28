"""`kubemint ledger migrate`: the ledger's tables as this version needs them."""

from pathlib import Path

import click

from kubemint import config
from kubemint.wiring import migrate_ledger


@click.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Configuration  [default: found].")
def migrate(config_file: Path | None) -> None:
    """Bring the ledger's tables up to date.

    It makes the partitions of the months to come, too. A start of the service does the same. Replicas
    of the version before may go on meanwhile: one process migrates, others wait for it. A ledger that
    is up to date is left alone.
    """
    migrate_ledger(config.load(config.find_config(config_file)))
    click.echo("The ledger is up to date.")
