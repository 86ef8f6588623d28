"""Clients of a running service: a good one, many good ones at once, and a crowd that behaves badly."""

import contextlib
import http.client
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from csrs import good_csr
from running_service import Answer, RunningService

CSR = good_csr()
PKCS10 = {"Content-Type": "application/pkcs10"}
CROWD = 60  # more than seven times the threads of a service with two workers
PATIENCE_SECONDS = 2.0  # of a good client on a shared machine; alone it waits some hundredths of a second
HOLD_SECONDS = 2.0  # how long a crowd is watched


def ask(
    service: RunningService,
    *,
    body: bytes = CSR,
    path: str = "/v1/certificates",
    headers: dict[str, str] | None = None,
    timeout: float = PATIENCE_SECONDS * 2,
) -> Answer:
    """Ask for a certificate on a connection of its own, as the requester of the folder."""
    connection = service.connect()
    connection.timeout = timeout
    sent = PKCS10 | {"Authorization": f"Bearer {service.token()}"} | (headers or {})
    try:
        connection.request("POST", path, body=body, headers=sent)
        response = connection.getresponse()
        return Answer(status=response.status, headers=response.headers, body=response.read())
    finally:
        connection.close()


def slowest_good_client(service: RunningService, seconds: float = HOLD_SECONDS) -> float:
    """Let new clients ask one after the other for some time; give the longest wait in seconds.

    A client that gets no certificate fails the test that asks.
    """
    slowest, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        answer = ask(service)
        slowest = max(slowest, time.monotonic() - began)
        assert answer.status == 201, answer.text
        time.sleep(0.02)
    return slowest


def tls_client(
    service: RunningService, *, receive_buffer: int | None = None, timeout: float = 5.0
) -> ssl.SSLSocket:
    """Give a TLS connection to write raw octets to."""
    client = tcp_client(service, receive_buffer=receive_buffer, timeout=timeout)
    try:
        return service.tls_context().wrap_socket(client, server_hostname="127.0.0.1")
    except OSError:
        client.close()
        raise


def tcp_client(
    service: RunningService, *, receive_buffer: int | None = None, timeout: float = 5.0
) -> socket.socket:
    """Give a TCP connection without TLS."""
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(timeout)
    try:
        client.connect(("127.0.0.1", service.port))
    except OSError:
        client.close()
        raise
    return client


def request_head(*headers: str, method: str = "POST", path: str = "/v1/certificates") -> bytes:
    """Write a head without its last line."""
    lines = (f"{method} {path} HTTP/1.1", "Host: kubemint", "Content-Type: application/pkcs10", *headers)
    return "".join(f"{line}\r\n" for line in lines).encode()


def reset(client: socket.socket) -> None:
    """Close a connection as one that broke: the peer gets RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


Behaviour = Callable[["Crowd"], None]


class Crowd:
    """Many connections at once that all behave in one way; gone at the end of `with`."""

    def __init__(self, service: RunningService, behaviour: Behaviour, size: int = CROWD) -> None:
        self.service = service
        self._behaviour = behaviour
        self._leave = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(size)]

    def __enter__(self) -> Self:
        """Come."""
        for thread in self._threads:
            thread.start()
        time.sleep(0.3)  # the first of them have connected
        return self

    def __exit__(self, *_: object) -> None:
        """Leave: every connection breaks."""
        self._leave.set()
        for thread in self._threads:
            thread.join(15)
        for client in self._sockets:
            with contextlib.suppress(OSError):
                client.close()

    def tls(self, *, receive_buffer: int | None = None) -> ssl.SSLSocket:
        """Give a connection, closed at the latest when the crowd leaves."""
        client = tls_client(self.service, receive_buffer=receive_buffer)
        self._sockets.append(client)
        return client

    def tcp(self) -> socket.socket:
        """Give a connection without TLS, closed at the latest when the crowd leaves."""
        client = tcp_client(self.service)
        self._sockets.append(client)
        return client

    def hold(self) -> None:
        """Keep all connections open until the crowd leaves."""
        self._leave.wait(30)

    def stays(self, seconds: float = 0.0) -> bool:
        """Wait; tell whether the crowd is still there."""
        return not self._leave.wait(seconds)

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # the service may close, which is its right
            self._behaviour(self)


def sends(octets: bytes, *, tls: bool = True) -> Behaviour:
    """Make the behaviour: connect, send this, and then neither read nor close."""

    def behave(crowd: Crowd) -> None:
        client = crowd.tls() if tls else crowd.tcp()
        client.sendall(octets)
        crowd.hold()

    return behave


def drips(octets: bytes, *, tls: bool = True, rest: bytes = b"A" * 60, seconds: float = 1.0) -> Behaviour:
    """Make the behaviour: send this at once, and of the rest one octet a second."""

    def behave(crowd: Crowd) -> None:
        client = crowd.tls() if tls else crowd.tcp()
        client.sendall(octets)
        for octet in rest:
            if not crowd.stays(seconds):
                break
            client.sendall(bytes([octet]))
        client.close()

    return behave


class Load:
    """Clients that ask again and again on kept-alive connections, until the end of `with`.

    `received` holds the body of each 201, `statuses` every other status; `unanswered` counts requests that
    got none, `cut` those whose answer stopped in the middle.
    """

    def __init__(self, service: RunningService, size: int = 16, requests: int | None = None) -> None:
        self._service = service
        self._requests = requests
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(size)]
        self._headers = PKCS10 | {"Authorization": f"Bearer {service.token()}"}
        self.received: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.unanswered = 0
        self.cut = 0

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop asking and wait for the answers under way."""
        self._stop.set()
        self.join()

    def join(self) -> None:
        """Wait until every client has done what it should."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a client is still waiting"

    def wait_for(self, certificates: int, seconds: float = 20.0) -> None:
        """Wait until so many certificates have been received."""
        end = time.monotonic() + seconds
        while len(self.received) < certificates:
            assert time.monotonic() < end, f"{len(self.received)} certificates in {seconds} s; {self.statuses[:5]}"
            time.sleep(0.02)

    def _run(self) -> None:
        asked = 0
        while not self._stop.is_set() and (self._requests is None or asked < self._requests):
            connection = self._service.connect()
            try:
                while not self._stop.is_set() and (self._requests is None or asked < self._requests):
                    asked += 1
                    if not self._ask(connection):
                        break
            finally:
                connection.close()
            if self._requests is None:
                self._stop.wait(0.05)  # a service that is down is not asked all the time

    def _ask(self, connection: http.client.HTTPConnection) -> bool:
        """Ask once; tell whether the connection can be used again."""
        response = None
        try:
            connection.request("POST", "/v1/certificates", body=CSR, headers=self._headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            if response is None:
                self.unanswered += 1
            else:
                self.cut += 1
            return False
        if response.status == 201:
            self.received.append(json.loads(body))
        else:
            self.statuses.append(response.status)
        return not response.will_close


def wait_until_replaced(service: RunningService, victim: int, seconds: float = 15.0) -> None:
    """Wait until a worker is gone and another is in its place."""
    end = time.monotonic() + seconds
    while victim in service.worker_pids or len(service.worker_pids) < 2:
        assert time.monotonic() < end, "no new worker"
        time.sleep(0.05)
