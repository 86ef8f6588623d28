"""Measure certificates per second, kubemint and OpenBao in turn, in one run: `make bench`, see README.md."""

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from bench import kubemint_service, machine, openbao
from bench.certificate import new_csr
from bench.errors import BenchError, ToolMissingError
from bench.load import Request, Round, press, require_wrk
from bench.records import check_recorded
from bench.report import Result, as_json, table

SETTLE_SECONDS = 0.5  # what was in flight when wrk stopped is recorded by then
SIDES = ("kubemint", "openbao")


class Side(Protocol):
    """A running service that issues certificates and keeps a record of them."""

    name: str
    request: Request

    def check_certificate(self) -> None:
        """Ask for one certificate; raise BenchError unless it is what every side gives."""

    def newly_recorded(self) -> dict[str, int]:
        """Count, place by place, the certificates recorded since the last call."""

    def check_record(self) -> None:
        """Raise BenchError unless the record is whole; may be slow, called once at the end."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0, 1 when the run cannot be trusted, 2 when something is not installed."""
    options = _parser().parse_args(arguments)
    # Ended like Ctrl-C ends it: through the blocks that stop the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        _run(options)
    except ToolMissingError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    require_wrk()
    with tempfile.TemporaryDirectory(prefix="kubemint-bench-", dir=options.directory) as name:
        surroundings = machine.describe(Path(name)) | _versions(options)
        print(" · ".join(f"{part} {value}" for part, value in surroundings.items()))
        with _sides(options, Path(name)) as sides:
            results = _measure(sides, options)
            for side in sides:
                side.check_record()
    reference = next((result for result in results if result.name == openbao.NAME), None)
    print(f"\n{table(results, reference)}")
    if options.json:
        measured = as_json(results, reference, surroundings, _settings(options))
        options.json.write_text(json.dumps(measured, indent=2) + "\n")


@contextlib.contextmanager
def _sides(options: argparse.Namespace, directory: Path) -> Iterator[list[Side]]:
    """Serve all sides while the block lasts: those that wait for their turn are idle."""
    csr = new_csr()
    with contextlib.ExitStack() as servers:
        sides: list[Side] = []
        for size in _sizes(options):
            place = directory / f"kubemint-{size.workers}-{size.threads or 'default'}"
            sides.append(servers.enter_context(kubemint_service.serve(place, csr, size)))
        if options.only != "kubemint":
            sides.append(servers.enter_context(openbao.serve(directory / "openbao", csr)))
        yield sides


def _measure(sides: Sequence[Side], options: argparse.Namespace) -> list[Result]:
    for side in sides:
        side.check_certificate()
        _round(side, options.connections, options.warm_up)
    rounds: list[list[Round]] = [[] for _ in sides]
    for number in range(1, options.rounds + 1):
        for side, its_rounds in zip(sides, rounds, strict=True):
            seen = _round(side, options.connections, options.seconds)
            its_rounds.append(seen)
            print(f"round {number}: {side.name}: {_sentence(seen)}", flush=True)
    pairs = zip(sides, rounds, strict=True)
    return [Result(name=side.name, rounds=tuple(its_rounds)) for side, its_rounds in pairs]


def _round(side: Side, connections: int, seconds: int) -> Round:
    """Press one side, and hold what it recorded against what was received."""
    side.newly_recorded()
    seen = press(side.request, connections=connections, seconds=seconds)
    time.sleep(SETTLE_SECONDS)
    for place, recorded in side.newly_recorded().items():
        where = f"{side.name}: {place}"
        check_recorded(recorded, answers=seen.answers, connections=connections, where=where)
    return seen


def _sentence(seen: Round) -> str:
    return f"{seen.per_second:.0f} certificates/s, p50 {seen.p50_ms:.1f} ms, p99 {seen.p99_ms:.1f} ms"


def _sizes(options: argparse.Namespace) -> list[kubemint_service.Size]:
    if options.only == "openbao":
        return []
    return [
        kubemint_service.Size(workers=workers, threads=threads)
        for workers in options.workers
        for threads in options.threads or [None]
    ]


def _versions(options: argparse.Namespace) -> dict[str, str]:
    versions = {"kubemint": kubemint_service.version, "openbao": openbao.version}
    return {side: versions[side]() for side in SIDES if options.only in (None, side)}


def _settings(options: argparse.Namespace) -> dict[str, object]:
    names = ("rounds", "seconds", "warm_up", "connections", "workers", "threads", "only")
    return {name: getattr(options, name) for name in names}


def _numbers(text: str) -> list[int]:
    return [_number(part) for part in text.split(",")]


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.issuance", description=__doc__)
    parser.add_argument("--rounds", type=_number, default=5, help="rounds of each side, in turn (%(default)s)")
    parser.add_argument("--seconds", type=_number, default=10, help="length of a round (%(default)s)")
    parser.add_argument("--warm-up", type=_number, default=3, help="seconds before the first round (%(default)s)")
    parser.add_argument("--connections", type=_number, default=16, help="connections kept open (%(default)s)")
    parser.add_argument("--workers", type=_numbers, default=[2], help="kubemint's processes; 1,2 tries both (2)")
    parser.add_argument(
        "--threads", type=_numbers, help="kubemint's threads a worker; 1,2,4 tries all (its default)"
    )
    parser.add_argument("--only", choices=SIDES, help="measure one side alone")
    parser.add_argument(
        "--directory", type=Path, help="where data is kept while it runs (the system's, for temporary)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
