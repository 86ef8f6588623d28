"""What an issuer answers: where its keys are and what they are, and everything else that it might say."""

import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from authentication.fetching import HURRIED, eventually, fetches, has, keys_of, took
from authentication.issuers import DISCOVERY, IssuerServer, drip, key_set, new_key, send, serving
from kubemint.authentication.discovery import IssuerUnreachable, get_https

ONE, TWO = new_key("one"), new_key("two")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[IssuerServer]:
    """Run an issuer with one key."""
    with serving(tmp_path) as server:
        server.keys = key_set(ONE)
        yield server


def redirect(handler: BaseHTTPRequestHandler) -> None:
    """Send the client elsewhere, to where good keys are."""
    send(handler, b"", status=302, Location=handler.path + "?again")


ILL: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "a redirect": redirect,
    "no JSON": lambda handler: send(handler, b"<html>"),
    "a list": lambda handler: send(handler, b"[]"),
    "another status": lambda handler: send(handler, key_set(ONE), status=203),
    "a fault": lambda handler: send(handler, b"{}", status=500),
    "a body without end": lambda handler: send(handler, b" " * (2 * 1024 * 1024)),
    "no HTTP": lambda handler: handler.wfile.write(b"SSH-2.0\r\n"),
    "a header without end": lambda handler: handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: " + b"x" * 100_000),
    "nothing": lambda handler: None,
}


@pytest.mark.parametrize("path", [DISCOVERY, "/jwks"])
@pytest.mark.parametrize("answer", ILL.values(), ids=ILL.keys())
def test_answers_that_are_none(
    server: IssuerServer, answer: Callable[[BaseHTTPRequestHandler], None], path: str
) -> None:
    """What is not a plain, small, good answer gives no keys, is counted, and ends nothing: the next one does."""
    before = fetches("misbehaved") + fetches("unreachable")
    server.answer = lambda handler: (answer if handler.path.startswith(path) else server.respond)(handler)
    with keys_of(server, HURRIED) as keys:
        assert not has(keys, "one")
        eventually(lambda: fetches("misbehaved") + fetches("unreachable") > before)
        assert all("again" not in asked for _, asked in server.asked)
        server.answer = None
        eventually(lambda: has(keys, "one"))


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"slash": True},
        {"jwks_uri": "https://evil.example/jwks"},
        {"jwks_uri": "https://localhost/jwks"},
        {"other host": True},
        {"plain": True},
        {"user": True},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "/jwks"},
        {"jwks_uri": "https://[/jwks"},
        {"jwks_uri": ["/jwks"]},
        {"jwks_uri": None},
    ],
    ids=str,
)
def test_discovery_that_leads_away(server: IssuerServer, document: dict[str, Any]) -> None:
    """A document of another issuer, or keys on another host, port or scheme, is not believed."""
    before = fetches("misbehaved")
    made = {
        "slash": {"issuer": server.issuer + "/"},
        "other host": {"jwks_uri": server.issuer.replace("localhost", "127.0.0.1") + "/jwks"},
        "plain": {"jwks_uri": server.issuer.replace("https", "http") + "/jwks"},
        "user": {"jwks_uri": server.issuer.replace("localhost", "localhost@127.0.0.1") + "/jwks"},
    }
    server.document = made.get(next(iter(document)), document)
    with keys_of(server, HURRIED) as keys:
        keys.start()
        eventually(lambda: fetches("misbehaved") > before)
        assert not has(keys, "one")
        assert server.asked_for() == 0


def test_keys_at_a_configured_address(server: IssuerServer) -> None:
    """Where the address is configured there is no discovery, and it may be on another host."""
    uri = server.issuer.replace("localhost", "127.0.0.1") + "/jwks"
    with keys_of(server, issuer="https://accounts.example", jwks_uri=uri) as keys:
        eventually(lambda: has(keys, "one"))
        assert {path for _, path in server.asked} == {"/jwks"}


def test_keys_that_move(server: IssuerServer) -> None:
    """An address that stops answering is asked for again."""
    with keys_of(server, HURRIED) as keys:
        assert has(keys, "one")
        server.document = {"jwks_uri": server.issuer + "/new"}
        server.answer = lambda handler: (
            send(handler, key_set(TWO))
            if handler.path == "/new"
            else send(handler, b"", status=404)
            if handler.path == "/jwks"
            else server.respond(handler)
        )
        eventually(lambda: has(keys, "two"))


@pytest.mark.parametrize("ca", ["the system's", "another", "none"])
def test_an_issuer_that_tls_does_not_vouch_for(server: IssuerServer, tmp_path: Path, ca: str) -> None:
    """Without a certificate of the configured CA for the issuer's name nothing is fetched."""
    with serving(tmp_path, "other") as other:
        ca_file = {"the system's": None, "another": other.ca_file, "none": tmp_path / "none"}[ca]
        with keys_of(server, HURRIED, ca_file=ca_file) as keys:
            assert not has(keys, "one")
            assert server.asked == []


def test_a_certificate_for_another_name(server: IssuerServer) -> None:
    """The name in the certificate must be the issuer's host."""
    uri = server.issuer.replace("localhost", "127.0.0.2") + "/jwks"
    with pytest.raises(IssuerUnreachable):
        get_https(uri, server.ca_file, time.monotonic() + 2)


def test_an_issuer_that_drips(server: IssuerServer) -> None:
    """A byte now and then is no reason to wait: the deadline is for the whole answer."""
    server.answer = drip
    uri = server.issuer + "/jwks"

    def get() -> None:
        with pytest.raises(IssuerUnreachable, match="in time"):
            get_https(uri, server.ca_file, time.monotonic() + 0.5)

    assert took(get) < 1.0


def test_a_deadline_covers_the_handshake(server: IssuerServer) -> None:
    """A peer that accepts and says nothing is given up at the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def get() -> None:
            with pytest.raises(IssuerUnreachable, match="in time"):
                get_https(f"https://127.0.0.1:{silent.getsockname()[1]}/", server.ca_file, time.monotonic() + 0.5)

        assert took(get) < 1.0
