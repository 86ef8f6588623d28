"""Where a token issuer keeps its keys (OpenID Connect Discovery 1.0, section 4), and what is there, over HTTPS.

The other end may be anyone's: it is not followed to another place, not read without end, and not waited
for byte by byte. One deadline covers connection, handshake, headers and body. Name resolution alone is the
system's and keeps the system's time.
"""

import http.client
import socket
import ssl
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from kubemint.authentication.jwks import KEY_SET_MAX_OCTETS
from kubemint.documents import parse_json
from kubemint.errors import InvalidDocument

_ADDRESSES_MAX: Final = 4


class IssuerUnreachable(Exception):
    """No connection, no valid certificate, or no answer in time."""


class IssuerMisbehaved(Exception):
    """It answered, and not with what it should."""


def discover_keys_uri(issuer: str, ca_file: Path | None, deadline: float) -> str:
    """Ask an issuer for the address of its keys.

    The document must name exactly this issuer (section 4.3), and its `jwks_uri` must be on the issuer's
    own host and port: who can change the document cannot bring keys from elsewhere.

    Raises:
        IssuerUnreachable: it does not answer by `deadline`, in seconds of `time.monotonic`.
        IssuerMisbehaved: it answers something else.
    """
    text = get_https(issuer.rstrip("/") + "/.well-known/openid-configuration", ca_file, deadline)
    try:
        document = parse_json(text)
    except InvalidDocument as fault:
        raise IssuerMisbehaved(f"discovery: {fault.message}") from None
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        raise IssuerMisbehaved("discovery: the document names another issuer")
    keys_uri = document.get("jwks_uri")
    if not isinstance(keys_uri, str) or https_problem(keys_uri) is not None:
        raise IssuerMisbehaved("discovery: jwks_uri is no https address")
    if _place(urlsplit(keys_uri)) != _place(urlsplit(issuer)):
        raise IssuerMisbehaved("discovery: jwks_uri is on another host, and none is configured")
    return keys_uri


def get_https(uri: str, ca_file: Path | None, deadline: float) -> bytes:
    """Get one document of at most a megabyte. Redirects are not followed.

    `ca_file` is read each time and is then the only trust; without it the system's CAs are trusted.

    Raises:
        IssuerUnreachable: no answer by `deadline`, in seconds of `time.monotonic`.
        IssuerMisbehaved: no 200, or more than a megabyte.
    """
    place = urlsplit(uri)
    host, port = _place(place)
    target = (place.path or "/") + (f"?{place.query}" if place.query else "")
    try:
        context = _context(ca_file)
        connection = http.client.HTTPSConnection(host, port, context=context)
        connection.sock = _connect(host, port, context, deadline)
        body = _get(connection, target)
    except TimeoutError:
        raise IssuerUnreachable("no answer in time") from None
    except OSError as fault:
        raise IssuerUnreachable(str(fault) or type(fault).__name__) from None
    except (http.client.HTTPException, ValueError) as fault:
        raise IssuerMisbehaved(f"no HTTP: {type(fault).__name__}") from None
    if len(body) > KEY_SET_MAX_OCTETS:
        raise IssuerMisbehaved(f"the answer has more than {KEY_SET_MAX_OCTETS} octets")
    return body


def https_problem(uri: str) -> str | None:
    """Say why an address is not a plain https one; None if it is."""
    try:
        place = urlsplit(uri)
        usable = place.scheme == "https" and bool(place.hostname) and place.port != 0
    except ValueError:
        return "is no address"
    if not usable or not uri.isascii() or not uri.isprintable() or " " in uri:
        return "is no https address"
    if "@" in place.netloc:
        return "holds a user name or password"
    return "has a fragment" if "#" in uri else None


def _get(connection: http.client.HTTPSConnection, target: str) -> bytes:
    with closing(connection):
        connection.request("GET", target, headers={"Accept": "application/json", "Connection": "close"})
        with connection.getresponse() as response:
            if response.status != http.client.OK:
                raise IssuerMisbehaved(f"status {response.status}")
            return response.read(KEY_SET_MAX_OCTETS + 1)


def _place(place: SplitResult) -> tuple[str, int]:
    return place.hostname or "", place.port or http.client.HTTPS_PORT


def _context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)  # verifies chain and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _DeadlineSocket
    return context


def _connect(host: str, port: int, context: ssl.SSLContext, deadline: float) -> ssl.SSLSocket:
    plain = _connect_plain(host, port, deadline)
    try:
        plain.settimeout(_left(deadline))  # OpenSSL's handshake takes a timeout for the whole of it
        secured = context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise
    if isinstance(secured, _DeadlineSocket):
        secured.deadline = deadline
    return secured


def _connect_plain(host: str, port: int, deadline: float) -> socket.socket:
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[:_ADDRESSES_MAX]
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        plain = socket.socket(family, kind, protocol)
        plain.settimeout(_left(deadline) / (len(addresses) - number))  # a dead address leaves time for the next
        try:
            plain.connect(address)
        except OSError:
            plain.close()
            if number == len(addresses) - 1:
                raise
        else:
            return plain
    raise OSError("the host has no address")


class _DeadlineSocket(ssl.SSLSocket):
    """A TLS socket whose reads end at one deadline, however many they are."""

    deadline: float | None = None

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        if self.deadline is not None:
            self.settimeout(_left(self.deadline))
        return super().recv_into(buffer, nbytes, flags)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
