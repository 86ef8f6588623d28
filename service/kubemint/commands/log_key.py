"""`kubemint log key` and `kubemint log checkpoint`: what others need to check the log, and where it stands."""

from pathlib import Path
from typing import Any

import click

from kubemint import config
from kubemint.commands.config_option import config_option
from kubemint.commands.log_source import open_source, source_options
from kubemint.wiring import log_keys_of


@click.command()
@config_option("Configuration that names the key")
def key(config_file: Path | None) -> None:
    """Print the public key of the log, as others need it.

    It is NAME+ID+KEY (C2SP signed-note). Whoever has it can check a receipt, a checkpoint and the whole
    log. Give it to them on a way that the administrator of the service does not control.

    \b
    kubemint log key > log.vkey
    """
    click.echo(log_keys_of(config.load(config.find_config(config_file))).signer.vkey)


@click.command()
@source_options
def checkpoint(**options: Any) -> None:
    """Print the newest checkpoint: size and root, signed.

    The size is how many entries there are. Kept elsewhere, it shows later that nothing before it was
    changed: kubemint log verify --from-checkpoint FILE.

    \b
    kubemint log checkpoint --config /etc/kubemint/kubemint.yaml > checkpoint
    kubemint log checkpoint --url https://kubemint.example.com:8443 --ca ca.crt > checkpoint
    """
    click.echo(open_source(options).checkpoint(), nl=False)
