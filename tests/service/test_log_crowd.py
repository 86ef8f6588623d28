"""Many who ask for entries of a public log at once: few are served at a time, and nobody waits for long."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kubemint.errors import LedgerUnavailable
from kubemint.web.turns import Turns
from running_service import RunningService
from service.logs import serve_public_log

pytestmark = pytest.mark.alone
CROWD = 24


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve a log of some hundred entries that everybody may read."""
    with serve_public_log(tmp_path_factory.mktemp("public") / "kubemint") as running:
        yield running


def test_a_crowd_gets_entries_or_is_told_to_come_back(public: RunningService) -> None:
    """Of many at once each gets the entries, or 503 with Retry-After; whoever comes back gets them."""
    with ThreadPoolExecutor(CROWD) as pool:
        path = "/v1/log/tile/entries/000"
        answers = list(pool.map(lambda _: public.call("GET", path), range(CROWD * 4)))
    expected = public.call("GET", path)
    assert expected.status == 200
    for answer in answers:
        if answer.status == 200:
            assert answer.body == expected.body
        else:
            assert (answer.status, answer.json()["code"]) == (503, "ledger-unavailable")
            assert answer.headers["Retry-After"]
    assert any(answer.status == 200 for answer in answers)


def test_turns_are_few() -> None:
    """Whoever finds every place taken waits as long as was said and is refused; one that was left serves again."""
    turns = Turns(places=2, wait_seconds=0.2)
    with turns.turn():
        with turns.turn():
            began = time.monotonic()
            with pytest.raises(LedgerUnavailable), turns.turn():
                pytest.fail("a third had a turn")
            assert time.monotonic() - began >= 0.2
        with pytest.raises(ZeroDivisionError):
            _fail(turns)
        with turns.turn():
            pass


def _fail(turns: Turns) -> None:
    with turns.turn():
        raise ZeroDivisionError
