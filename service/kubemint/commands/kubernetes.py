"""`kubemint kubernetes`: what a cluster's administrator takes from here to the API servers."""

from typing import Final

import click

from kubemint.commands.lazy_group import LazyGroup

_COMMANDS: Final = {
    "authorizer-config": "kubemint.commands.kubernetes_authorizer_config:authorizer_config",
    "deny-list": "kubemint.commands.kubernetes_deny_list:deny_list",
}


@click.group(cls=LazyGroup, places=_COMMANDS)
def kubernetes() -> None:
    """Make API servers obey revocations: by a webhook, or by a list without one."""
