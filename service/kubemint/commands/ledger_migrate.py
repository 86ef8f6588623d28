"""`kubemint ledger migrate`: the ledger's tables as this version needs them."""

from pathlib import Path

import click

from kubemint import config
from kubemint.commands.config_option import config_option
from kubemint.wiring import migrate_ledger


@click.command()
@click.option(
    "--sign-existing", is_flag=True, help="Sign the entries of a ledger that no version has signed: see above."
)
@config_option("Configuration that names the ledger")
def migrate(sign_existing: bool, config_file: Path | None) -> None:
    """Bring the ledger's tables up to date.

    It makes the partitions of the months to come, too. A start of the service does the same. Replicas
    of the version before may go on meanwhile: one process migrates, others wait for it. A ledger that
    is up to date is left alone.

    Versions before the log was signed left entries without a checkpoint. They are signed only with
    --sign-existing, once: from then on the log vouches for them as they stand. Whoever can write to
    the database can make a signed ledger look like such a one. So look first: was it really written
    by that version, and never served by a later one? Does it hold as many entries, and the same
    last ones, as the decision log or a copy of that time? An anchor that holds a checkpoint, or
    does not answer, is an obstacle.

    \b
    kubemint ledger migrate --config /etc/kubemint/kubemint.yaml
    """
    migrate_ledger(config.load(config.find_config(config_file)), sign_existing=sign_existing)
    click.echo("The ledger is up to date.")
