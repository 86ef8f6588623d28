"""Slow and hostile clients. No number of them, up to the limits, may keep a good client waiting."""

import re
import time
from pathlib import Path

import pytest

from running_service import RunningService
from service.clients import CSR, PATIENCE_SECONDS, Crowd, Load, request_head, slowest_good_client, tls_client
from service.hostile import BEHAVIOURS, FEW
from service.limits import open_files

pytestmark = pytest.mark.alone
_TWO_WAYS = {
    "length and chunks": ("Content-Length: 5", "Transfer-Encoding: chunked"),
    "chunks and length": ("Transfer-Encoding: chunked", "Content-Length: 5"),
    "two lengths": ("Content-Length: 5", "Content-Length: 6"),
    "the same length twice": ("Content-Length: 5", "Content-Length: 5"),
    "a list of lengths": ("Content-Length: 5, 6",),
    "a length with a sign": ("Content-Length: +5",),
    "a length in hex": ("Content-Length: 0x5",),
    "a negative length": ("Content-Length: -5",),
    "an empty length": ("Content-Length: ",),
    "space before the colon of a length": ("Content-Length : 5",),
    "space before the colon of chunks": ("Transfer-Encoding : chunked",),
    "a folded header": ("Transfer-Encoding:\r\n chunked",),
    "chunks twice": ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "chunks, then identity": ("Transfer-Encoding: chunked, identity",),
    "a coding that nobody knows": ("Transfer-Encoding: xchunked",),
    "a coding behind a vertical tab": ("Transfer-Encoding: \x0bchunked",),
    "a line feed alone": ("X-One: 1\nContent-Length: 5",),
}


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_crowd_keeps_nobody_waiting(service: RunningService, name: str) -> None:
    """While 60 clients behave badly a new client gets its certificate at once, and no worker is lost."""
    workers = set(service.worker_pids)
    with Crowd(service, BEHAVIOURS[name], FEW.get(name, 60)):
        assert slowest_good_client(service, 0.5) < PATIENCE_SECONDS
    with Load(service, requests=2) as load:  # more clients than threads: none of these is held
        load.join()
    assert len(load.received) == 32, (load.statuses, load.unanswered, load.cut)
    assert set(service.worker_pids) == workers


@pytest.mark.parametrize("name", _TWO_WAYS)
def test_a_request_that_two_readers_could_read_differently(service: RunningService, name: str) -> None:
    """A request whose end is in doubt is refused, and nothing behind it on the connection is answered."""
    smuggled = request_head(method="GET", path="/livez") + b"\r\n"
    with tls_client(service, timeout=15) as client:
        client.sendall(request_head(*_TWO_WAYS[name]) + b"\r\n0\r\n\r\n" + smuggled)
        answer = b""
        while octets := client.recv(65536):
            answer += octets
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 ")), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1


def test_chunks(service: RunningService) -> None:
    """A body in chunks, each of one octet and each in a TLS record of its own, is a body like any other."""
    token = f"Authorization: Bearer {service.token()}"
    head = request_head("Transfer-Encoding: chunked", token, "Connection: close") + b"\r\n"
    with tls_client(service) as client:
        client.sendall(head)
        for octet in CSR:
            client.sendall(b"1;a=b\r\n%c\r\n" % octet)
        client.sendall(b"0\r\nX-Trailer: ignored\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 201 ")


def test_pipelined_requests(service: RunningService) -> None:
    """Requests that are sent without waiting are all answered, in their order."""
    token = f"Authorization: Bearer {service.token()}"
    ask = request_head(f"Content-Length: {len(CSR)}", token) + b"\r\n" + CSR
    look = request_head(token, method="GET", path="/v1/policy") + b"\r\n"
    last = request_head("Connection: close", method="GET", path="/nowhere") + b"\r\n"
    with tls_client(service) as client:
        client.sendall((ask + look) * 10 + last)
        answer = b""
        while octets := client.recv(65536):
            answer += octets
    statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert statuses == [b"201", b"200"] * 10 + [b"404"]


def test_more_idle_connections_than_there_is_room_for(service: RunningService) -> None:
    """With 5,000 connections on which nothing comes, more than the service keeps, a new client is served."""
    workers = set(service.worker_pids)
    with open_files(8192), Crowd(service, _opens_fifty, size=100):
        time.sleep(2)
        assert slowest_good_client(service) < PATIENCE_SECONDS
    assert slowest_good_client(service, 0.5) < PATIENCE_SECONDS
    assert set(service.worker_pids) == workers


def test_idle_connections_within_a_usual_limit_of_open_files(tmp_path: Path) -> None:
    """With 1,024 open files, a usual limit, idle clients keep nobody out."""
    with open_files(1024):
        service = RunningService(tmp_path / "kubemint").start()
    try:
        with open_files(8192), Crowd(service, _opens_fifty, size=50):
            time.sleep(1.5)
            assert slowest_good_client(service) < PATIENCE_SECONDS
    finally:
        service.stop()


def _opens_fifty(crowd: Crowd) -> None:
    for _ in range(50):
        crowd.tcp()
    crowd.hold()
