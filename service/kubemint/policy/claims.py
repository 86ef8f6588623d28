"""What an authority said about a requester, as rules match on it and as names are filled with it.

A claim is never trusted to be harmless: before it becomes part of a name it is checked for what would
make the name mean more than it shows (a wildcard, a control character, a brace), and a claim that
fails fills nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any, Final

from kubemint.x509.names import name_reasons

_PLACEHOLDER: Final = re.compile(r"\{claims\.([^{}\s*]+)\}")
_NOT_IN_NAMES: Final = frozenset("*{}")
FILLED_MAX: Final = 1000  # patterns that the templates of a list may stand for together


@dataclass(frozen=True, slots=True)
class Pattern:
    """A name with `*` for any run of characters, and `{claims.NAME}` for what a claim says."""

    text: str

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Name the claims that it is filled from."""
        return _placeholders(self.text)

    def matches(self, name: str) -> bool:
        """Tell whether the whole of `name` fits; a placeholder stands for itself here, so fill it first."""
        first, *rest = self.text.split("*")
        if not rest:
            return name == first
        *middle, last = rest
        if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
            return False
        position = len(first)
        for part in middle:
            position = name.find(part, position, len(name) - len(last)) + len(part)
            if position < len(part):
                return False
        return position <= len(name) - len(last)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRule:
    """Matches requesters whose claim has one of the wanted values, or a list that holds one.

    A string is a pattern for the whole of a string; a boolean or a whole number equals itself alone.
    """

    path: str
    wanted: tuple[Pattern | bool | int, ...]

    def matches(self, claims: Mapping[str, Any]) -> bool:
        """Tell whether the claim is there and fits."""
        found = find_claim(claims, self.path)
        values: Sequence[Any] = found if isinstance(found, list | tuple) else (found,)
        return any(_fits(wanted, value) for wanted in self.wanted for value in values)

    @property
    def literals(self) -> tuple[str, ...] | None:
        """The strings that it wants; None if it wants anything else too."""
        texts = [wanted.text for wanted in self.wanted if isinstance(wanted, Pattern) and "*" not in wanted.text]
        return tuple(texts) if len(texts) == len(self.wanted) else None


@dataclass(frozen=True, kw_only=True)
class Filled:
    """The patterns that some templates stand for, and why others could not be filled."""

    patterns: tuple[Pattern, ...]
    problems: tuple[str, ...]

    def allow(self, name: str) -> bool:
        """Tell whether one of the patterns fits a name."""
        return name in self._exact or any(pattern.matches(name) for pattern in self._wide)

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(pattern.text for pattern in self.patterns if "*" not in pattern.text)

    @cached_property
    def _wide(self) -> tuple[Pattern, ...]:
        return tuple(pattern for pattern in self.patterns if "*" in pattern.text)


def find_claim(claims: Mapping[str, Any], path: str) -> Any:
    """Give a claim by its name or, where no claim has that name, by its path with dots; None if there is none."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for step in path.split("."):
        if not isinstance(found, Mapping) or step not in found:
            return None
        found = found[step]
    return found


def fill(templates: Sequence[Pattern], claims: Mapping[str, Any]) -> Filled:
    """Put claims into templates. A claim with several values gives a pattern for each."""
    patterns: list[Pattern] = []
    problems: list[str] = []
    for template in templates:
        if not template.placeholders:
            patterns.append(template)
            continue
        texts, found_problems = _fill_one(template, claims, FILLED_MAX - len(patterns))
        patterns += map(Pattern, texts)
        problems += found_problems
    return Filled(patterns=tuple(patterns), problems=tuple(problems))


def _fill_one(template: Pattern, claims: Mapping[str, Any], most: int) -> tuple[list[str], list[str]]:
    values: list[list[str]] = []
    problems: list[str] = []
    for name in template.placeholders:
        usable, unusable = _usable_values(name, find_claim(claims, name))
        values.append(usable)
        problems += unusable
    texts: list[str] = []
    literal = _PLACEHOLDER.split(template.text)[::2]
    for chosen in product(*values):
        if len(texts) >= most:
            problems.append(f"{template.text!r} stands for more than {FILLED_MAX} names")
            break
        texts.append("".join(part for pair in zip(literal, (*chosen, ""), strict=True) for part in pair))
    return texts, problems


def _usable_values(name: str, value: Any) -> tuple[list[str], list[str]]:
    if value is None:
        return [], [f"the claim {name!r} is missing"]
    usable: list[str] = []
    problems: list[str] = []
    for item in value if isinstance(value, list | tuple) else (value,):
        if not isinstance(item, str):
            problems.append(f"the claim {name!r} is not text")
        elif _NOT_IN_NAMES.intersection(item) or any(name_reasons(item, "")):
            problems.append(f"the claim {name!r} holds what no name may hold: {item[:80]!r}")
        else:
            usable.append(item)
    return usable, problems


def _fits(wanted: Pattern | bool | int, value: Any) -> bool:
    if isinstance(wanted, Pattern):
        return isinstance(value, str) and wanted.matches(value)
    return type(value) is type(wanted) and value == wanted  # True is no 1


@lru_cache(maxsize=4096)
def _placeholders(text: str) -> tuple[str, ...]:
    return tuple(_PLACEHOLDER.findall(text))


def template_problem(text: str) -> str | None:
    """Say what is wrong with the braces of a template; None if nothing is."""
    if _NOT_IN_NAMES.intersection(_PLACEHOLDER.sub("", text)) - {"*"}:
        return f"{text!r} has a brace that is not part of a {{claims.NAME}}."
    return None
