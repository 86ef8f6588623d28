"""`kubemint log export`: the entries as JSON lines for whoever keeps them elsewhere, and going on with them."""

import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import orjson

from kubemint.commands.export_file import ExportedLine, ExportFile
from kubemint.commands.log_source import LogSource, open_source, source_options
from kubemint.errors import InvalidProof, LedgerUnavailable, ServiceUnavailable
from kubemint.record import EventKind
from kubemint.transparency.notation import encode_base64
from kubemint.transparency.tiles import TILE_WIDTH
from kubemint.transparency.tree import leaf_hash

POLL_SECONDS: Final = 1.0

_KINDS: Final = [kind.value for kind in EventKind]


@dataclass(frozen=True, slots=True)
class _Pace:
    """Whether to go on with what comes, and until when."""

    follow: bool
    stopped: threading.Event


@click.command()
@click.option(
    "--from", "start", type=click.IntRange(0), help="Index of the first entry  [default: 0, or the file's]."
)
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C or SIGTERM.")
@click.option(
    "--output",
    "output_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write or to go on with  [default: standard output].",
)
@click.option("--kind", "kinds", type=click.Choice(_KINDS), multiple=True, help="Only these; may be given again.")
@source_options
def export(
    start: int | None, follow: bool, output_file: Path | None, kinds: tuple[str, ...], **options: Any
) -> None:
    """Write the entries of the log as JSON lines, oldest first.

    Each line has logIndex, leafHash (base64; RFC 6962) and entry; docs/log.md describes them. With
    --output, a file that is there is gone on with after its last whole line, if that is the log's.

    \b
    kubemint log export --kind issued --follow --output /var/lib/siem/kubemint.jsonl
    """
    pace = _Pace(follow, threading.Event())
    if follow:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: pace.stopped.set())
    source = open_source(options)
    if output_file is None:
        _run(source, start or 0, kinds, click.echo, pace)
        return
    with ExportFile(output_file) as file:
        last = file.last
        if last is not None and start is not None:
            raise click.UsageError(f"{output_file} goes on after entry {last.index}; --from is for a new file.")
        first = start or 0
        if last is not None:
            _check_same_log(source, last)
            first = last.index + 1
        _run(source, first, kinds, file.write, pace)


def _run(source: LogSource, first: int, kinds: tuple[str, ...], write: Callable[[str], None], pace: _Pace) -> None:
    is_told = False
    while True:
        try:
            for index, line in _lines(source, first, kinds):
                if line is not None:
                    write(line)
                first = index + 1
                if pace.stopped.is_set():
                    return
            is_told = False
        except (LedgerUnavailable, ServiceUnavailable) as fault:
            if not pace.follow:
                raise
            if not is_told:
                click.echo(f"kubemint: {fault.message}; it is tried again", err=True)
            is_told = True
        if not pace.follow or pace.stopped.wait(POLL_SECONDS):
            return


def _lines(source: LogSource, first: int, kinds: tuple[str, ...]) -> Iterator[tuple[int, str | None]]:
    """Give index and line of each entry that stands now; None in place of the line of another kind."""
    size = source.size()
    while first < size:
        number, start = divmod(first, TILE_WIDTH)
        width = min(TILE_WIDTH, size - number * TILE_WIDTH)
        bodies = source.bundle(number, width)
        if len(bodies) != width:
            raise InvalidProof(f"the log has {len(bodies)} entries in bundle {number}, not {width}")
        for index, body in enumerate(bodies[start:], first):
            yield index, _line(index, body, kinds)
        first = number * TILE_WIDTH + width


def _line(index: int, body: bytes, kinds: tuple[str, ...]) -> str | None:
    """Write an entry as it was hashed, in one line."""
    try:
        kind = orjson.loads(body)["kind"]
        text = body.decode()
    except (ValueError, TypeError, KeyError):
        raise InvalidProof(f"entry {index} cannot be read") from None
    if "\n" in text:
        raise InvalidProof(f"entry {index} is not written in one line")
    if kinds and kind not in kinds:
        return None
    return f'{{"logIndex":{index},"leafHash":"{encode_base64(leaf_hash(body))}","entry":{text}}}'


def _check_same_log(source: LogSource, last: ExportedLine) -> None:
    """Refuse to go on with the file of another log, or of this one before it was changed.

    Raises:
        InvalidProof: it is.
    """
    if last.index >= (size := source.size()):
        raise InvalidProof(f"the file has entry {last.index}, and the log {size} entries: another, or an old copy")
    number, offset = divmod(last.index, TILE_WIDTH)
    body = source.bundle(number, min(TILE_WIDTH, size - number * TILE_WIDTH))[offset]
    if encode_base64(leaf_hash(body)) != last.leaf_hash:
        raise InvalidProof(f"entry {last.index} of the log is not the one in the file: the log was changed")
