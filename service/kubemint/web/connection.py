"""A client's connection: what it sends is collected, what it is sent is kept until it takes it.

gunicorn writes an answer into an `Outbox`, which it takes for the client's socket, so that no thread
ever waits for a client to read; and the head and the body of an answer leave together.
"""

import socket
import ssl
from enum import Enum, auto
from typing import Any, Final

from gunicorn import sock
from gunicorn.http import Request, RequestParser

from kubemint.web.arrival import Arrival

READS_A_TURN: Final = 16  # then the other connections have their turn
_RECEIVE_OCTETS: Final = 64 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Phase(Enum):
    """What a connection waits for."""

    HANDSHAKE = auto()
    REQUEST = auto()
    ANSWER = auto()
    CLOSE = auto()


class Outbox:
    """What gunicorn takes for a socket: everything sent is kept in order, by reference, for `Connection.flush`."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self.pieces: list[bytes] = []

    def sendall(self, octets: bytes) -> None:
        """Keep what is to be sent."""
        self.pieces.append(octets)

    def send(self, octets: bytes) -> int:
        """Keep what is to be sent."""
        self.pieces.append(octets)
        return len(octets)

    def client_certificate(self) -> bytes | None:
        """Give the DER of the certificate that TLS has verified, if the client showed one."""
        return self._client.getpeercert(binary_form=True) if isinstance(self._client, ssl.SSLSocket) else None


class _Request(Request):  # type: ignore[misc]  # gunicorn is untyped
    def _peer_is_trusted_proxy(self) -> bool:
        """No header says where a client is or how it came, whoever sends it."""
        return False


class _Parser(RequestParser):  # type: ignore[misc]  # gunicorn is untyped
    mesg_class = _Request


class Connection:
    """One client. Owned by one thread at a time; nothing here blocks.

    Methods that read or write raise what the socket does: BlockingIOError, ssl.SSLWantReadError or
    ssl.SSLWantWriteError to be called again later, another OSError if the client is gone.
    """

    def __init__(self, cfg: Any, client: socket.socket, address: Any, server: Any) -> None:
        client.setblocking(False)
        self.cfg = cfg
        self.client = address
        self.server = server
        self.socket: socket.socket = sock.ssl_wrap_socket(client, cfg) if cfg.is_ssl else client
        self.sock = Outbox(self.socket)  # the name by which gunicorn finds it
        self.number = self.socket.fileno()
        self.phase = Phase.HANDSHAKE if cfg.is_ssl else Phase.REQUEST
        self.arrival = Arrival()
        self.is_kept = False
        self.deadline = 0.0

    def shake_hands(self) -> None:
        """Go on with the TLS handshake; return when it is done."""
        if isinstance(self.socket, ssl.SSLSocket):
            self.socket.do_handshake()
        self.phase = Phase.REQUEST

    def receive(self) -> None:
        """Take what has arrived; return when that is a whole request."""
        reads = 0
        while not self.arrival.is_complete():
            if self.arrival.wants_to_continue():
                self.socket.send(_CONTINUE)
            if reads == READS_A_TURN:
                raise BlockingIOError
            octets = self.socket.recv(_RECEIVE_OCTETS)
            if not octets:
                raise ConnectionResetError
            self.arrival.add(octets)
            reads += 1

    def parser(self) -> Any:
        """Give gunicorn's parser over the request that is complete: it can read this one, and never waits."""
        return _Parser(self.cfg, iter([self.arrival.take()]), self.client)

    def flush(self) -> None:
        """Send what is to be sent; return when all of it is."""
        pieces = self.sock.pieces
        if len(pieces) > 1 and sum(map(len, pieces)) <= _RECEIVE_OCTETS:
            pieces[:] = [b"".join(pieces)]
        while pieces:
            sent = self.socket.send(pieces[0])
            rest = memoryview(pieces[0])[sent:]
            pieces[:1] = [rest] if rest else []  # type: ignore[list-item]  # a view, for the same octets

    def shut(self) -> None:
        """Say that no more will come."""
        self.phase = Phase.CLOSE
        self.socket.shutdown(socket.SHUT_WR)

    def discard(self) -> None:
        """Throw away what the client still sends; it ends with an OSError when the client closes."""
        for _ in range(READS_A_TURN):
            if not self.socket.recv(_RECEIVE_OCTETS):
                raise ConnectionResetError
        raise BlockingIOError

    def close(self) -> None:
        """Let go of the socket."""
        self.socket.close()
