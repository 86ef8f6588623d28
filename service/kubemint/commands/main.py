"""`kubemint`, and `kubectl mint`: one command line, whose parts are loaded when they are called."""

import importlib
import sys
from typing import Any, Final

import click

from kubemint.errors import KubemintError

_COMMANDS: Final = {
    "dev": "kubemint.commands.dev:dev",
    "init": "kubemint.commands.init:init",
    "serve": "kubemint.commands.serve:serve",
    "token": "kubemint.commands.token:token",
    "request": "kubemint.client.request:request",
}


class LazyGroup(click.Group):
    """A group that imports a command only when it is asked for: `request` needs no database."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order in which people meet them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kubemint")
def kubemint() -> None:
    """Short-lived Kubernetes client certificates, by a policy that people can read, on the record."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line. Exit codes: 0 done, 1 refused or failed, 2 wrong use."""
    try:
        kubemint.main(args=arguments, prog_name="kubemint")
    except KubemintError as fault:
        click.echo(f"kubemint: {fault.message}", err=True)
        sys.exit(1)
