"""marshmallow fields and helpers that the files and the API share: one type a concept, strict all through.

A schema made of these refuses unknown keys, and its errors are flattened to one line a mistake, each
with the path of the value (promise P6).
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from kubemint.durations import format_duration, parse_duration


class StrictSchema(Schema):
    """A schema that refuses what it does not know."""

    class Meta:
        """marshmallow's options."""

        unknown = RAISE


class Text(fields.String):
    """A string that is not empty; numbers and booleans are not turned into one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.validators[:0] = [validate.Length(min=1, error="Must not be empty."), _check_unicode]


def _check_unicode(text: str) -> None:
    """JSON can write half of a surrogate pair, which no UTF-8 can, and NUL, which databases do not keep."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValidationError("Must be Unicode text.") from None
    if "\x00" in text:
        raise ValidationError("Must not contain NUL.")


class Duration(fields.Field[timedelta]):
    """A length of time such as `15m`."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> timedelta:
        if not isinstance(value, str):
            raise ValidationError("Must be a duration such as 15m, 8h or 7d.")
        try:
            return parse_duration(value)
        except ValueError as fault:
            raise ValidationError(str(fault)) from None

    def _serialize(self, value: timedelta | None, *_: Any, **__: Any) -> str | None:
        return None if value is None else format_duration(value)


class NamedEntries(fields.Dict):
    """A mapping from names to objects, whose errors have the path of the name and nothing between."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> Any:
        try:
            return super()._deserialize(value, attr, data, **options)  # type: ignore[no-untyped-call]  # marshmallow's own
        except ValidationError as fault:
            if isinstance(fault.messages, dict):
                entries = {
                    name: parts.get("value", parts.get("key")) if isinstance(parts, dict) else parts
                    for name, parts in fault.messages.items()
                }
                raise ValidationError(entries) from None
            raise


def problem_lines(messages: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Flatten marshmallow's nested messages to pairs of path and sentence."""
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            step = "" if key == "_schema" else str(key)
            yield from problem_lines(inner, ".".join(filter(None, (path, step))))
    elif isinstance(messages, list):
        for inner in messages:
            yield from problem_lines(inner, path)
    else:
        yield path, str(messages)
