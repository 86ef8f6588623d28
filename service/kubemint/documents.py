"""YAML and JSON, read strictly: what two readers could read differently is refused.

Duplicate keys are refused (the last one would win in silence), and so are aliases (a few lines can
stand for gigabytes), tags, several documents in one, NaN, and depth without end.
"""

import json
import math
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml

from kubemint.errors import ConfigurationError, InvalidDocument


def read_file(file: Path) -> bytes:
    """Read a file that the configuration names.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the path
        cause = fault.strerror if isinstance(fault, OSError) else str(fault)
        raise ConfigurationError(str(file), [f"cannot be read: {cause}"]) from None


def load_yaml_file(file: Path) -> Any:
    """Read a file of one YAML document.

    Raises:
        ConfigurationError: it cannot be read, or is not YAML that means one thing.
    """
    try:
        return parse_yaml(read_file(file))
    except InvalidDocument as fault:
        raise ConfigurationError(str(file), [fault.message]) from None


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
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as fault:
        raise InvalidDocument(f"not YAML in UTF-8: {_first_line(fault)}") from None


class DocumentLines:
    """Knows on which line of a YAML document a value stands; for messages, so the text need not be right.

    A path is keys and places in lists, joined by dots, as `kubemint.fields.problem_lines` gives it. Keys may
    hold dots themselves: the longest that fits is taken.
    """

    def __init__(self, text: bytes) -> None:
        try:
            self._root = yaml.compose(text.decode("utf-8"), Loader=_StrictLoader)
        except (yaml.YAMLError, ValueError, RecursionError):
            self._root = None

    def line_of(self, path: str) -> int:
        """Give the line, from 1, of the value at a path, else of the last step to it that is there."""
        node, line = self._root, 1
        steps = path.split(".") if path else []
        while steps and node is not None:
            found = next(filter(None, (_child(node, steps[:count]) for count in range(len(steps), 0, -1))), None)
            if found is None:
                break
            line, node, taken = found
            steps = steps[taken:]
        return line


def _child(node: yaml.Node, steps: list[str]) -> tuple[int, yaml.Node, int] | None:
    """Give line and value of one member, and how many steps its key is."""
    name = ".".join(steps)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == name:
                return key.start_mark.line + 1, value, len(steps)
    if isinstance(node, yaml.SequenceNode) and name.isdecimal() and int(name) < len(node.value):
        item = node.value[int(name)]
        return item.start_mark.line + 1, item, 1
    return None


def parse_json(text: bytes) -> Any:
    """Read one JSON value (RFC 8259, with the unique names of its section 4).

    Raises:
        InvalidDocument: it is not JSON, or an object names a member twice.
    """
    try:
        return _JSON.decode(text.decode("utf-8"))
    except (ValueError, RecursionError) as fault:
        raise InvalidDocument(f"not JSON: {_first_line(fault)}") from None


class _StrictLoader(yaml.SafeLoader):
    """A SafeLoader without aliases and without repeated keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # PyYAML's stub has no types here
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        tagged = self.peek_event()  # type: ignore[no-untyped-call]  # the same
        if getattr(tagged, "tag", None) is not None:
            raise yaml.MarkedYAMLError(problem="tags are not allowed", problem_mark=tagged.start_mark)
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
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):  # 1 and 01, yes and on: the same key, written in two ways
            raise yaml.MarkedYAMLError(problem="a key is repeated", problem_mark=node.start_mark)
        return mapping

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        number: float = super().construct_yaml_float(node)
        if not math.isfinite(number):
            raise yaml.MarkedYAMLError(problem="not a finite number", problem_mark=node.start_mark)
        return number


_StrictLoader.add_constructor("tag:yaml.org,2002:float", _StrictLoader.construct_yaml_float)


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for name, value in members:
        name.encode("utf-8")  # half of a surrogate pair is a ValueError
        if name in unique:
            raise ValueError(f"member {name[:80]!r} is repeated")
        unique[name] = value
    return unique


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:80]} is out of range")
    return number


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _first_line(fault: BaseException) -> str:
    return (str(fault) or type(fault).__name__).splitlines()[0][:200]


_JSON: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
