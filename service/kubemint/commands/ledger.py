"""`kubemint ledger`: what is done to a ledger now and then, while the service runs."""

from typing import Final

import click

from kubemint.commands.lazy_group import LazyGroup

_COMMANDS: Final = {
    "migrate": "kubemint.commands.ledger_migrate:migrate",
    "retain": "kubemint.commands.ledger_retain:retain",
    "archive": "kubemint.commands.ledger_archive:archive",
}


@click.group(cls=LazyGroup, places=_COMMANDS)
def ledger() -> None:
    """Migrate the ledger, drop old rows, archive old entries."""
