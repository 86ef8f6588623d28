"""`kubemint`, and `kubectl mint`: one command line, whose parts are loaded when they are called."""

import sys
from typing import Any, Final

import click

from kubemint.commands.lazy_group import LazyGroup
from kubemint.errors import KubemintError

_COMMANDS: Final = {
    "dev": "kubemint.commands.dev:dev",
    "init": "kubemint.commands.init:init",
    "serve": "kubemint.commands.serve:serve",
    "token": "kubemint.commands.token:token",
    "policy": "kubemint.commands.policy:policy",
    "log": "kubemint.commands.log:log",
    "ledger": "kubemint.commands.ledger:ledger",
    "backup": "kubemint.commands.backup:backup",
    "restore": "kubemint.commands.restore:restore",
    "request": "kubemint.client.request:request",
    "requests": "kubemint.client.requests:requests",
    "certificates": "kubemint.client.recorded_certificates:certificates",
    "revoke": "kubemint.client.revoke:revoke",
    "revocations": "kubemint.client.revocations:revocations",
    "kubernetes": "kubemint.commands.kubernetes:kubernetes",
    "audit-log": "kubemint.commands.audit_log:audit_log",
}


@click.group(cls=LazyGroup, places=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kubemint")
def kubemint() -> None:
    """Short-lived Kubernetes client certificates, by a policy that people can read, on the record.

    Start here; the second in another terminal, from the same folder:

    \b
    kubemint dev
    kubemint request --user jane --group developers
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line. Exit codes: 0 done, 1 refused or failed, 2 wrong use, 3 waits for approval."""
    try:
        kubemint.main(args=arguments, prog_name="kubemint")
    except KubemintError as fault:
        click.echo(f"kubemint: {fault.message}", err=True)
        sys.exit(1)
