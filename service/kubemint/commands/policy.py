"""`kubemint policy`: what people do with a policy before it decides."""

from typing import Final

import click

from kubemint.commands.lazy_group import LazyGroup

_COMMANDS: Final = {
    "check": "kubemint.commands.policy_check:check",
    "explain": "kubemint.commands.policy_explain:explain",
    "test": "kubemint.commands.policy_test:test",
    "replay": "kubemint.commands.policy_replay:replay",
}


@click.group(cls=LazyGroup, places=_COMMANDS)
def policy() -> None:
    """Check, explain and test a policy, and try it on the past."""
