"""Service account tokens by TokenReview: what is believed, what is refused, and what is not known."""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from authentication.api_servers import AUDIENCE, ISSUER, PlayedApiServer, review, says, token, write_kubeconfig
from authentication.certificates import client_ca
from kubemint.authentication import Evidence
from kubemint.authentication.kubernetes import KubernetesAuthenticator, KubernetesCluster, Review
from kubemint.errors import ConfigurationError, IdentityUnavailable, NotAuthenticated
from kubemint.requester import Method, Requester

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
GOOD = token(NOW)
CREDENTIAL = "the-services-own"
LOGGER = "kubemint"


class Door:
    """An authenticator of one cluster, its clock, and the API server that it asks."""

    def __init__(self, server: PlayedApiServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.seconds = 1000.0
        self.cluster = self.reached_by(server.url, server.ca)
        self.authenticator = KubernetesAuthenticator((self.cluster,), lambda: self.seconds, {})

    def reached_by(self, url: str, ca: Any, **cluster: Any) -> KubernetesCluster:
        """Give the cluster with a new kubeconfig."""
        file = write_kubeconfig(self.folder / "kubeconfig", url, ca, {"token": CREDENTIAL}, **cluster)
        return KubernetesCluster(name="lab", issuer=ISSUER, audience=AUDIENCE, review=Review(kubeconfig=file))

    def ask(self, shown: str = GOOD, now: datetime = NOW) -> Requester | None:
        """Show a token."""
        return ask(self.authenticator, f"Bearer {shown}", now)


def ask(way: KubernetesAuthenticator, header: str | None, now: datetime = NOW) -> Requester | None:
    """Show an Authorization header."""
    return way.authenticate(Evidence(authorization=header, client_certificate_der=None), now)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PlayedApiServer]:
    """Give a server that plays an API server."""
    with PlayedApiServer(tmp_path) as running:
        yield running


@pytest.fixture
def door(server: PlayedApiServer, tmp_path: Path) -> Door:
    """Give a door whose API server accepts all."""
    return Door(server, tmp_path)


def test_an_accepted_token_proves_its_account(door: Door) -> None:
    """The requester is what the API server says, and the evidence tells which token, not the token."""
    requester = door.ask()
    assert requester is not None
    assert (requester.method, requester.authority) == (Method.KUBERNETES, "lab")
    assert requester.identity == "kubernetes:lab:shop:deployer"
    assert dict(requester.claims) == {
        "namespace": "shop",
        "name": "deployer",
        "uid": "u-1",
        "pod": "web-0",
        "podUid": "p-1",
        "node": "node-7",
    }
    assert requester.evidence.startswith("token sha256:")
    assert len(requester.evidence) == len("token sha256:") + 16
    assert GOOD not in repr(requester)


def test_the_api_server_is_asked_for_our_audience(door: Door) -> None:
    """One POST with the token and our audience, by this service's own credentials."""
    door.ask()
    [asked] = door.server.asked
    assert asked.line == "POST /apis/authentication.k8s.io/v1/tokenreviews HTTP/1.1"
    assert asked.headers["Authorization"] == f"Bearer {CREDENTIAL}"
    assert asked.document["spec"] == {"token": GOOD, "audiences": [AUDIENCE]}


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer opaque",
        "Bearer a.b.c",
        f"Basic {GOOD}",
        GOOD,
        f"Bearer {token(NOW, iss='https://elsewhere')}",
        f"Bearer {token(NOW, iss=ISSUER + '/')}",
        f"Bearer {token(NOW, iss=None)}",
        f"Bearer {token(NOW, padding='x' * 16384)}",
    ],
    ids=range(11),
)
def test_what_names_no_cluster_of_ours_is_not_ours(door: Door, header: str | None) -> None:
    """No bearer token, no JWT, another issuer, or too long to be read: None, and no API server sees it."""
    assert ask(door.authenticator, header) is None
    assert not door.server.asked


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(door: Door, scheme: str) -> None:
    """The scheme's case says nothing (RFC 9110 11.1)."""
    assert ask(door.authenticator, f"{scheme} {GOOD}") is not None


@pytest.mark.parametrize("exp", [None, True, "2099", int(NOW.timestamp()), int(NOW.timestamp()) - 1, -1])
def test_a_token_without_an_end_or_past_it_is_not_sent(door: Door, exp: Any) -> None:
    """An expired token, and one that has no expiry as those of Secrets, is refused with no call."""
    with pytest.raises(NotAuthenticated):
        door.ask(token(NOW, exp=exp))
    assert not door.server.asked


