"""One HTTP exchange with somebody who may be anyone: bounded in time and size, to where it was sent alone.

HTTPS with a proven name, or plain HTTP on this machine. Redirects are not followed. One deadline covers
connection, handshake, headers and body; name resolution alone is the system's and keeps the system's time.
"""

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from kubemint.errors import KubemintError

REPLY_MAX_OCTETS: Final = 64 * 1024  # a hundred signature lines are a third of it
_ADDRESSES_MAX: Final = 4


class ExchangeFailed(KubemintError):
    """No connection, no proof of who answers, no answer in time, or none that is HTTP of a sensible size."""

    code = "exchange-failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back, whatever its status."""

    status: int
    headers: Message
    body: bytes


def address_problem(url: str, ca_file: Path | None) -> str | None:
    """Say why an address cannot be spoken to safely; None if it can."""
    try:
        place = urlsplit(url)
        host, usable = place.hostname, place.port != 0
    except ValueError:
        return "is no address"
    if not host or not usable or not url.isascii() or not url.isprintable() or " " in url:
        return "is no address"
    if "@" in place.netloc or "#" in url or "?" in url:
        return "must hold no user name, password, query or fragment"
    if place.scheme == "https":
        return None
    if place.scheme != "http" or not _is_here(host):
        return "must be https, or http on this machine"
    return None if ca_file is None else "has a caFile, which is for https"


def exchange(  # noqa: PLR0913 - what an exchange is made of, each by name
    method: str,
    url: str,
    *,
    ca_file: Path | None,
    seconds: float,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request to an address without an `address_problem`, and read the answer.

    `ca_file` is read each time and is then the only trust; without it the system's CAs are trusted.

    Raises:
        ExchangeFailed: as its name says.
    """
    deadline = time.monotonic() + seconds
    place = urlsplit(url)
    host = place.hostname or ""
    try:
        if place.scheme == "https":
            connection = _connect_safely(host, place.port or http.client.HTTPS_PORT, ca_file, deadline)
        else:
            connection = _connect(host, place.port or http.client.HTTP_PORT, deadline)
        channel = http.client.HTTPConnection(host, place.port)
        channel.sock = connection
        with closing(channel):
            channel.request(method, place.path or "/", body, {"Connection": "close"} | dict(headers or {}))
            with channel.getresponse() as response:
                reply = Reply(
                    status=response.status, headers=response.headers, body=response.read(REPLY_MAX_OCTETS + 1)
                )
    except TimeoutError:
        raise ExchangeFailed("no answer in time") from None
    except OSError as fault:
        raise ExchangeFailed(fault.strerror or str(fault) or type(fault).__name__) from None
    except (http.client.HTTPException, ValueError) as fault:
        raise ExchangeFailed(f"no HTTP: {type(fault).__name__}") from None
    if len(reply.body) > REPLY_MAX_OCTETS:
        raise ExchangeFailed(f"an answer of more than {REPLY_MAX_OCTETS} octets")
    return reply


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _connect_safely(host: str, port: int, ca_file: Path | None, deadline: float) -> socket.socket:
    context = ssl.create_default_context(cafile=ca_file)  # verifies chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _TlsSocket
    plain = _connect(host, port, deadline)
    try:
        plain.settimeout(_left(deadline))  # OpenSSL's handshake takes a timeout for the whole of it
        secured = context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise
    if isinstance(secured, _TlsSocket):
        secured.deadline = deadline
    return secured


def _connect(host: str, port: int, deadline: float) -> socket.socket:
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[:_ADDRESSES_MAX]
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        plain = _PlainSocket(family, kind, protocol)
        plain.deadline = deadline
        plain.settimeout(_left(deadline) / (len(addresses) - number))  # a dead address leaves time for the next
        try:
            plain.connect(address)
        except OSError:
            plain.close()
            if number == len(addresses) - 1:
                raise
        else:
            plain.settimeout(_left(deadline))
            return plain
    raise OSError("the host has no address")


class _PlainSocket(socket.socket):
    """A socket whose reads end at one deadline, however many they are."""

    deadline: float | None = None

    def recv_into(self, buffer: Any, *rest: Any) -> int:
        if self.deadline is not None:
            self.settimeout(_left(self.deadline))
        return super().recv_into(buffer, *rest)


class _TlsSocket(ssl.SSLSocket):
    """The same over TLS."""

    deadline: float | None = None

    def recv_into(self, buffer: Any, *rest: Any) -> int:
        if self.deadline is not None:
            self.settimeout(_left(self.deadline))
        return super().recv_into(buffer, *rest)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
