"""What the commands share of their options."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from kubemint.durations import parse_duration

_file = click.Path(dir_okay=False, path_type=Path)


class DurationType(click.ParamType[timedelta]):
    """A length of time on the command line."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it, or say how it is written."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(value)
        except ValueError as fault:
            self.fail(str(fault), param, ctx)


def service_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that find the service."""
    for option in (
        click.option("--token-file", type=_file, help="File with a bearer token [KUBEMINT_TOKEN_FILE]."),
        click.option("--ca", type=_file, help="CA certificates that prove the service [KUBEMINT_CA]."),
        click.option("--url", help="Address of the service [KUBEMINT_URL]."),
    ):
        command = option(command)
    return command
