"""Rounds to medians, medians to a table and to JSON."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.load import Round


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All rounds of one side; each figure is the median over the rounds of that figure."""

    name: str
    rounds: tuple[Round, ...]

    @property
    def per_second(self) -> float:
        return statistics.median(one.per_second for one in self.rounds)

    @property
    def p50_ms(self) -> float:
        return statistics.median(one.p50_ms for one in self.rounds)

    @property
    def p99_ms(self) -> float:
        return statistics.median(one.p99_ms for one in self.rounds)


def table(results: Sequence[Result], reference: Result | None) -> str:
    """Return one line per side; with a reference, each other side's ratio to it."""
    width = max(len(result.name) for result in results)
    lines = [f"{'':{width}}  certificates/s   p50 ms   p99 ms   rate ×   p99 ×   rounds (certificates/s)"]
    lines += [_line(result, width, None if result is reference else reference) for result in results]
    return "\n".join(lines)


def as_json(
    results: Sequence[Result],
    reference: Result | None,
    machine: Mapping[str, str],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return everything that was measured, and what it was measured with."""
    return {
        "machine": machine,
        "settings": settings,
        "results": [_one_as_json(result, reference) for result in results],
    }


def _line(result: Result, width: int, reference: Result | None) -> str:
    rates = " ".join(f"{one.per_second:.0f}" for one in result.rounds)
    rate_ratio = f"{result.per_second / reference.per_second:.2f}" if reference else ""
    p99_ratio = f"{result.p99_ms / reference.p99_ms:.2f}" if reference else ""
    figures = f"{result.per_second:14.0f} {result.p50_ms:8.1f} {result.p99_ms:8.1f} {rate_ratio:>8} {p99_ratio:>7}"
    return f"{result.name:{width}}  {figures}   {rates}"


def _one_as_json(result: Result, reference: Result | None) -> dict[str, Any]:
    medians = {"perSecond": result.per_second, "p50Ms": result.p50_ms, "p99Ms": result.p99_ms}
    rounds = [{"perSecond": one.per_second, **asdict(one)} for one in result.rounds]
    ratio = None
    if reference is not None and result is not reference:
        ratio = {"rate": result.per_second / reference.per_second, "p99": result.p99_ms / reference.p99_ms}
    return {"name": result.name, "median": medians, "ratio": ratio, "rounds": rounds}
