"""Keys in a file: how it is followed, when it is at fault, and from several threads."""

import json
import logging
import os
import threading
from pathlib import Path

import pytest

from authentication.issuers import key_set, new_key
from kubemint.authentication.file_keys import FileKeys
from kubemint.authentication.jwks import KeySet, parse_key_set
from kubemint.errors import ConfigurationError


def test_a_file_is_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """New keys in the file count at once; a broken file leaves the last good ones and is logged once."""
    file = tmp_path / "keys.json"
    one, two = new_key("one"), new_key("two")
    file.write_bytes(key_set(one))
    keys = FileKeys(file, parse_key_set)
    assert keys.find("one", "ES256") == one.private.public_key()
    assert keys.find("one", "ES256", refused=one.private.public_key()) is None
    file.write_bytes(key_set(two))
    assert (keys.find("one", "ES256"), keys.find("two", "ES256")) == (None, two.private.public_key())
    with caplog.at_level(logging.ERROR):
        file.write_bytes(b"{")
        for _ in range(3):
            assert keys.find("two", "ES256") is not None
        file.unlink()
        assert keys.find("two", "ES256") is not None
    assert len(caplog.records) == 2
    file.write_bytes(key_set(one))
    assert keys.find("two", "ES256") is None


@pytest.mark.parametrize("text", [None, b"{", json.dumps({"keys": 1}).encode()])
def test_a_file_that_is_none_stops_the_start(tmp_path: Path, text: bytes | None) -> None:
    """A missing or broken file is a mistake of the configuration."""
    file = tmp_path / "keys.json"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(ConfigurationError, match=r"keys\.json"):
        FileKeys(file, parse_key_set)


def test_a_fault_of_one_read_is_over_with_the_next(tmp_path: Path) -> None:
    """A file that could not be read once counts when it can be, though it has not changed in between."""
    file, at_fault = tmp_path / "keys.json", [False]
    one, two = new_key("one"), new_key("two")
    file.write_bytes(key_set(one))

    def parse(text: bytes) -> KeySet:
        if at_fault[0]:
            raise OSError("input/output error")
        return parse_key_set(text)

    keys = FileKeys(file, parse)
    file.write_bytes(key_set(two))
    at_fault[0] = True
    assert keys.find("one", "ES256") is not None
    at_fault[0] = False
    assert (keys.find("one", "ES256"), keys.find("two", "ES256")) == (None, two.private.public_key())


def test_a_slow_reader_does_not_bring_old_keys_back(tmp_path: Path) -> None:
    """Of two threads, the one that has read older keys finishes last: the next look is at the newer ones."""
    file = tmp_path / "keys.json"
    sets = [key_set(new_key(name)) for name in ("one", "two", "three")]
    has_read, may_finish = threading.Event(), threading.Event()

    def parse(text: bytes) -> KeySet:
        if text == sets[1]:
            has_read.set()
            assert may_finish.wait(10)
        return parse_key_set(text)

    _replace(file, sets[0])
    keys = FileKeys(file, parse)
    _replace(file, sets[1])
    slow = threading.Thread(target=keys.find, args=("two", "ES256"))
    slow.start()
    assert has_read.wait(10)
    _replace(file, sets[2])
    assert keys.find("three", "ES256") is not None
    may_finish.set()
    slow.join()
    assert (keys.find("two", "ES256"), keys.find("three", "ES256") is not None) == (None, True)


def _replace(file: Path, content: bytes) -> None:
    other = file.with_name("other")
    other.write_bytes(content)
    os.replace(other, file)