def test_a_remembered_token_ends_at_its_expiry(door: Door) -> None:
    """The cache holds no token beyond its own end."""
    soon = token(NOW, exp=int(NOW.timestamp()) + 5)
    assert door.ask(soon) is not None
    with pytest.raises(NotAuthenticated):
        door.ask(soon, NOW + timedelta(seconds=5))


def test_a_yes_is_remembered_for_ten_seconds(door: Door) -> None:
    """Within ten seconds the API server is asked once, after them anew."""
    for elapsed, times in ((0, 1), (9.9, 1), (0.1, 2), (5, 2)):
        door.seconds += elapsed
        assert door.ask() is not None
        assert len(door.server.asked) == times


def test_so_many_are_remembered_and_no_more(door: Door) -> None:
    """A new token takes the place of the one that was remembered first."""
    way = KubernetesAuthenticator((door.cluster,), lambda: door.seconds, {}, reviews_kept=2)
    first, second, third = (token(NOW, jti=str(number)) for number in range(3))
    for shown, times in ((first, 1), (second, 2), (first, 2), (third, 3), (second, 3), (first, 4)):
        assert ask(way, f"Bearer {shown}") is not None
        assert len(door.server.asked) == times


def test_a_no_is_not_remembered(door: Door) -> None:
    """A token that the API server refused is asked about anew, and so is one that could not be judged."""
    for play, fault in ((says(review(authenticated=False)), NotAuthenticated), (says({}), IdentityUnavailable)):
        door.server.play = play
        with pytest.raises(fault):
            door.ask()
    door.server.play = says(review())
    assert door.ask() is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"authenticated": False, "error": "token has expired"},
        {"authenticated": "true"},
        {"authenticated": 1},
        {"authenticated": None},
        {"audiences": None},
        {"audiences": []},
        {"audiences": ["https://kubernetes.default.svc"]},
        {"audiences": AUDIENCE},
        {"audiences": [AUDIENCE.upper()]},
        {"user": None},
        {"user": []},
        {"user": {"username": "system:serviceaccount:shop:deployer"}},
        {"user": {"username": "system:serviceaccount:shop:deployer", "uid": ""}},
        {"user": {"username": "system:serviceaccount:shop:deployer", "uid": 1}},
        {"user": {"username": "system:serviceaccount:shop:deployer", "uid": "u", "extra": ["x"]}},
    ],
)
def test_what_the_api_server_does_not_confirm_is_refused(door: Door, changed: dict[str, Any]) -> None:
    """Authenticated, for our audience, and with a uid: a server that ignores audiences is not believed."""
    door.server.play = says(review(**changed))
    with pytest.raises(NotAuthenticated, match=r"^The bearer token is not valid\.$"):
        door.ask()


@pytest.mark.parametrize(
    "username",
    [
        None,
        1,
        "",
        "jane",
        "system:admin",
        "system:node:shop",
        "system:serviceaccount:shop",
        "system:serviceaccount:shop:",
        "system:serviceaccount::deployer",
        "system:serviceaccount:shop:deployer:x",
        "system:serviceaccount:shop:Deployer",
        "system:serviceaccount:shop.x:deployer",
        "system:serviceaccount:shop:deployer\n",
        "system:serviceaccount:shop:-deployer",
        "system:serviceaccount:shop:a..b",
        "system:serviceaccount:shop:*",
        "system:serviceaccount:shop:dеployer",  # Cyrillic
        f"system:serviceaccount:{'a' * 64}:deployer",
        f"system:serviceaccount:shop:{'a' * 254}",
        " system:serviceaccount:shop:deployer",
    ],
)
def test_who_is_no_service_account_is_refused(door: Door, username: Any) -> None:
    """Users, nodes and names that Kubernetes does not allow are nobody here."""
    door.server.play = says(review(user={"username": username, "uid": "u-1"}))
    with pytest.raises(NotAuthenticated):
        door.ask()


@pytest.mark.parametrize("values", [None, [], ["a", "b"], "web-0", [1], [""]])
def test_a_pod_that_is_not_one_name_is_left_out(door: Door, values: Any) -> None:
    """What the API server does not say plainly is not claimed."""
    extra = {"authentication.kubernetes.io/pod-name": values}
    user = {"username": "system:serviceaccount:shop:deployer", "uid": "u-1", "extra": extra}
    door.server.play = says(review(user=user))
    requester = door.ask()
    assert requester is not None
    assert set(requester.claims) == {"namespace", "name", "uid"}


