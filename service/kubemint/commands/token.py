"""`kubemint token`: bearer tokens for requesters. Only their hashes are kept."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import click

from kubemint import config
from kubemint.authentication.tokens import (
    DEFAULT_TOKEN_LIFETIME,
    TOKEN_NAME,
    TokenRecord,
    exclusive,
    load_tokens,
    new_token,
    save_tokens,
)
from kubemint.client.options import DurationType
from kubemint.client.tables import show_rows
from kubemint.commands.config_option import config_option
from kubemint.durations import format_duration
from kubemint.errors import ConfigurationError


def _with_tokens_file(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command its `file`: the one named, or the one that the configuration names."""

    @click.option("--tokens-file", type=click.Path(path_type=Path, dir_okay=False), help="File of the hashes.")
    @config_option("Configuration that names it")
    @wraps(command)
    def with_file(tokens_file: Path | None, config_file: Path | None, **options: Any) -> None:
        command(file=tokens_file or _configured_file(config_file), **options)

    return with_file


@click.group()
def token() -> None:
    """Create, list and delete bearer tokens.

    A running service notices a change within a second. What a token may ask for is the policy's
    to say: requesters: [{token: NAME}].
    """


@token.command()
@click.argument("name")
@click.option(
    "--expires",
    type=DurationType(),
    default=format_duration(DEFAULT_TOKEN_LIFETIME),
    show_default=True,
    help="How long it is good for: 12h, 90d.",
)
@_with_tokens_file
def create(file: Path, name: str, expires: timedelta) -> None:
    """Create a token called NAME, and print it once.

    It is never shown again: its hash alone is kept. Redirect it into a file that is yours alone.

    \b
    (umask 077; kubemint token create ci --expires 90d > ci.token)
    """
    if not TOKEN_NAME.fullmatch(name):
        raise click.UsageError("NAME must be lower-case letters, digits, '-' and '.', at most 63 of them.")
    secret, record = new_token(name, datetime.now(UTC).replace(microsecond=0) + expires)
    with exclusive(file):
        records = load_tokens(file) if file.exists() else ()
        if any(known.name == name for known in records):
            raise ConfigurationError(str(file), [f"there is a token {name!r} already; delete it first"])
        click.echo(secret)  # before it counts: a token that could not be shown must not be left behind
        sys.stdout.flush()
        save_tokens(file, (*records, record))
    click.echo(f"Token {name} is good until {record.expires:%Y-%m-%d %H:%M} UTC.", err=True)


@token.command("list")
@_with_tokens_file
def list_tokens(file: Path) -> None:
    """List the names and expiries.

    Columns: name, until when it is good, state, the beginning of its hash.

    \b
    kubemint token list --config /etc/kubemint/kubemint.yaml
    """
    if not (records := load_tokens(file)):
        click.echo("there is no token", err=True)
        return
    now = datetime.now(UTC)
    show_rows(("NAME", "EXPIRES", "STATE", "HASH"), (_row(record, now) for record in records))


@token.command()
@click.argument("name")
@_with_tokens_file
def delete(file: Path, name: str) -> None:
    """Delete the token NAME: it stops working within a second.

    \b
    kubemint token delete ci --config /etc/kubemint/kubemint.yaml
    """
    with exclusive(file):
        records = load_tokens(file)
        kept: tuple[TokenRecord, ...] = tuple(record for record in records if record.name != name)
        if len(kept) == len(records):
            raise ConfigurationError(str(file), [f"there is no token {name!r}"])
        save_tokens(file, kept)
    click.echo(f"Token {name} is deleted.", err=True)


def _row(record: TokenRecord, now: datetime) -> tuple[str, ...]:
    state = "expired" if record.expires <= now else "valid"
    return record.name, f"{record.expires:%Y-%m-%dT%H:%M:%SZ}", state, f"sha256:{record.sha256[:16]}"


def _configured_file(config_file: Path | None) -> Path:
    settings = config.load(config.find_config(config_file))
    if settings.tokens_file is None:
        raise ConfigurationError("authentication", ["the configuration has no tokensFile"])
    return settings.tokens_file
