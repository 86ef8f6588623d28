"""What a policy that loads should be looked at again for, told to whoever makes or starts a service."""

import click

from kubemint.policy.rules import Policy
from kubemint.policy.warnings import policy_warnings


def warn_of_policy(policy: Policy) -> None:
    """Print a line for each warning on standard error."""
    for path, warning in policy_warnings(policy):
        click.echo(f"kubemint: warning: {path}: {warning}", err=True)