@pytest.mark.parametrize("status", [200, 201])
def test_both_statuses_of_success(door: Door, status: int) -> None:
    """A create answers 201, and some proxies 200."""
    door.server.play = says(review(), status)
    assert door.ask() is not None


@pytest.mark.parametrize("status", [101, 202, 204, 299, 300, 304, 400, 401, 403, 404, 429, 500, 502, 503, 599])
def test_another_status_is_not_a_no(door: Door, status: int) -> None:
    """Whatever else the API server answers, nothing is known of the token, though the body say yes."""
    door.server.play = says(review(), status)
    with pytest.raises(IdentityUnavailable):
        door.ask()


@pytest.mark.parametrize(("status", "mend"), [(401, "credentials"), (403, "system:auth-delegator")])
def test_the_log_says_what_to_mend(door: Door, caplog: pytest.LogCaptureFixture, status: int, mend: str) -> None:
    """Where the service may not ask, the operator learns what is missing."""
    door.server.play = says({"kind": "Status"}, status)
    with caplog.at_level(logging.INFO, LOGGER), pytest.raises(IdentityUnavailable):
        door.ask()
    [record] = caplog.records
    assert (record.levelname, record.cluster) == ("ERROR", "lab")
    assert mend in record.mend


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(door: Door, tmp_path: Path, status: int) -> None:
    """The token goes to the API server and to nobody whom it names."""
    (tmp_path / "other").mkdir()
    with PlayedApiServer(tmp_path / "other") as other:
        door.server.play = says(b"", status, Location=f"{other.url}/apis")
        with pytest.raises(IdentityUnavailable):
            door.ask()
        assert not other.asked
    assert len(door.server.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no JSON",
        b"[]",
        b"null",
        b'{"kind": "TokenReview"}',
        b'{"kind": "TokenReview", "status": []}',
        b'{"kind": "Status", "status": {"authenticated": true}}',
        b'{"kind": "TokenReview", "status": {"authenticated": false, "authenticated": true}}',
        b'{"kind": "TokenReview", "status": {}}' + b" " * 1024 * 1024,
        b"[" * 100_000,
    ],
    ids=range(10),
)
def test_an_answer_that_is_no_review_is_not_a_no(door: Door, answer: bytes) -> None:
    """Another document, two readings of one, or more than a mebibyte: nothing is known of the token."""
    door.server.play = says(answer)
    with pytest.raises(IdentityUnavailable):
        door.ask()


@pytest.mark.parametrize(
    "spoken", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 201 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
)
def test_what_is_no_http_is_not_a_no(door: Door, spoken: bytes) -> None:
    """A connection that ends early, or speaks something else."""
    door.server.play = lambda connection: connection.sendall(spoken)
    with pytest.raises(IdentityUnavailable):
        door.ask()


@pytest.mark.parametrize("slow", ["hang", "drip", "drip_body"])
def test_a_slow_api_server_is_given_three_seconds(door: Door, slow: str) -> None:
    """Silence, and an answer that comes byte by byte, end at the same time."""
    door.server.play = getattr(door.server, slow)
    started = time.monotonic()
    with pytest.raises(IdentityUnavailable):
        door.ask()
    assert 2.5 < time.monotonic() - started < 4


def test_a_handshake_that_hangs_is_given_three_seconds(door: Door) -> None:
    """A peer that accepts the connection and never speaks TLS."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        door.reached_by(f"https://127.0.0.1:{silent.getsockname()[1]}", door.server.ca)
        started = time.monotonic()
        with pytest.raises(IdentityUnavailable):
            door.ask()
    assert 2.5 < time.monotonic() - started < 4


def test_one_hanging_cluster_holds_four_and_nobody_else(door: Door, tmp_path: Path) -> None:
    """The fifth who asks is told at once; another cluster answers meanwhile; then all is as before."""
    (tmp_path / "healthy").mkdir()
    with PlayedApiServer(tmp_path / "healthy") as healthy:
        file = write_kubeconfig(tmp_path / "healthy/kubeconfig", healthy.url, healthy.ca, {"token": "x"})
        other = KubernetesCluster(
            name="other", issuer="https://other", audience=AUDIENCE, review=Review(kubeconfig=file)
        )
        way = KubernetesAuthenticator((door.cluster, other), environment={})
        door.server.play = door.server.hang
        waiting = [threading.Thread(target=_ask_in_vain, args=(way,)) for _ in range(4)]
        for thread in waiting:
            thread.start()
        _wait_for(lambda: len(door.server.asked) == 4)
        started, busy = time.monotonic(), sample("kubemint_token_reviews_total", outcome="busy")
        with pytest.raises(IdentityUnavailable):
            ask(way, f"Bearer {GOOD}")
        assert sample("kubemint_token_reviews_total", outcome="busy") == busy + 1
        assert ask(way, f"Bearer {token(NOW, iss='https://other')}") is not None
        assert time.monotonic() - started < 1
        for thread in waiting:
            thread.join(10)
        door.server.play = says(review())
        assert ask(way, f"Bearer {GOOD}") is not None


def _ask_in_vain(way: KubernetesAuthenticator) -> None:
    with pytest.raises(IdentityUnavailable):
        ask(way, f"Bearer {GOOD}")


def _wait_for(condition: Any) -> None:
    give_up = time.monotonic() + 2
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_server_of_another_ca_is_not_asked(door: Door) -> None:
    """The certificate is verified before anything is sent, and an own CA counts, not the system's."""
    door.reached_by(door.server.url, client_ca("cluster CA", datetime.now(UTC)))
    with pytest.raises(IdentityUnavailable):
        door.ask()
    assert not door.server.asked


