"""`kubemint log`: the record as a log that proves itself."""

from typing import Final

import click

from kubemint.commands.lazy_group import LazyGroup

_COMMANDS: Final = {
    "verify": "kubemint.commands.log_verify:verify",
    "export": "kubemint.commands.log_export:export",
    "checkpoint": "kubemint.commands.log_key:checkpoint",
    "key": "kubemint.commands.log_key:key",
}


@click.group(cls=LazyGroup, places=_COMMANDS)
def log() -> None:
    """Verify the log, export its entries, show its key."""
