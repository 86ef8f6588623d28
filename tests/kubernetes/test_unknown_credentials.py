"""What is remembered of credentials that API servers show, and how often others are told of."""

import logging
import time

import pytest

from kubemint.kubernetes.unknown_credentials import REMEMBERED_MAX, Alarms, Remembered


def test_what_was_looked_up() -> None:
    """What was found is known from then on, what was not too, and nothing of what was never looked up."""
    remembered = Remembered()
    remembered.remember("good", is_on_record=True)
    remembered.remember("bad", is_on_record=False)
    assert [remembered.is_on_record(each) for each in ("good", "bad", "other")] == [True, False, None]
    remembered.remember("bad", is_on_record=True)
    assert remembered.is_on_record("bad") is True


def test_what_is_not_on_record_pushes_out_nothing_that_is() -> None:
    """Ever new ids make no API server ask the ledger again about those that it knows."""
    remembered = Remembered()
    remembered.remember("good", is_on_record=True)
    for number in range(REMEMBERED_MAX + 10):
        remembered.remember(f"bad-{number}", is_on_record=False)
    assert remembered.is_on_record("good") is True
    assert remembered.is_on_record("bad-0") is None


def test_what_is_remembered_is_bounded() -> None:
    """The oldest makes room."""
    remembered = Remembered()
    for number in range(REMEMBERED_MAX + 10):
        remembered.remember(str(number), is_on_record=True)
    assert [remembered.is_on_record(str(number)) for number in (9, 10)] == [None, True]


def test_a_line_for_each_user(caplog: pytest.LogCaptureFixture) -> None:
    """Who shows a thousand unknown certificates gets one line, and does not hide those of another."""
    alarms = Alarms()
    for number in range(1000):
        alarms.ring("jane", f"X509SHA256={number:064x}")
    alarms.ring("joe", "X509SHA256=" + "ab" * 32)
    lines = [vars(line) for line in caplog.records if line.levelno == logging.CRITICAL]
    assert [(line["user"], line["leftOut"]) for line in lines] == [("jane", 0), ("joe", 0)]


def test_what_was_left_out_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The next line about a user tells how many there were since the last."""
    alarms = Alarms(pause=0.1)
    for _ in range(4):
        alarms.ring("jane", "X509SHA256=" + "ab" * 32)
    time.sleep(0.15)
    alarms.ring("jane", "X509SHA256=" + "cd" * 32)
    lines = [vars(line) for line in caplog.records if line.levelno == logging.CRITICAL]
    assert [line["leftOut"] for line in lines] == [0, 3]
