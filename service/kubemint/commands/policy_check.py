"""`kubemint policy check`: what is wrong with a policy file, and what a reviewer should know, line by line."""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click

from kubemint import config
from kubemint.authentication.tokens import load_tokens
from kubemint.documents import DocumentLines, read_file
from kubemint.errors import ConfigurationError
from kubemint.policy.warnings import policy_warnings, unknown_authorities
from kubemint.policy_file import read_policy

_YAML_PROBLEM: Final = re.compile(r"line (\d+): (.*)", re.DOTALL)  # as `parse_yaml` writes it
_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=_file)
@click.option("--config", "config_file", type=_file, help="Configuration whose CAs, issuers, clusters are meant.")
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
def check(file: Path, config_file: Path | None, strict: bool) -> None:
    """Check the policy FILE: exit code 0 if it is in order, else 1.

    Prints a line for each mistake (FILE:LINE: path: message), and for each warning. With --config,
    rules that name a CA, token issuer or cluster which the configuration does not have are mistakes,
    as they are to the service, and unknown tokens are warned about.

    \b
    kubemint policy check policy.yaml --config /etc/kubemint/kubemint.yaml
    kubemint policy check policy.yaml --strict
    """
    settings = None if config_file is None else config.load(config_file)
    text = read_file(file)
    lines = DocumentLines(text)
    try:
        policy = read_policy(text, str(file), {} if settings is None else config.known_authorities(settings))
    except ConfigurationError as fault:
        for problem in fault.problems:
            click.echo(_problem_line(file, problem, lines))
        click.echo(f"{file}: {_count(fault.problems, 'mistake')}", err=True)
        sys.exit(1)
    warnings = [*policy_warnings(policy)]
    if settings is not None:
        warnings += unknown_authorities(policy, _tokens(settings))
    for line in _warning_lines(file, warnings, lines):
        click.echo(line)
    click.echo(f"{file}: no mistakes, {_count(warnings, 'warning')} ({policy.version})", err=True)
    if warnings and strict:
        sys.exit(1)


def _problem_line(file: Path, problem: str, lines: DocumentLines) -> str:
    if in_yaml := _YAML_PROBLEM.fullmatch(problem):
        return f"{file}:{in_yaml[1]}: {in_yaml[2]}"
    path, colon, _ = problem.partition(": ")
    return f"{file}:{lines.line_of(path) if colon else 1}: {problem}"


def _warning_lines(file: Path, warnings: Iterable[tuple[str, str]], lines: DocumentLines) -> Iterator[str]:
    placed = sorted((lines.line_of(path), path, sentence) for path, sentence in warnings)
    for line, path, sentence in placed:
        yield f"{file}:{line}: warning: {path}: {sentence}"


def _tokens(settings: config.Config) -> dict[str, list[str]]:
    records = load_tokens(settings.tokens_file) if settings.tokens_file else ()
    return {"token": [record.name for record in records]}


def _count(found: Iterable[object], noun: str) -> str:
    number = len(list(found))
    return f"{number} {noun}{'' if number == 1 else 's'}"
