"""A gunicorn worker in which no slow client can hold a thread.

gunicorn's own threaded worker gives a connection to a thread at its first byte, and closes connections
in the loop that serves all others; a handful of clients that stop in the middle stop the service. Here
every thread waits on one epoll for the next connection on which something has arrived, takes what is
there without blocking, and serves the request once its last byte is in. Nothing is handed from thread
to thread, which in one interpreter costs more than serving. The main thread accepts, and closes what has
outlived its deadline.

This overrides the connection handling of gunicorn 27's `ThreadWorker`; the dependency is pinned below 28.
"""

import re
import select
import socket
import ssl
import time
from concurrent.futures import Future
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
SWEEP_SECONDS: Final = 0.25  # how late a deadline may be noticed
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
        self.is_closing = False
        self.number: int = self.sock.fileno()

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

    def discard(self) -> None:
        """Throw away what a client still sends while its connection closes. Raises as `receive` does."""
        while self.sock.recv(_RECEIVE_OCTETS):
            pass
        raise ConnectionResetError

    def load_parser(self) -> None:
        """Hand what has arrived to gunicorn's parser."""
        if self.parser is None:
            self.parser = http.get_parser(self.cfg, self.sock, self.client)
            self.initialized = True
        self.parser.unreader.unread(bytes(self.received))
        self.received.clear()


class BufferingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn is untyped
    """Serves whole requests; everything slow is waited for by nobody in particular.

    A connection is either in `_waiting`, armed in the epoll for one event, or owned by the thread that
    took it out. `dict.pop` decides between a thread and the sweep: who gets the connection owns it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._open: dict[Connection, None] = {}
        self._waiting: dict[int, Connection] = {}
        self._epoll = select.epoll()
        self._is_serving = True

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """Begin to stop: the loop notices within a sweep."""
        self.alive = False

    def run(self) -> None:
        """Accept and sweep until told to stop, then until what has begun is done."""
        threads = [self.tpool.submit(self._serve) for _ in range(self.cfg.threads)]
        for listener in self.sockets:
            listener.setblocking(False)
        while self.alive and self.is_parent_alive():
            self.notify()
            readable, _, _ = select.select(self.sockets, [], [], SWEEP_SECONDS)
            for listener in readable:
                self.accept(listener)
            self._sweep(time.monotonic())
        self._drain(time.monotonic() + self.cfg.graceful_timeout)
        self._is_serving = False
        _wait_for(threads)

    def accept(self, listener: Any) -> None:
        """Take a new connection.

        All workers wait on one listening socket. The more a worker has, the longer it leaves a newcomer
        to the others; otherwise whoever wakes first takes all of a burst.
        """
        time.sleep(min(len(self._open), ACCEPT_PAUSES_MAX) * ACCEPT_PAUSE_SECONDS)
        try:
            client, address = listener.accept()
        except OSError:
            return  # gone already, or taken by another worker
        if len(self._open) >= CONNECTIONS_MAX:
            self._close_oldest()
        try:
            connection = Connection(self.cfg, client, address, listener.getsockname())
        except OSError:
            client.close()  # gone between accept and the start of TLS
            return
        self._open[connection] = None
        connection.deadline = time.monotonic() + self.cfg.timeout_of_request
        self._waiting[connection.number] = connection
        self._epoll.register(connection.number, select.EPOLLIN | select.EPOLLONESHOT)

    def _serve(self) -> None:
        """Be one of the threads that go on with whatever has something to go on with."""
        while self._is_serving:
            for number, _ in self._epoll.poll(SWEEP_SECONDS, 1):
                connection = self._waiting.pop(number, None)
                if connection is not None:
                    self._go_on_safely(connection)

    def _go_on_safely(self, connection: Connection) -> None:
        try:
            self._go_on(connection)
        except Exception:  # the outermost shell of a thread, which must outlive any one connection
            self.log.exception("a connection failed")
            self._close(connection)

    def _go_on(self, connection: Connection) -> None:
        """Take a connection as far as what has arrived allows."""
        try:
            if connection.is_closing:
                connection.discard()
            connection.receive()
        except ssl.SSLWantWriteError:
            self._wait(connection, select.EPOLLOUT)
        except (ssl.SSLWantReadError, BlockingIOError):
            self._note_request_began(connection)
            self._wait(connection, select.EPOLLIN)
        except ssl.SSLError as fault:
            metrics.HANDSHAKE_FAULTS.inc()
            self.log.info("TLS handshake failed with %s: %s", connection.client[0], fault.reason)
            self._close(connection)
        except (OSError, ValueError):
            self._close(connection)
        else:
            self._answer(connection)

    def _answer(self, connection: Connection) -> None:
        """Serve the request that is complete, and whatever came behind it on the same connection."""
        while True:
            connection.load_parser()
            keeps = self.handle(connection) and not connection.body_refused
            connection.sock.setblocking(False)
            if not keeps:
                self._linger(connection)
                return
            connection.received += connection.parser.unreader.take_buffered()
            if not connection.received or not connection.is_complete():
                break
        seconds = self.cfg.timeout_of_request if connection.received else self.cfg.keepalive
        connection.deadline = time.monotonic() + (seconds if self.alive else min(seconds, LINGER_SECONDS))
        connection.data_ready = bool(connection.received)
        self._wait(connection, select.EPOLLIN)

    def _note_request_began(self, connection: Connection) -> None:
        """From the first byte on a kept-alive connection, the deadline of a request counts."""
        if connection.received and connection.parser is not None and not connection.data_ready:
            connection.data_ready = True
            connection.deadline = time.monotonic() + self.cfg.timeout_of_request

    def _linger(self, connection: Connection) -> None:
        """Close so that the client can still read its answer, with no thread waiting for it."""
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(connection)
            return
        connection.is_closing = True
        connection.deadline = time.monotonic() + LINGER_SECONDS
        self._wait(connection, select.EPOLLIN)

    def _wait(self, connection: Connection, event: int) -> None:
        """Give a connection up until something happens on it. The caller owns it no longer."""
        self._waiting[connection.number] = connection
        try:
            self._epoll.modify(connection.number, event | select.EPOLLONESHOT)
        except (OSError, ValueError):
            if self._waiting.pop(connection.number, None) is not None:
                self._close(connection)

    def _sweep(self, now: float) -> None:
        """Close what has waited too long."""
        for number, connection in list(self._waiting.items()):
            if connection.deadline <= now and self._waiting.pop(number, None) is connection:
                self._close(connection)

    def _close_oldest(self) -> None:
        number = next(iter(list(self._waiting)), None)
        connection = self._waiting.pop(number, None) if number is not None else None
        if connection is not None:
            self._close(connection)

    def _drain(self, deadline: float) -> None:
        """Let what has begun come to its end: idle connections get a moment, requests the whole grace."""
        for listener in self.sockets:
            listener.close()
        idle_deadline = time.monotonic() + LINGER_SECONDS
        while self._open and time.monotonic() < deadline:
            self.notify()
            for connection in list(self._waiting.values()):
                if not connection.received:
                    connection.deadline = min(connection.deadline, idle_deadline)
            self._sweep(time.monotonic())
            time.sleep(0.02)

    def _close(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        connection.close()


def _wait_for(threads: list["Future[None]"]) -> None:
    """Wait a moment for the serving threads; what a lost one said is not lost."""
    for thread in threads:
        thread.result(timeout=IO_SECONDS)


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
