"""Files that are made here for other machines: each has a name, and a place where it will count."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from kubemint.client.files import check_writable, write_file
from kubemint.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedFile:
    """A text without secrets, the name to write it under, and its path on the API server's machine, if any."""

    name: str
    place: str | None
    text: str


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where its files go."""
    folder = click.Path(file_okay=False, path_type=Path)
    for option in (
        click.option("--overwrite", is_flag=True, help="Replace files that are there."),
        click.option("--output-dir", type=folder, help="Folder to write the files to  [default: print them]."),
    ):
        command = option(command)
    return command


def hand_over(
    files: Sequence[PlacedFile], steps: Sequence[str], output_dir: Path | None, *, overwrite: bool
) -> None:
    """Write the files into a folder, or print them; say what to do with them where it is in nobody's way.

    Raises:
        ConfigurationError: the folder cannot be written, or there are such files; nothing was.
    """
    if output_dir is None:
        click.echo("---\n".join(map(_headed, files)), nl=False)
    else:
        _write(files, output_dir, overwrite=overwrite)
    for step in steps:
        click.echo(step, err=output_dir is None)


def _write(files: Sequence[PlacedFile], output_dir: Path, *, overwrite: bool) -> None:
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigurationError(str(output_dir), [f"cannot be made: {fault.strerror}"]) from None
    check_writable(tuple(output_dir / file.name for file in files), overwrite=overwrite)
    for file in files:
        write_file(output_dir / file.name, file.text, 0o644)
        whither = "" if file.place is None else f": copy it to {file.place}"
        click.echo(f"Wrote {output_dir / file.name}{whither}.")


def _headed(file: PlacedFile) -> str:
    return file.text if file.place is None else f"# To {file.place} on each API server's machine.\n{file.text}"