def test_a_server_of_another_name_is_not_asked(door: Door) -> None:
    """A certificate of the right CA for another host is the wrong one."""
    door.reached_by(door.server.url, door.server.ca, **{"tls-server-name": "10.0.0.1"})
    with pytest.raises(IdentityUnavailable):
        door.ask()
    assert not door.server.asked


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "https://no-such-host.invalid", "https://a..b"])
def test_a_server_that_is_not_there(door: Door, url: str) -> None:
    """No listener, no such name, or no name at all: nothing is known of the token."""
    door.reached_by(url, door.server.ca)
    with pytest.raises(IdentityUnavailable):
        door.ask()


def test_a_broken_kubeconfig_counts_when_it_is_mended(door: Door) -> None:
    """The kubeconfig is read for each review: one that is broken meanwhile is no refusal."""
    file = door.folder / "kubeconfig"
    good = file.read_text()
    file.write_text("{")
    with pytest.raises(IdentityUnavailable):
        door.ask()
    file.write_text(good)
    assert door.ask() is not None


def test_the_log_has_the_reason_and_never_the_token(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """Who is refused learns nothing, the operator why and for which cluster; no token gets into the log."""
    plays = (
        says(review(authenticated=False, error=f"[invalid bearer token {GOOD}]")),
        says({}, 500),
        says(b"x"),
        lambda connection: connection.sendall(GOOD.encode()),
    )
    with caplog.at_level(logging.DEBUG):
        for play in plays:
            door.server.play = play
            with pytest.raises((NotAuthenticated, IdentityUnavailable)) as caught:
                door.ask()
            assert GOOD[-20:] not in str(caught.value)
    assert caplog.records[0].levelname == "INFO"
    assert "invalid bearer token" in caplog.records[0].reason
    assert all(record.cluster == "lab" for record in caplog.records)
    text = "".join(str(vars(record)) for record in caplog.records)
    assert GOOD[-20:] not in text
    assert CREDENTIAL not in text


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [("accepted", review()), ("refused", review(authenticated=False)), ("unavailable", {"kind": "Status"})],
)
def test_reviews_are_counted_by_outcome(door: Door, outcome: str, answer: dict[str, Any]) -> None:
    """Each review is counted once, and the time that it took is measured."""
    before = sample("kubemint_token_reviews_total", outcome=outcome)
    timed = sample("kubemint_token_review_duration_seconds_count")
    door.server.play = says(answer)
    with contextlib.suppress(NotAuthenticated, IdentityUnavailable):
        door.ask()
    assert sample("kubemint_token_reviews_total", outcome=outcome) == before + 1
    assert sample("kubemint_token_review_duration_seconds_count") == timed + 1


def sample(name: str, **labels: str) -> float:
    """Read a metric of this process."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_one_of_two_ways_must_be_chosen(door: Door, tmp_path: Path) -> None:
    """Neither way, or both, stops the start."""
    for ways in ({}, {"review": door.cluster.review, "keys_file": tmp_path / "sa.pub"}):
        cluster = KubernetesCluster(name="lab", issuer=ISSUER, audience=AUDIENCE, **ways)
        with pytest.raises(ConfigurationError, match="lab: needs one of kubeconfig, inCluster and keysFile"):
            KubernetesAuthenticator((cluster,))


def test_two_clusters_need_two_issuers(door: Door) -> None:
    """With one issuer for two clusters, a token could be shown to the wrong one."""
    with pytest.raises(ConfigurationError, match="has the issuer of lab"):
        KubernetesAuthenticator((door.cluster, door.cluster))
