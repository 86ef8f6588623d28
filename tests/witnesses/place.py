"""An address that keeps what is PUT there, as a web server with entity tags does; or without them."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Place:
    """Holds one body. `reads` and `tags` say what the server can do; `puts` is all that was written."""

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.puts: list[bytes] = []
        self.kinds: set[str] = set()
        self.reads = True
        self.tags = True
        self.failing = False
        self.before_put: list[bytes] = []  # what others write in the meantime
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/checkpoint"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def tag(self) -> str:
        """Give the entity tag of what is there."""
        return f'"{hashlib.sha256(self.body or b"").hexdigest()}"'

    def get(self) -> tuple[int, bytes]:
        """Answer a GET: status and body."""
        if self.failing:
            return 500, b""
        if not self.reads:
            return 405, b""
        return (404, b"") if self.body is None else (200, self.body)

    def put(self, body: bytes, wanted_tag: str | None) -> int:
        """Answer a PUT: the status."""
        if self.before_put:
            self.body = self.before_put.pop(0)
        if self.failing:
            return 500
        if self.tags and wanted_tag is not None and wanted_tag != self.tag:
            return 412
        self.body = body
        self.puts.append(body)
        return 204


@contextmanager
def place() -> Iterator[Place]:
    """Run one for the length of a `with`."""
    running = Place()
    try:
        yield running
    finally:
        running.stop()


def _handler(served: Place) -> type[BaseHTTPRequestHandler]:
    class _Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(*served.get())

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            served.kinds.add(self.headers["Content-Type"])
            self._say(served.put(body, self.headers["If-Match"]))

        def _say(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            if served.tags and body:
                self.send_header("ETag", served.tag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return _Handler
