"""YAML and JSON, read strictly: what two readers could read differently is refused.

Duplicate keys are refused (the last one would win in silence), and so are aliases (a few lines can
stand for gigabytes), tags, several documents in one, NaN, and depth without end.
"""

import json
from typing import Any

import yaml

from kubemint.errors import InvalidDocument


def parse_yaml(text: bytes) -> Any:
    """Read one YAML document.

    Raises:
        InvalidDocument: it is not YAML, or not YAML that means one thing; the message names the line.
    """
    try:
        return yaml.load(text.decode("utf-8"), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader with fewer powers
    except yaml.MarkedYAMLError as fault:
        line = f"line {fault.problem_mark.line + 1}: " if fault.problem_mark else ""
        raise InvalidDocument(f"{line}{fault.problem or fault.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        raise InvalidDocument(f"not YAML in UTF-8: {_first_line(fault)}") from None


def parse_json(text: bytes) -> Any:
    """Read one JSON value (RFC 8259, with the unique names of its section 4).

    Raises:
        InvalidDocument: it is not JSON, or an object names a member twice.
    """
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as fault:
        raise InvalidDocument(f"not JSON: {_first_line(fault)}") from None


class _StrictLoader(yaml.SafeLoader):
    """A SafeLoader without aliases and without repeated keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # PyYAML's stub has no types here
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen or key.tag.endswith(":merge"):
                raise yaml.MarkedYAMLError(
                    problem=f"key {str(key.value)[:80]!r} is repeated, or no plain key",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(members)
    if len(unique) != len(members):
        names = [name for name, _ in members]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"member {repeated[:80]!r} is repeated")
    return unique


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _first_line(fault: BaseException) -> str:
    return (str(fault) or type(fault).__name__).splitlines()[0][:200]
