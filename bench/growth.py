"""What the ledger costs as it grows: `python -m bench.growth fill` and then `python -m bench.growth measure`."""

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from bench.growth_measure import ASKED, READ, subject
from bench.growth_stores import STORES, fill_postgres, fill_sqlite, keys_in, postgres, sqlite_url
from bench.machine import describe

MOST = 2.0  # times what the smallest ledger costs
SIZES = (10_000, 1_000_000, 10_000_000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill ledgers, or measure them; return 0 if nothing costs more than twice at the largest size, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("what", choices=["fill", "measure"])
    parser.add_argument("--directory", type=Path, required=True, help="of the ledgers: 40 GB for all sizes")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of entries [%(default)s]")
    parser.add_argument("--stores", default=",".join(STORES), help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=7, help="of everything, in turns [%(default)s]")
    options = parser.parse_args(arguments)
    options.directory.mkdir(parents=True, exist_ok=True)
    sizes = [int(size) for size in options.sizes.split(",")]
    stores = options.stores.split(",")
    if options.what == "fill":
        fill(options.directory, stores, sizes)
        return 0
    print(", ".join(f"{name} {value}" for name, value in describe(options.directory).items()))
    results = measure(options.directory, stores, sizes, options.rounds)
    print(table(results, sizes))
    return 0 if all(seconds[-1] <= MOST * seconds[0] for seconds in results.values()) else 1


def fill(directory: Path, stores: Sequence[str], sizes: Sequence[int]) -> None:
    """Make the ledgers; the newest entry is a day old."""
    keys, end = keys_in(directory), datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    for size in sizes if "sqlite" in stores else ():
        began = time.monotonic()
        fill_sqlite(sqlite_url(directory, size), size, end, keys)
        print(f"sqlite {size}: {time.monotonic() - began:.0f} s", flush=True)
    if "postgres" not in stores:
        return
    with postgres(directory) as url:
        for size in sizes:
            began = time.monotonic()
            with psycopg.connect(url("postgres").render_as_string(), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE growth_{size}")
            fill_postgres(url(f"growth_{size}"), size, end, keys)
            print(f"postgres {size}: {time.monotonic() - began:.0f} s", flush=True)


def measure(
    directory: Path, stores: Sequence[str], sizes: Sequence[int], rounds: int
) -> dict[tuple[str, str], list[float]]:
    """Ask all ledgers for everything, in turns; give the median seconds by what and store, a number a size."""
    keys, log_key = keys_in(directory), (directory / "log.key").read_bytes()
    with contextlib.ExitStack() as stack:
        places = {
            store: stack.enter_context(postgres(directory)) if store == "postgres" else None for store in stores
        }
        subjects = [
            subject(store, size, url(f"growth_{size}") if url else sqlite_url(directory, size), keys, log_key)
            for store, url in places.items()
            for size in sizes
        ]
        times: dict[tuple[str, str, int], list[float]] = {}
        for name, ask in ASKED.items():
            for number in range(rounds + 1):  # the first one warms caches and does not count
                for one in subjects:
                    seconds = ask(one)
                    if number > 0:
                        times.setdefault((name, one.store, one.size), []).append(seconds)
                    elif name in READ:
                        print(
                            f"asked for the first time: {name}, {one.store}, {one.size:,}: {seconds * 1000:.2f} ms"
                        )
    return {
        (name, store): [statistics.median(times[name, store, size]) for size in sizes]
        for name in ASKED
        for store in stores
    }


def table(results: Mapping[tuple[str, str], Sequence[float]], sizes: Sequence[int]) -> str:
    """Write milliseconds, and how many times the smallest ledger's the largest one's are."""
    head = ["| | store |", *(f" {size:,} entries |" for size in sizes), " largest ÷ smallest |"]
    lines = ["".join(head), "|---|---|" + "---|" * (len(sizes) + 1)]
    for (name, store), seconds in results.items():
        figures = "".join(f" {one * 1000:.2f} ms |" for one in seconds)
        lines.append(f"| {name} | {store} |{figures} {seconds[-1] / seconds[0]:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
