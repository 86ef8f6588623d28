"""What answers the client in place of the service: a server on the loopback address that notes what came."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DROP = 0  # a status that no server sends: the connection is closed without an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer to give."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Peer:
    """A server that gives the replies it was told to, in their order, and the last one for ever."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies) or [Reply()]
        self.seen: list[Seen] = []
        self.port = 0

    @property
    def url(self) -> str:
        """Give its address."""
        return f"http://127.0.0.1:{self.port}"

    def answer(self, request: Seen) -> Reply:
        """Note a request and take the next reply."""
        self.seen.append(request)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@contextmanager
def listening(*replies: Reply) -> Iterator[Peer]:
    """Run a server while a `with` lasts."""
    peer = Peer(*replies)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(peer.answer))
    peer.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def document(**members: Any) -> Reply:
    """Give a JSON answer."""
    return Reply(body=json.dumps(members).encode(), headers={"Content-Type": "application/json"})


def problem(status: int, **members: Any) -> Reply:
    """Give a problem document."""
    body = {"status": status, "code": "some-code", "detail": "Some detail.", "requestId": "request-1"} | members
    headers = {"Content-Type": "application/problem+json"}
    return Reply(status=status, body=json.dumps(body).encode(), headers=headers)


def _handler(answer: Callable[[Seen], Reply]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Hands each request on."""

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            reply = answer(Seen(method=self.command, path=self.path, headers=dict(self.headers), body=body))
            if reply.status == DROP:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = _serve  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    return Handler
