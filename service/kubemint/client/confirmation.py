"""Asking whether something that is not easily undone shall be done."""

import sys

import click


def ask_for_yes(question: str, otherwise: str) -> None:
    """Go on if somebody says yes, else say what was not done and end with code 1."""
    try:
        is_yes = click.confirm(question, err=True)
    except click.Abort:  # the end of the input: a script asks, or nobody wants to say
        click.echo(f"\n{otherwise}: nobody answered. In scripts: --yes", err=True)
        sys.exit(1)
    if not is_yes:
        click.echo(f"{otherwise}.", err=True)
        sys.exit(1)
