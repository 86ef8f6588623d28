"""One thing is done at a time; who waits for it learns how it ended, as an exception of its own."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from kubemint.errors import (
    LedgerDamaged,
    LedgerUnavailable,
    RevocationConflict,
    SigningFailed,
)
from kubemint.one_at_a_time import FAILED_SECONDS, OneAtATime

TITLE = "a thing of these tests"
# what is raised, what who waits gets, the code in the log
FAILURES: dict[str, tuple[Exception, type[Exception], str]] = {
    "the ledger is away": (LedgerUnavailable("away"), LedgerUnavailable, "ledger-unavailable"),
    "the ledger is damaged": (LedgerDamaged("away"), LedgerUnavailable, "ledger-unavailable"),
    "the key does not sign": (SigningFailed("away"), SigningFailed, "signing-failed"),
    "an error that is made of more than a message": (
        RevocationConflict("away", ()),
        RuntimeError,
        "revocation-conflict",
    ),
    "an error of nobody's": (ZeroDivisionError("away"), RuntimeError, "internal"),
}


class Watch:
    """A stopwatch that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Give what it was set to."""
        return self.seconds


class Doing:
    """Something to do that counts how often it was done, and ends in the failure that it was given."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.times = 0

    def __call__(self) -> None:
        """Do it."""
        self.times += 1
        if self.failure is not None:
            raise self.failure


def failure_of(ask: Callable[[], None]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is, is for the caller to say
        ask()
    return caught.value


@pytest.mark.parametrize(("failure", "told", "code"), FAILURES.values(), ids=FAILURES)
def test_how_a_failure_is_told(
    caplog: pytest.LogCaptureFixture, failure: Exception, told: type[Exception], code: str
) -> None:
    """Each who asks gets a new exception of a known kind, whose cause is the failure, which is logged once."""
    work, doing = OneAtATime(TITLE, Watch()), Doing(failure)
    with caplog.at_level(logging.ERROR):
        found = [failure_of(lambda: work.renew("x", doing, has_one=False)) for _ in range(3)]
    assert {type(each) for each in found} == {told}
    assert len({id(each) for each in found} | {id(failure)}) == 4
    assert all(each.__cause__ is failure and "away" in str(each) for each in found)
    (line,) = [vars(record) for record in caplog.records]
    assert (line["message"], line["code"]) == (f"{TITLE} not renewed", code)
    assert line["exc_info"][1] is failure
    assert doing.times == 1


def test_a_failure_is_of_its_name_and_its_time(caplog: pytest.LogCaptureFixture) -> None:
    """For a second of the stopwatch it is not tried again, other things are; then it is forgotten."""
    watch, doing, other = Watch(), Doing(LedgerUnavailable("away")), Doing()
    work = OneAtATime(TITLE, watch)
    for _ in range(2):
        assert isinstance(failure_of(lambda: work.renew("x", doing, has_one=False)), LedgerUnavailable)
    work.renew("y", other, has_one=False)
    assert (doing.times, other.times) == (1, 1)
    watch.seconds = FAILED_SECONDS
    doing.failure = None
    work.renew("x", doing, has_one=False)
    work.renew("x", doing, has_one=False)
    assert (doing.times, len(caplog.records)) == (3, 1)


def test_who_has_one_learns_of_no_failure() -> None:
    """It waits for the next, keeps what it has if that fails, and does not have it tried again at once."""
    watch, doing = Watch(), Doing(SigningFailed("away"))
    work = OneAtATime(TITLE, watch)
    for _ in range(3):
        work.renew("x", doing, has_one=True)
    assert doing.times == 1
    watch.seconds = FAILED_SECONDS
    work.renew("x", doing, has_one=True)
    assert doing.times == 2


def test_a_crowd_with_many_wishes() -> None:
    """Never are two things done at once, whatever their names; each is done, and once for several who wait."""
    work = OneAtATime(TITLE, time.monotonic)
    lock, most, done = threading.Lock(), [0, 0], dict.fromkeys(range(4), 0)

    def do(name: int) -> None:
        with lock:
            most[0] += 1
            most[1] = max(most)
        time.sleep(0.005)
        with lock:
            most[0] -= 1
            done[name] += 1

    with ThreadPoolExecutor(16) as crowd:
        for _ in crowd.map(
            lambda number: work.renew(number % 4, lambda: do(number % 4), has_one=False), range(64)
        ):
            pass
    assert most[1] == 1
    assert all(done.values())
    assert sum(done.values()) < 64


def test_no_thread_stays() -> None:
    """A thread ends with what it has done."""
    work = OneAtATime(TITLE, time.monotonic)
    work.renew("x", Doing(), has_one=False)
    deadline = time.monotonic() + 20
    while any(each.name == TITLE for each in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
