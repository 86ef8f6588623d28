"""A way to a PostgreSQL that breaks at one round trip: before the server heard of it, or after it was done.

It knows the messages of PostgreSQL's protocol (https://www.postgresql.org/docs/18/protocol-message-formats.html)
so far as to tell where a question and its answer end.
"""

import contextlib
import socket
import threading
from pathlib import Path
from typing import Self

from sqlalchemy.engine import URL

from ledger.faulty import When

_QUESTIONS = b"QS"  # Query, and Sync at the end of the extended protocol's messages
_READY = b"Z"
_NAME = ".s.PGSQL.5432"


class SeveringProxy:
    """Listens on a Unix socket in a folder of the test's, while a `with` lasts; `url` leads through it."""

    def __init__(self, folder: Path, server: URL) -> None:
        self.url = server.set(query={"host": str(folder)})
        self.round_trips = 0  # of all connections, since `sever` was called
        self._server = str(Path(str(server.query["host"]), _NAME))
        self._fault: tuple[int, When] | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / _NAME))
        self._listener.listen()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Listen."""
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Close; what was connected has been closed before."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a connection was left open"

    @property
    def is_severed(self) -> bool:
        """Tell whether the way has broken since `sever` was called."""
        return self._fault is None

    def sever(self, round_trip: int, when: When) -> None:
        """Break the way at a round trip, counted from 1."""
        self.round_trips, self._fault = 0, (round_trip, when)

    def mend(self) -> None:
        """Break it no more."""
        self._fault = None

    def _start(self, run: object, *arguments: socket.socket) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)  # type: ignore[arg-type]  # a method
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError, EOFError):
            server.connect(self._server)
            server.sendall(_message(client, typed=False))  # the startup message; trust needs no more of them
            client.sendall(_until(server, _READY))
            while True:
                question = _until(client, _QUESTIONS)
                self.round_trips += 1
                if self._breaks("before"):
                    return
                server.sendall(question)
                answer = _until(server, _READY)
                if self._breaks("after"):
                    return
                client.sendall(answer)

    def _breaks(self, when: When) -> bool:
        if self._fault != (self.round_trips, when):
            return False
        self._fault = None
        return True


def _until(stream: socket.socket, kinds: bytes) -> bytes:
    """Read messages to the first of one of these kinds."""
    messages = b""
    while True:
        message = _message(stream)
        messages += message
        if message[:1] in {bytes([kind]) for kind in kinds}:
            return messages


def _message(stream: socket.socket, *, typed: bool = True) -> bytes:
    head = _exactly(stream, 5 if typed else 4)
    return head + _exactly(stream, int.from_bytes(head[-4:], "big") - 4)


def _exactly(stream: socket.socket, octets: int) -> bytes:
    read = b""
    while len(read) < octets:
        if not (some := stream.recv(octets - len(read))):
            raise EOFError
        read += some
    return read
