"""A witness as C2SP tlog-witness describes it, on loopback: strict, with a memory in a file, over HTTP or HTTPS.

It shares with the service only the arithmetic of hashes; what it reads, it reads by itself. `answer` replaces
what it says by what a test wants; `checkpoints` are those that it cosigned.
"""

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from authentication.certificates import SERVER_AUTH, client_ca, cn
from kubemint.errors import InvalidProof
from kubemint.transparency.checkpoint import NoteVerifier, note_text, open_checkpoint
from kubemint.transparency.tree import verify_consistency
from transparency.cosigner import Cosigner

Handler = BaseHTTPRequestHandler
Answer = Callable[[Handler, str], None]


class TestWitness:
    """A witness of the logs with these keys. Its memory and its port outlive `stop` and `start`."""

    __test__ = False

    def __init__(self, folder: Path, name: str = "witness.test/w1", *, tls: bool = False) -> None:
        label = name.rpartition("/")[2]
        self._memory = folder / f"{label}.json"
        self._key = Ed25519PrivateKey.generate()
        self.cosigner = Cosigner(name, self._key)
        self.logs: dict[str, NoteVerifier] = {}
        self.requests: list[str] = []
        self.checkpoints: list[str] = []
        self.statuses: list[int] = []
        self.most_at_once = 0
        self.answer: Answer | None = None
        self.clock_is_off = timedelta(0)
        self.release = threading.Event()
        self._at_once = 0
        self._lock = threading.Lock()
        self._context = _tls(folder, label) if tls else None
        self.ca_file = folder / f"{label}-ca.crt" if tls else None
        self._port = 0
        self.start()

    @property
    def vkey(self) -> str:
        """Give the key that a log's configuration names."""
        return self.cosigner.vkey

    @property
    def url(self) -> str:
        """Give the submission prefix."""
        return f"{'http' if self._context is None else 'https'}://localhost:{self._port}/prefix"

    def settings(self, *, required: bool = True) -> dict[str, Any]:
        """Give what stands in `log.witnesses`."""
        known = {} if self.ca_file is None else {"caFile": str(self.ca_file)}
        return {"key": self.vkey, "url": self.url, "required": required} | known

    def trust(self, vkey: str) -> None:
        """Witness this log from now on."""
        key = NoteVerifier.from_vkey(vkey)
        self.logs[key.name] = key

    def size(self, origin: str) -> int:
        """Give the size that was cosigned last."""
        return int(self._remembered().get(origin, (0, ""))[0])

    def start(self) -> None:
        """Listen, on the port of the last time if there was one."""
        self.release.clear()
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_address[1]
        if self._context is not None:
            self._server.socket = self._context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def handle(self, handler: Handler) -> None:
        """Serve one request."""
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        with self._lock:
            self.requests.append(body)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if self.answer is not None:
                self.answer(handler, body)
            elif handler.path != "/prefix/add-checkpoint":
                send(handler, 404)
            else:
                self.add_checkpoint(handler, body)
        finally:
            with self._lock:
                self._at_once -= 1

    def add_checkpoint(self, handler: Handler, body: str) -> None:
        """Do what the specification says, step by step; checking and remembering are one step."""
        head, separator, note = body.partition("\n\n")
        old_line, *proof_lines = head.split("\n")
        if not separator or not old_line.startswith("old ") or len(proof_lines) > 63:
            return self._say(handler, 400)
        old_size = int(old_line.removeprefix("old "))
        assert str(old_size) == old_line.removeprefix("old "), "leading zeroes"
        proof = [base64.b64decode(line, validate=True) for line in proof_lines]
        if (log := self.logs.get(note.split("\n")[0])) is None:
            return self._say(handler, 404)
        try:
            checkpoint = open_checkpoint(note, log)
        except InvalidProof:
            return self._say(handler, 403)
        if old_size > checkpoint.size:
            return self._say(handler, 400)
        with self._lock:
            memory = self._remembered()
            size, root = memory.get(log.name, (0, ""))
            if old_size != size or (size == checkpoint.size and root != checkpoint.root.hex()):
                return self._say(handler, 409, f"{size}\n".encode(), "text/x.tlog.size")
            try:
                old_root = bytes.fromhex(root) if size else _EMPTY
                verify_consistency(size, old_root, checkpoint.size, checkpoint.root, proof)
            except InvalidProof:
                return self._say(handler, 422)
            memory[log.name] = checkpoint.size, checkpoint.root.hex()
            self._memory.write_text(json.dumps(memory))
            self.checkpoints.append(note)
        line = self.cosigner.cosign(note_text(note), datetime.now(UTC) + self.clock_is_off)
        return self._say(handler, 200, f"{line}\n".encode(), "text/plain; charset=utf-8")

    def _say(self, handler: Handler, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
        self.statuses.append(status)
        send(handler, status, body, kind)

    def _remembered(self) -> dict[str, tuple[int, str]]:
        return json.loads(self._memory.read_text()) if self._memory.exists() else {}


def send(handler: Handler, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
    """Answer."""
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def saying(status: int, body: bytes = b"", kind: str = "text/plain") -> Answer:
    """Make an answer that is always the same."""
    return lambda handler, _: send(handler, status, body, kind)


@contextmanager
def witness(folder: Path, name: str = "witness.test/w1", *, tls: bool = False) -> Iterator[TestWitness]:
    """Run a witness for the length of a `with`."""
    running = TestWitness(folder, name, tls=tls)
    try:
        yield running
    finally:
        running.stop()


class _Server(ThreadingHTTPServer):
    """One thread for a connection; a client that leaves is no event."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients leave in the middle."""


def _handler(served: TestWitness) -> type[Handler]:
    class _Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            served.handle(self)

        def log_message(self, *_: Any) -> None:
            pass

    return _Handler


def _tls(folder: Path, label: str) -> ssl.SSLContext:
    now = datetime.now(UTC)
    ca = client_ca(f"{label} TLS CA", now)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = ca.client(cn("localhost"), now=now, purposes=SERVER_AUTH, extensions=(names,))
    (folder / f"{label}-ca.crt").write_bytes(ca.certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate.files(folder, label))
    return context


_EMPTY = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")  # SHA-256 of nothing
