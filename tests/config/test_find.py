"""Which configuration counts: what was given, else the variable, else the usual places."""

from contextlib import chdir
from pathlib import Path

import pytest

from kubemint.config import CONFIG_VARIABLE, DEFAULT_PLACES, find_config
from kubemint.errors import ConfigurationError

HERE, SYSTEM = DEFAULT_PLACES


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a folder with a configuration in the usual place."""
    (tmp_path / HERE).parent.mkdir()
    (tmp_path / HERE).touch()
    return tmp_path


def test_what_was_given_comes_first(place: Path) -> None:
    """--config wins over the variable and the usual place, even if it is not there."""
    with chdir(place):
        assert find_config(Path("given.yaml"), {CONFIG_VARIABLE: "variable.yaml"}) == Path("given.yaml")


def test_then_the_variable(place: Path) -> None:
    """KUBEMINT_CONFIG wins over the usual place."""
    with chdir(place):
        assert find_config(None, {CONFIG_VARIABLE: "variable.yaml"}) == Path("variable.yaml")


def test_then_the_usual_place(place: Path) -> None:
    """Without both it is .kubemint/kubemint.yaml here."""
    with chdir(place):
        assert find_config(None, {}) == Path(".kubemint/kubemint.yaml")


def test_the_system_comes_last() -> None:
    """The system's place is looked at after the one here."""
    assert Path("/etc/kubemint/kubemint.yaml") == SYSTEM


def test_there_is_none(tmp_path: Path) -> None:
    """Where there is none, the error names the places, the option and the variable."""
    if SYSTEM.exists():
        pytest.skip(f"{SYSTEM} is on this machine")
    with chdir(tmp_path), pytest.raises(ConfigurationError) as fault:
        find_config(None, {})
    for name in (*map(str, DEFAULT_PLACES), "--config", CONFIG_VARIABLE):
        assert name in fault.value.message
