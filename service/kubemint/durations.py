"""Lengths of time as people write them in Kubernetes' files: `15m`, `8h`, `1h30m`, and `7d`."""

import re
from datetime import timedelta
from typing import Final

_DURATION: Final = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """Read a duration greater than zero.

    Raises:
        ValueError: it is not one.
    """
    match = _DURATION.fullmatch(text)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0, 0)
    duration = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not duration:
        raise ValueError(f"{text!r} is not a duration such as 15m, 8h or 7d")
    return duration


def format_duration(duration: timedelta) -> str:
    """Write a duration so that `parse_duration` reads it back, to the second."""
    rest, parts = int(duration.total_seconds()), []
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, seconds)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"
