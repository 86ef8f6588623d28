"""The option that names the configuration, for the commands on the service's own machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from kubemint.config import CONFIG_VARIABLE, DEFAULT_PLACES

FOUND_CONFIG: Final = ", ".join((CONFIG_VARIABLE, *map(str, DEFAULT_PLACES)))  # as `find_config` looks for it


def config_option(meaning: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command `--config`, as `config_file`; what was not given is to be found by `config.find_config`."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(dir_okay=False, path_type=Path),
        help=f"{meaning}  [default: the first of {FOUND_CONFIG}].",
    )
