"""Keys from a real HTTPS issuer: rotation, outages, and clients that invent key ids."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from authentication.fetching import HURRIED, eventually, fetches, has, keys_of, took
from authentication.issuers import DISCOVERY, IssuerServer, key_set, new_key, serving
from kubemint.authentication.remote_keys import WAITING_MAX, FetchTimes
from kubemint.errors import IdentityUnavailable

ONE, TWO = new_key("one"), new_key("two")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[IssuerServer]:
    """Run an issuer with one key."""
    with serving(tmp_path) as server:
        server.keys = key_set(ONE)
        yield server


def test_the_first_token_waits_for_the_keys(server: IssuerServer) -> None:
    """Nothing is fetched before the first use; then discovery and keys, once."""
    before = fetches("good")
    with keys_of(server, HURRIED) as keys:
        assert server.asked == []
        assert all(has(keys, "one") for _ in range(50))
        assert [path for _, path in server.asked][:2] == [DISCOVERY, "/jwks"]
        assert server.asked_for(DISCOVERY) == 1
    assert fetches("good") > before
    last_good = REGISTRY.get_sample_value("kubemint_oidc_last_good_fetch_timestamp_seconds", {"issuer": "corp"})
    assert abs(last_good - time.time()) < 5


def test_keys_can_be_fetched_ahead(server: IssuerServer) -> None:
    """Started, the keys are there before the first token is."""
    with keys_of(server) as keys:
        keys.start()
        eventually(lambda: server.asked_for() == 1)


def test_a_rotated_key_is_served_within_a_second(server: IssuerServer) -> None:
    """A token signed with a new key is accepted within a second of being shown, with the service's own times."""
    with keys_of(server) as keys:
        eventually(lambda: has(keys, "one"))
        server.keys = key_set(TWO)
        shown = time.monotonic()
        eventually(lambda: has(keys, "two"))
        assert time.monotonic() - shown < 1.5  # a second, and the machine's own pace
        assert not has(keys, "one")


def test_a_rotated_key_is_waited_for(server: IssuerServer) -> None:
    """Where the last fetch is a while ago, the very first token of the new key is accepted."""
    with keys_of(server, HURRIED) as keys:
        assert has(keys, "one")
        time.sleep(HURRIED.pause)
        server.keys = key_set(TWO)
        assert has(keys, "two")


def test_a_key_replaced_under_its_id(server: IssuerServer) -> None:
    """A key that did not verify starts a fetch too: issuers without key ids rotate as well."""
    with keys_of(server, HURRIED) as keys:
        old = keys.find(None, "ES256")
        time.sleep(HURRIED.pause)
        assert keys.find(None, "ES256", refused=old) is None
        server.keys = key_set(new_key("one"))
        eventually(lambda: keys.find(None, "ES256", refused=old) is not None)


def test_invented_key_ids_do_not_hammer(server: IssuerServer) -> None:
    """Two hundred invented ids cost the issuer one fetch a second at most, and nobody else anything."""
    with keys_of(server) as keys:
        eventually(lambda: has(keys, "one"))
        start = time.monotonic()
        threads = [
            threading.Thread(target=lambda n=n: [has(keys, f"x{n}-{m}") for m in range(25)]) for n in range(8)
        ]
        for thread in threads:
            thread.start()
        longest = max(took(lambda: has(keys, "one")) for _ in range(200))
        for thread in threads:
            thread.join()
        elapsed = time.monotonic() - start
        assert server.asked_for() <= 2 + elapsed
        starts = [at for at, path in server.asked if path == "/jwks"]
        assert all(later - earlier > 0.8 for earlier, later in pairwise(starts))
        assert longest < 0.4


