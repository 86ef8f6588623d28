"""Which paths the tiles of a log have, and what stands under all others."""

import string
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from running_service import RunningService
from service.logs import log_key, serve_public_log
from service.stranger import Stranger


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve a log of some hundred entries that everybody may read."""
    with serve_public_log(tmp_path_factory.mktemp("public") / "kubemint") as running:
        yield running


@pytest.fixture(scope="module")
def stranger(public: RunningService) -> Stranger:
    """Give somebody without any identity."""
    return Stranger(public, log_key(public))


def test_partial_tiles_of_any_size_that_the_log_had(stranger: Stranger) -> None:
    """A part of a tile must be the beginning of it, also when the tile is full by now."""
    full = stranger.octets("tile/0/001")
    for width in (1, 17, 255):
        assert stranger.octets(f"tile/0/001.p/{width}") == full[: width * 32]
        entries = stranger.octets(f"tile/entries/001.p/{width}")
        assert stranger.octets("tile/entries/001").startswith(entries)


@pytest.mark.parametrize(
    "place",
    ["0/003", "0/002.p/255", "1/000", "1/000.p/3", "2/000.p/1", "63/000", "entries/003", "entries/002.p/255"]
    + [f"{level}/x036/x028/x797/x018/x963/967" for level in ("0", "7", "entries")]  # the last that has a path
    + ["entries/x036/x028/x797/x018/x963/966"],
)
def test_what_the_log_has_not_reached(stranger: Stranger, place: str) -> None:
    """A tile that there is not yet must be a problem of its own, however far away it is."""
    answer = stranger.get(f"tile/{place}")

    assert (answer.status, answer.json()["code"]) == (404, "not-found")


@pytest.mark.parametrize("place", ["0/x036/x028/x797/x018/x963/968", "0/x999/x999/x999/x999/x999/999"])
def test_a_tile_beyond_every_log(stranger: Stranger, place: str) -> None:
    """An index that no tree of 63 bits has must be no path at all."""
    assert stranger.get(f"tile/{place}").json()["code"] == "no-such-path"


@pytest.mark.parametrize(
    "place",
    [
        *("00/000", "64/000", "-1/000", "x/000", "+0/000", "0/0", "0/00", "0/0000", "0/000/", "0/001000"),
        *("0/x000/000", "0/000.p", "0/000.p/", "0/000.p/0", "0/000.p/256", "0/000.p/01", "0/000.p/1/2"),
        *("0/../0/000", "0/000%00", "0/%D9%A0%D9%A0%D9%A0", "entries/0", "entries/000.p/0", "entries/000.p/256"),
        *("%D9%A1/000", "data/000", "0/x001/x234", "0/000%0A"),
    ],
)
def test_what_is_no_path_of_a_tile(public: RunningService, place: str) -> None:
    """A path that tlog-tiles does not write must be an unknown path."""
    answer = public.call("GET", f"/v1/log/tile/{place}")

    assert (answer.status, answer.json()["code"]) == (404, "no-such-path")


def test_garbage_below_tile(public: RunningService) -> None:
    """Whatever stands below `tile/`, the answer must be octets or a 404, and never a fault."""

    @settings(max_examples=150, deadline=None)
    @given(st.text(alphabet=string.hexdigits + "x/.p%-entries", min_size=1, max_size=40))
    def check(place: str) -> None:
        assert public.call("GET", f"/v1/log/tile/{place}").status in {200, 400, 404}

    check()
    assert [line for line in public.log_lines() if line["level"] == "error"] == []
