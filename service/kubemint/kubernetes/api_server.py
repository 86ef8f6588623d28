"""One call to an API server: HTTPS to a proven server, no redirect, an answer of bounded size in bounded time.

It stands apart from the large Kubernetes client because one POST is all that is needed, and because
that client bounds each read and not the whole: a server that drips bytes would hold a thread for ever.
"""

import http.client
import json
import math
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

MAX_ANSWER_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServer:
    """Where an API server is, how it is recognised, and how this service proves itself to it.

    `base_path` is what stands before `/api` and `/apis`, empty on most. `tls` comes from `tls_context`, and
    may hold a client certificate. The token is the one of `token_file`, read again for each call because
    kubelet replaces it, else `bearer_token`.
    """

    host: str
    port: int
    base_path: str
    tls: ssl.SSLContext
    tls_name: str
    bearer_token: str | None = field(default=None, repr=False)
    token_file: Path | None = None

    def post(self, path: str, document: Mapping[str, Any], seconds: float) -> "Answer":
        """POST a JSON document and read the answer, whatever its status.

        `seconds` bounds the whole, except that looking up a host's name may take what the resolver allows.

        Raises:
            OSError: there is no such server, it is not the one that its CA vouches for, it is too slow, it
                says too much or no HTTP, or the token file cannot be read.
        """
        deadline = time.monotonic() + seconds
        headers = {"Accept": "application/json", "Content-Type": "application/json", "Connection": "close"}
        token = self._token()
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            with self._connect(deadline) as connection:
                exchange = http.client.HTTPConnection(self.host, self.port)
                exchange.sock = connection
                exchange.request("POST", self.base_path + path, json.dumps(document).encode(), headers)
                return _read_answer(exchange.getresponse())
        except OSError:  # a certificate that does not verify is a ValueError too
            raise
        except (http.client.HTTPException, ValueError) as fault:  # without its text, which may quote what was sent
            raise OSError(f"no HTTP or no host's name: {type(fault).__name__}") from None

    def _token(self) -> str | None:
        if self.token_file is None:
            return self.bearer_token
        try:
            return self.token_file.read_text("ascii").strip()
        except UnicodeError:
            raise OSError(f"{self.token_file} holds no token") from None

    def _connect(self, deadline: float) -> ssl.SSLSocket:
        plain = _open_connection(self.host, self.port, deadline)
        try:
            plain.settimeout(_left(deadline))
            secured = self.tls.wrap_socket(plain, server_hostname=self.tls_name)
        except BaseException:
            plain.close()
            raise
        if isinstance(secured, _BoundedSocket):
            secured.deadline = deadline
        return secured


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


def tls_context(ca_pem: str) -> ssl.SSLContext:
    """Trust these CAs and no other, for a server whose name is checked.

    Raises:
        ValueError, ssl.SSLError: there is no certificate in it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    context.sslsocket_class = _BoundedSocket
    context.load_verify_locations(cadata=ca_pem)
    return context


class _BoundedSocket(ssl.SSLSocket):
    """A TLS socket whose every wait ends at one time, so that many short ones do not add up."""

    deadline: float = math.inf

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - ssl names it so
        self._shorten()
        return super().read(len, buffer)

    def send(self, data: Any, flags: int = 0) -> int:
        self._shorten()
        return super().send(data, flags)

    def _shorten(self) -> None:
        if self.deadline != math.inf:
            self.settimeout(_left(self.deadline))


def _open_connection(host: str, port: int, deadline: float) -> socket.socket:
    fault = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as refused:
            connection.close()
            fault = refused
        else:
            return connection
    raise fault


def _read_answer(response: http.client.HTTPResponse) -> Answer:
    with closing(response):
        body = response.read(MAX_ANSWER_BYTES + 1)
    if len(body) > MAX_ANSWER_BYTES:
        raise OSError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
    return Answer(status=response.status, body=body)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left
