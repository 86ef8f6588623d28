"""Lists as lines of columns: for programs tab-separated, on a terminal in line and under a header."""

import sys
from collections.abc import Iterable, Sequence

import click

from kubemint.client.terms import printable


def show_rows(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows of as many columns as the header has; what could steer a terminal is written as escapes."""
    lines = [tuple(map(printable, row)) for row in rows]
    if not sys.stdout.isatty():
        for line in lines:
            click.echo("\t".join(line))
        return
    lines.insert(0, tuple(header))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
