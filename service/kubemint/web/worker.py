"""A gunicorn worker in which no slow client can hold a thread.

gunicorn's own threaded worker gives a connection to a thread at its first byte, and closes connections
in the loop that serves all others; a handful of clients that stop in the middle stop the service. Here
the loop does the handshake and collects the whole request without blocking, a thread gets it when the
last byte is there, and a closing connection is waited for in the loop, each under a deadline.

This overrides the connection handling of gunicorn 27's `ThreadWorker`; the dependency is pinned below 28.
"""

import re
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from gunicorn import http, sock
from gunicorn.workers.gthread import TConn, ThreadWorker

from kubemint import metrics
from kubemint.web.app import BODY_MAX_OCTETS

HEAD_MAX_OCTETS: Final = 64 * 1024  # then gunicorn's parser answers 431
CONNECTIONS_MAX: Final = 2000  # a newcomer beyond this takes the place of who has waited longest
ACCEPT_PAUSE_SECONDS: Final = 0.00005  # for each connection that the worker has already …
ACCEPT_PAUSES_MAX: Final = 20  # … up to a millisecond
IO_SECONDS: Final = 5.0  # one write to, or late read from, a client
LINGER_SECONDS: Final = 2.0  # for the client to read the answer before the socket goes (RFC 9112 9.6)
_RECEIVE_OCTETS: Final = 64 * 1024
_LENGTH: Final = re.compile(rb"^content-length:[ \t]*(\d{1,12})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_CHUNKED: Final = re.compile(rb"^transfer-encoding:[^\r\n]*chunked", re.IGNORECASE | re.MULTILINE)


class BoundedSocket(socket.socket):
    """A socket for which blocking means at most `IO_SECONDS`."""

    def setblocking(self, flag: bool) -> None:
        """Turn blocking on, with a bound, or off."""
        self.settimeout(IO_SECONDS if flag else 0.0)


class BoundedTlsSocket(ssl.SSLSocket):
    """The same over TLS."""

    def setblocking(self, flag: bool) -> None:
        """Turn blocking on, with a bound, or off."""
        self.settimeout(IO_SECONDS if flag else 0.0)


class Connection(TConn):  # type: ignore[misc]  # gunicorn is untyped
    """A client's connection: what has arrived of its next request, and until when it must be complete."""

    def __init__(self, cfg: Any, client: socket.socket, address: Any, server: Any) -> None:
        plain: socket.socket = BoundedSocket(fileno=client.detach())
        super().__init__(cfg, plain, address, server)
        if cfg.is_ssl:
            self.sock = sock.ssl_wrap_socket(plain, cfg)
        self.parser: Any = None
        self.received = bytearray()
        self.deadline = 0.0
        self.handshake_done = not cfg.is_ssl
        self.body_refused = False

    def receive(self) -> bool:
        """Take what has arrived; true if that is a whole request. Never blocks.

        Raises:
            OSError: the client is gone, or not one of TLS (ssl.SSLError), or wants to wait
                (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError).
        """
        if not self.handshake_done:
            self.sock.do_handshake()
            self.handshake_done = True
        while not self.is_complete():
            octets = self.sock.recv(_RECEIVE_OCTETS)
            if not octets:
                raise ConnectionResetError
            self.received += octets
        return True

    def is_complete(self) -> bool:
        """Tell whether a thread could serve the request without waiting. What it means is the parser's to say."""
        head_end = self.received.find(b"\r\n\r\n")
        if head_end < 0:
            return len(self.received) > HEAD_MAX_OCTETS
        head, body_octets = self.received[: head_end + 2], len(self.received) - head_end - 4
        if _CHUNKED.search(head):
            return body_octets > 2 * BODY_MAX_OCTETS or _chunks_end(self.received, head_end + 4)
        length = _LENGTH.search(head)
        expected = int(length[1]) if length else 0
        self.body_refused = expected > BODY_MAX_OCTETS
        return self.body_refused or body_octets >= expected

    def load_parser(self) -> None:
        """Hand what has arrived to gunicorn's parser."""
        if self.parser is None:
            self.parser = http.get_parser(self.cfg, self.sock, self.client)
            self.initialized = True
        self.parser.unreader.unread(bytes(self.received))
        self.received.clear()


class BufferingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn is untyped
    """Serves whole requests in threads; everything slow is waited for in the loop."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._waiting: dict[Connection, None] = {}
        self._next_sweep = 0.0

    def accept(self, listener: Any) -> None:
        """Take a new connection into the loop.

        All workers wait on one listening socket. The more a worker has, the longer it leaves a newcomer
        to the others; otherwise whoever wakes first takes all of a burst.
        """
        time.sleep(min(len(self._waiting), ACCEPT_PAUSES_MAX) * ACCEPT_PAUSE_SECONDS)
        try:
            client, address = listener.accept()
        except OSError:
            return  # gone already, or taken by another worker
        if len(self._waiting) >= CONNECTIONS_MAX:
            self._drop(next(iter(self._waiting)))
        try:
            connection = Connection(self.cfg, client, address, listener.getsockname())
        except OSError:
            client.close()  # gone between accept and the start of TLS
            return
        self.nr_conns += 1
        self._wait(connection, self._advance, self.cfg.timeout_of_request)
        self._advance(connection)

    def finish_request(self, connection: Connection, future: "Future[Any]") -> None:
        """Take a connection back from its thread: for its next request, or to be closed."""
        if future.cancelled() or future.exception() is not None:
            self.nr_conns -= 1
            connection.close()
            return
        connection.sock.setblocking(False)
        if not future.result() or connection.body_refused:
            self._linger(connection)
            return
        connection.received += connection.parser.unreader.take_buffered()
        seconds = self.cfg.timeout_of_request if connection.received else self.cfg.keepalive
        self._wait(connection, self._advance, seconds if self.alive else min(seconds, LINGER_SECONDS))
        self._advance(connection)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close what has waited too long; or everything that waits."""
        now = time.monotonic()
        if not force and now < self._next_sweep:
            return
        self._next_sweep = now + 0.25
        for connection in [found for found in self._waiting if force or found.deadline <= now]:
            self._drop(connection)

    def murder_pending(self) -> None:
        """Nothing is kept elsewhere."""

    def _cap_keepalive(self, deadline: float) -> None:
        """Stop waiting for requests that have not begun; those that have are served."""
        for connection in self._waiting:
            if not connection.received:
                connection.deadline = min(connection.deadline, deadline)

    def _advance(self, connection: Connection, _: Any = None) -> None:
        """Go on with a handshake or request as far as what has arrived allows."""
        try:
            connection.receive()
        except ssl.SSLWantWriteError:
            self._watch(connection, selectors.EVENT_WRITE, self._advance)
        except (ssl.SSLWantReadError, BlockingIOError):
            self._watch(connection, selectors.EVENT_READ, self._advance)
            self._note_request_began(connection)
        except ssl.SSLError as fault:
            metrics.HANDSHAKE_FAULTS.inc()
            self.log.info("TLS handshake failed with %s: %s", connection.client[0], fault.reason)
            self._drop(connection)
        except (OSError, ValueError):
            self._drop(connection)
        else:
            self._forget(connection)
            connection.load_parser()
            self.enqueue_req(connection)

    def _note_request_began(self, connection: Connection) -> None:
        """From the first byte on a kept-alive connection, the deadline of a request counts."""
        if connection.received and connection.parser is not None and not connection.data_ready:
            connection.data_ready = True
            connection.deadline = time.monotonic() + self.cfg.timeout_of_request

    def _linger(self, connection: Connection) -> None:
        """Close so that the client can still read its answer, without waiting here for it."""
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.nr_conns -= 1
            connection.close()
            return
        self._wait(connection, self._discard, LINGER_SECONDS)

    def _discard(self, connection: Connection, _: Any = None) -> None:
        try:
            if connection.sock.recv(_RECEIVE_OCTETS):
                return
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except (OSError, ValueError):
            pass
        self._drop(connection)

    def _wait(self, connection: Connection, callback: Callable[..., None], seconds: float) -> None:
        connection.deadline = time.monotonic() + seconds
        connection.data_ready = False
        self._waiting[connection] = None
        self.poller.register(connection.sock, selectors.EVENT_READ, partial(callback, connection))

    def _watch(self, connection: Connection, events: int, callback: Callable[..., None]) -> None:
        if self.poller.get_key(connection.sock).events != events:
            self.poller.modify(connection.sock, events, partial(callback, connection))

    def _forget(self, connection: Connection) -> None:
        del self._waiting[connection]
        self.poller.unregister(connection.sock)

    def _drop(self, connection: Connection) -> None:
        self._forget(connection)
        self.nr_conns -= 1
        connection.close()


def _chunks_end(received: bytearray, start: int) -> bool:
    """Tell whether the last chunk has arrived (RFC 9112 7.1). What makes no sense is the parser's to refuse."""
    while (line_end := received.find(b"\r\n", start)) >= 0:
        try:
            size = int(received[start:line_end].split(b";")[0], 16)
        except ValueError:
            return True
        if size <= 0:
            return received.find(b"\r\n\r\n", line_end) >= 0
        start = line_end + 2 + size + 2
    return False
