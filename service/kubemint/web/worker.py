"""A gunicorn worker in which no slow client can hold a thread.

gunicorn's own threaded worker gives a connection to a thread at its first byte, lets it write until the
client has read, and closes connections in the loop that serves all others; a handful of clients that
stop in the middle stop the service. Here every thread waits on one epoll for the next connection on
which something can be done, does what can be done without blocking, and serves a request once its last
byte is in. Nothing is handed from thread to thread, which in one interpreter costs more than serving.
The main thread accepts, and closes what has outlived its deadline.

This replaces the connection handling of gunicorn 27's `ThreadWorker`; the dependency is pinned below 28.
"""

import errno
import resource
import select
import ssl
import time
from concurrent.futures import Future
from typing import Any, Final, assert_never

from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.workers.gthread import ThreadWorker

from kubemint import metrics
from kubemint.web.arrival import HeadTooLong, TooManyPieces
from kubemint.web.connection import Connection, Phase
from kubemint.web.wire_problems import bad_request, head_too_long, internal_error

CONNECTIONS_MAX: Final = 2000  # a newcomer beyond this takes the place of who has waited longest
FILES_KEPT: Final = 100  # descriptors for everything but connections
ACCEPT_PAUSE_SECONDS: Final = 0.00005  # for each connection that the worker has already …
ACCEPT_PAUSES_MAX: Final = 20  # … up to a millisecond
ANSWER_SECONDS: Final = 10.0  # for the client to take a whole answer
LINGER_SECONDS: Final = 2.0  # for the client to read the answer before the socket goes (RFC 9112 9.6)
SWEEP_SECONDS: Final = 0.25  # how late a deadline may be noticed
DRAIN_STEP_SECONDS: Final = 0.02  # how late the last answer may be noticed while stopping


class TurnOver(Exception):
    """A connection has more to be done, and lets the others go first."""


class BufferingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn is untyped
    """Serves whole requests; everything slow is waited for by nobody in particular.

    A connection is either in `_waiting`, armed in the epoll for one event, or owned by the thread that
    took it out. `dict.pop` decides between a thread and the sweep: who gets the connection owns it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._open: dict[Connection, None] = {}
        self._waiting: dict[int, Connection] = {}
        self._is_serving = True
        self._next_sweep = 0.0

    def init_process(self) -> None:
        """Make what belongs to this process alone; called after the fork. Returns when the worker has stopped."""
        self._epoll = select.epoll()
        self._connections_max = _connections_max()
        super().init_process()

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """Begin to stop: the loop notices within a sweep."""
        self.alive = False

    def handle_quit(self, sig: Any, frame: Any) -> None:
        """Stop at Ctrl-C as at SIGTERM: what has begun takes milliseconds, and is not worth losing."""
        self.alive = False

    def run(self) -> None:
        """Accept and sweep until told to stop, then until what has begun is done."""
        # gunicorn looks every setting up through a dictionary of objects, some twenty times a request.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
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
        if len(self._open) >= self._connections_max:
            self._close_oldest()
        try:
            client, address = listener.accept()
        except OSError as fault:
            if fault.errno in {errno.EMFILE, errno.ENFILE}:
                self._close_oldest()
            return  # or gone already, or taken by another worker
        try:
            connection = Connection(self.cfg, client, address, listener.getsockname())
        except OSError:
            client.close()  # gone between accept and the start of TLS
            return
        self._open[connection] = None
        connection.deadline = time.monotonic() + self.cfg.timeout_of_request
        # Known to the epoll before it is known to the threads: only then can `_wait` arm it.
        self._epoll.register(connection.number, select.EPOLLONESHOT)
        self._wait(connection, select.EPOLLIN)

    def _serve(self) -> None:
        """Be one of the threads that go on with whatever has something to go on with."""
        while self._is_serving:
            try:
                for number, _ in self._epoll.poll(SWEEP_SECONDS, 1):
                    connection = self._waiting.pop(number, None)
                    if connection is not None:
                        self._go_on_safely(connection)
            except BaseException:  # not even a SystemExit from below may end a thread that others count on
                self.log.exception("a serving thread went on after a fault")

    def _go_on_safely(self, connection: Connection) -> None:
        try:
            self._go_on(connection)
        except (ssl.SSLWantWriteError, TurnOver):
            self._wait(connection, select.EPOLLOUT)  # writable it is at once, behind those who wait already
        except BlockingIOError:
            self._wait(connection, select.EPOLLOUT if connection.phase is Phase.ANSWER else select.EPOLLIN)
        except ssl.SSLWantReadError:
            self._wait(connection, select.EPOLLIN)
        except (OSError, TooManyPieces) as fault:
            self._note_handshake_fault(connection, fault)
            self._close(connection)
        except Exception:  # the outermost shell of a thread, which must outlive any one connection
            self.log.exception("a connection failed")
            self._close(connection)

    def _go_on(self, connection: Connection) -> None:
        """Take a connection as far as it goes without blocking; raises what the socket does where that is."""
        while True:
            match connection.phase:
                case Phase.HANDSHAKE:
                    connection.shake_hands()
                case Phase.REQUEST:
                    self._receive(connection)
                case Phase.ANSWER:
                    connection.flush()
                    self._finish_answer(connection)
                case Phase.CLOSE:
                    connection.discard()
                case _ as never:
                    assert_never(never)

    def _receive(self, connection: Connection) -> None:
        had_begun = connection.arrival.has_begun
        try:
            connection.receive()
        except HeadTooLong:
            connection.sock.sendall(head_too_long())
            connection.is_kept = False
        except (BlockingIOError, ssl.SSLWantReadError):
            if connection.arrival.has_begun and not had_begun:
                connection.deadline = time.monotonic() + self.cfg.timeout_of_request
            raise
        else:
            connection.is_kept = self._answer(connection)
        connection.phase = Phase.ANSWER
        connection.deadline = time.monotonic() + ANSWER_SECONDS

    def _answer(self, connection: Connection) -> bool:
        """Write the answer to a complete request into the outbox; true if the connection stays open."""
        body_refused = connection.arrival.body_refused
        parser = connection.parser()
        try:
            keeps = self.handle_request(next(parser), connection) and not body_refused and parser.finish_body()
        except (NoMoreData, StopIteration):
            return False
        except ParseException as fault:
            self.log.info("invalid request from %s: %s", connection.client[0], type(fault).__name__)
            connection.sock.sendall(bad_request(fault))
            return False
        except Exception:  # the application answers its own faults; this one is between it and the socket
            self.log.exception("a request failed")
            connection.sock.pieces[:] = [internal_error()]
            return False
        # Octets that the parser left would be a second request that nobody meant to send.
        return bool(keeps) and not parser.unreader.take_buffered()

    def _finish_answer(self, connection: Connection) -> None:
        if not connection.is_kept:
            connection.deadline = time.monotonic() + LINGER_SECONDS
            connection.shut()
            return
        seconds = self.cfg.timeout_of_request if connection.arrival.has_begun else self.cfg.keepalive
        connection.deadline = time.monotonic() + (seconds if self.alive else min(seconds, LINGER_SECONDS))
        connection.phase = Phase.REQUEST
        if connection.arrival.has_begun:
            raise TurnOver  # requests in a row: the other connections come first
        raise BlockingIOError  # nobody sends the next request before this answer

    def _note_handshake_fault(self, connection: Connection, fault: Exception) -> None:
        if connection.phase is Phase.HANDSHAKE and isinstance(fault, ssl.SSLError):
            metrics.HANDSHAKE_FAULTS.inc()
            self.log.info("TLS handshake failed with %s: %s", connection.client[0], fault.reason)

    def _wait(self, connection: Connection, event: int) -> None:
        """Give a connection up until something can be done with it. The caller owns it no longer."""
        self._waiting[connection.number] = connection
        try:
            self._epoll.modify(connection.number, event | select.EPOLLONESHOT)
        except (OSError, ValueError):
            # The sweep has closed it, and the number may be another's by now: close whom we take out, no other.
            if self._waiting.get(connection.number) is connection:
                found = self._waiting.pop(connection.number, None)
                if found is not None:
                    self._close(found)

    def _sweep(self, now: float) -> None:
        """Close what has waited too long; looks at most every SWEEP_SECONDS."""
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_SECONDS
        for number, connection in list(self._waiting.items()):
            if connection.deadline <= now and self._waiting.pop(number, None) is not None:
                self._close(connection)

    def _close_oldest(self) -> None:
        for number in list(self._waiting)[:1]:
            if (connection := self._waiting.pop(number, None)) is not None:
                self._close(connection)

    def _drain(self, deadline: float) -> None:
        """Let what has begun come to its end: idle connections get a moment, requests the whole grace."""
        for listener in self.sockets:
            listener.close()
        idle_deadline = time.monotonic() + LINGER_SECONDS
        while self._open and time.monotonic() < deadline:
            self.notify()
            for connection in list(self._waiting.values()):
                if connection.phase is Phase.REQUEST and not connection.arrival.has_begun:
                    connection.deadline = min(connection.deadline, idle_deadline)
            self._sweep(time.monotonic())
            time.sleep(DRAIN_STEP_SECONDS)

    def _close(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        connection.close()


def _connections_max() -> int:
    """Allow as many open files as the system lets us, and as many connections as fit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return CONNECTIONS_MAX if most == resource.RLIM_INFINITY else min(CONNECTIONS_MAX, most - FILES_KEPT)


def _wait_for(threads: list["Future[None]"]) -> None:
    """Wait a moment for the serving threads; what a lost one said is not lost."""
    for thread in threads:
        thread.result(timeout=ANSWER_SECONDS)