def test_few_wait_at_a_time(server: IssuerServer) -> None:
    """Four threads wait for an issuer; the fifth is refused at once."""
    with keys_of(server, FetchTimes(pause=0.1)) as keys:
        eventually(lambda: has(keys, "one"))
        time.sleep(0.2)
        server.answer = server.hang
        times: list[float] = []
        threads = [
            threading.Thread(target=lambda n=n: times.append(took(lambda: has(keys, f"x{n}")))) for n in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(1 for seconds in times if seconds > 0.3) == WAITING_MAX
        assert max(times) < 0.9


def test_an_issuer_that_is_down(server: IssuerServer) -> None:
    """Its known keys go on, nobody waits for it, and it is found again when it is back with other keys."""
    before = fetches("unreachable")
    with keys_of(server, HURRIED) as keys:
        assert has(keys, "one")
        server.stop()
        has(keys, "two")
        eventually(lambda: fetches("unreachable") > before)
        assert has(keys, "one")
        assert took(lambda: [has(keys, f"x{number}") for number in range(20)]) < 0.4
        server.keys = key_set(TWO)
        server.start()
        eventually(lambda: has(keys, "two"))
        assert not has(keys, "one")


def test_old_keys_are_not_good_for_ever(server: IssuerServer) -> None:
    """Max stale after the last good fetch, tokens are refused; a good fetch ends that."""
    with keys_of(server, HURRIED, max_stale=timedelta(seconds=1)) as keys:
        assert has(keys, "one")
        server.stop()
        assert has(keys, "one")
        eventually(lambda: not has(keys, "one"))
        server.start()
        eventually(lambda: has(keys, "one"))


def test_without_keys_nothing_can_be_told(server: IssuerServer) -> None:
    """Before the first good fetch, and when the last is too old, a token is neither good nor bad: try again."""
    server.stop()
    with keys_of(server, HURRIED, max_stale=timedelta(seconds=1)) as keys:
        with pytest.raises(IdentityUnavailable):
            keys.find("one", "ES256")
        server.start()
        eventually(lambda: has(keys, "one"))
        assert keys.find("another", "ES256") is None
        server.stop()
        eventually(lambda: not has(keys, "one"))
        with pytest.raises(IdentityUnavailable):
            keys.find("one", "ES256")


def test_keys_are_refreshed_unasked(server: IssuerServer) -> None:
    """A key that the issuer withdrew stops counting without any token that names another."""
    with keys_of(server, FetchTimes(refresh=0.3, pause=0.1)) as keys:
        eventually(lambda: has(keys, "one"))
        server.keys = key_set()
        eventually(lambda: not has(keys, "one"))


@pytest.mark.parametrize("kind", ["after the request", "before the handshake"])
def test_an_issuer_that_hangs(server: IssuerServer, kind: str) -> None:
    """It delays its own new keys alone: half a second once, then nobody waits; known keys are never late."""
    with keys_of(server, FetchTimes(pause=0.1, deadline=2.0)) as keys:
        eventually(lambda: has(keys, "one"))
        time.sleep(0.2)
        if kind == "after the request":
            server.answer = server.hang
        else:
            server.stop()
            silent = socket.create_server(("127.0.0.1", int(server.issuer.rpartition(":")[2])))
        assert took(lambda: has(keys, "x")) < 0.8
        assert took(lambda: [has(keys, f"x{number}") for number in range(20)]) < 0.4
        assert max(took(lambda: has(keys, "one")) for _ in range(20)) < 0.4
        if kind == "before the handshake":
            silent.close()
            server.start()


def test_one_that_hangs_blocks_no_other(server: IssuerServer, tmp_path: Path) -> None:
    """While one issuer hangs, the keys of another come as they always do."""
    with serving(tmp_path, "other") as other:
        other.keys = key_set(TWO)
        server.answer = server.hang
        with keys_of(server) as hanging, keys_of(other, name="other") as well:
            threads = [threading.Thread(target=has, args=(hanging, f"x{number}")) for number in range(8)]
            for thread in threads:
                thread.start()
            assert took(lambda: has(well, "two")) < 1.0
            eventually(lambda: has(well, "two"))
            for thread in threads:
                thread.join()


def test_after_a_fork_the_child_fetches_for_itself(server: IssuerServer) -> None:
    """Keys that were used before a fork are fetched again after it: threads do not come along."""
    with keys_of(server, HURRIED) as keys:
        assert has(keys, "one")
        server.keys = key_set(TWO)
        time.sleep(HURRIED.pause)
        child = os.fork()
        if child == 0:
            os._exit(0 if has(keys, "two") else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_closed_it_fetches_no_more(server: IssuerServer) -> None:
    """After close the thread ends and starts no other."""
    with keys_of(server, FetchTimes(refresh=0.1, pause=0.1)) as keys:
        eventually(lambda: has(keys, "one"))
        keys.close()
        eventually(lambda: not any(thread.name == "keys of corp" for thread in threading.enumerate()))
        asked = server.asked_for()
        has(keys, "two")
        time.sleep(0.3)
        assert server.asked_for() == asked


def test_the_first_keys_are_waited_for(server: IssuerServer) -> None:
    """Who starts before it serves has keys for whoever comes first; an issuer that hangs is not waited for."""
    with keys_of(server) as keys:
        keys.start()
        keys.await_first(time.monotonic() + 5)
        assert took(lambda: has(keys, "one")) < 0.1
    server.answer = server.hang
    with keys_of(server) as keys:
        keys.start()
        assert 0.2 <= took(lambda: keys.await_first(time.monotonic() + 0.3)) < 1.0
