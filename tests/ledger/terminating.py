"""TLS in front of a PostgreSQL that was built without it, as clients of one that has it meet it.

A client asks for TLS with an SSLRequest and is told `S`
(https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-SSL); what it says then is passed on.
"""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # length 8, code 80877103


class TlsTerminator:
    """Listens on a port of the loopback address, while a `with` lasts."""

    def __init__(self, certificate_file: Path, key_file: Path, server_socket: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate_file, key_file)
        self._context.set_alpn_protocols(["postgresql"])
        self._server_socket = str(server_socket)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        """Listen."""
        _start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.settimeout(20)
                _start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            assert client.recv(8, socket.MSG_WAITALL) == SSL_REQUEST
            client.sendall(b"S")
            server.connect(self._server_socket)
            with self._context.wrap_socket(client, server_side=True) as secured:
                _pass_on(secured, server)


def _start(run: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=run, args=arguments, daemon=True).start()


def _pass_on(client: ssl.SSLSocket, server: socket.socket) -> None:
    """Copy both ways until one side ends, in one thread: a TLS connection is not for two at a time."""
    ends: dict[socket.socket, socket.socket] = {client: server, server: client}
    while True:
        ready = [client] if client.pending() else select.select([*ends], [], [])[0]
        for source in ready:
            if not (some := source.recv(65536)):
                return
            ends[source].sendall(some)
