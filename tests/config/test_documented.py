"""Every setting is in the README, and the README names no setting that is not there."""

import re
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from pathlib import Path

import pytest
from marshmallow import Schema, fields, missing

from config.files import CONFIGURATION
from kubemint.config_schemas import ConfigSchema
from kubemint.durations import format_duration
from kubemint.policy.loader import RequesterSchema

README = Path(__file__).parents[2] / "README.md"


def settings(schema: Schema, prefix: str = "") -> Iterator[tuple[str, fields.Field]]:
    """Give the dotted key of each setting that holds a value, with its field."""
    for name, field in schema.fields.items():
        key = f"{prefix}{field.data_key or name}"
        inner = field.inner if isinstance(field, fields.List) else field
        if isinstance(inner, fields.Nested) and not isinstance(
            inner.schema, RequesterSchema
        ):  # the policy's rules
            yield from settings(inner.schema, f"{key}.")
        else:
            yield key, field


def documented() -> dict[str, str]:
    """Give the rows of the README's table of settings: each key with the rest of its row."""
    table = re.search(r"^\| setting \|.*?(?=\n\n)", README.read_text(), re.MULTILINE | re.DOTALL)
    assert table is not None, "README.md has no table whose first column is called setting"
    rows = [line.strip("| ").split(" | ", 1) for line in table.group().splitlines()[2:]]
    return {key: rest for keys, rest in rows for key in re.findall(r"`([^`]+)`", keys)}


SETTINGS = dict(settings(ConfigSchema()))


@pytest.mark.parametrize("key", SETTINGS)
def test_a_setting_is_documented(key: str) -> None:
    """README.md has a row for the setting, under its dotted key, that says something."""
    assert key in documented()
    assert len(documented()[key]) > 4


def test_nothing_else_is_documented() -> None:
    """A setting that was taken out of the code is taken out of README.md."""
    assert set(documented()) - set(SETTINGS) == set()


@pytest.mark.parametrize("key", [key for key, field in SETTINGS.items() if field.required and key.count(".") < 2])
def test_what_is_required_is_called_so(key: str) -> None:
    """A setting without which the service does not start is marked as required, or its block as none."""
    default = documented()[key].partition(" | ")[0]
    assert "required" in default or key.startswith("cluster.")


@pytest.mark.parametrize("key", [key for key, field in SETTINGS.items() if not callable(field.load_default)])
def test_a_default_is_documented_as_it_is(key: str) -> None:
    """The default that README.md tells is the one that counts."""
    default = SETTINGS[key].load_default
    if default is missing:
        return
    told = documented()[key].partition(" | ")[0].strip("`")
    if isinstance(default, Enum):
        default = default.value
    written = format_duration(default) if isinstance(default, timedelta) else str(default).lower()
    assert told == written


@pytest.mark.parametrize("key", SETTINGS)
def test_a_setting_is_tried(key: str) -> None:
    """The configuration that the tests load has every setting in it, so that none goes untested."""
    place: object = CONFIGURATION
    if key in {"server.plainHttp", "ledger.passwordFile"}:  # cannot stand beside the rest; tried by themselves
        return
    for step in key.split("."):
        place = next(each[step] for each in place if step in each) if isinstance(place, list) else place[step]
    assert place is not None
