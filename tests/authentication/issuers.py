"""Token issuers: keys and tokens of theirs, good and forged, and a real HTTPS server that shows the keys."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from jwt import PyJWS
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.utils import base64url_encode

from authentication.certificates import SERVER_AUTH, client_ca, cn

DISCOVERY = "/.well-known/openid-configuration"
_CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerKey:
    """A signing key of a token issuer."""

    key_id: str | None
    algorithm: str
    private: Any

    def jwk(self, **members: Any) -> dict[str, Any]:
        """Give the public key as the issuer shows it; `members` are added or replaced, None removes one."""
        public = self.private.public_key()
        kind = {"R": RSAAlgorithm, "P": RSAAlgorithm, "E": ECAlgorithm}[self.algorithm[0]]
        if self.algorithm == "EdDSA":
            kind = OKPAlgorithm
        shown = {**kind.to_jwk(public, as_dict=True), "use": "sig", "alg": self.algorithm, "kid": self.key_id}
        shown.pop("key_ops", None)
        return {name: value for name, value in {**shown, **members}.items() if value is not None}

    def token(self, claims: Mapping[str, Any] | bytes, **header: Any) -> str:
        """Sign a token; a header member of None is left out."""
        members = {"alg": self.algorithm, "typ": "JWT", "kid": self.key_id, **header}
        return self.signed({name: value for name, value in members.items() if value is not None}, claims)

    def signed(self, header: Mapping[str, Any] | bytes, claims: Mapping[str, Any] | bytes) -> str:
        """Sign any header and any payload, as they are."""
        content = unsigned(header, claims)
        signature = PyJWS().get_algorithm_by_name(self.algorithm).sign(content.encode(), self.private)
        return f"{content}.{base64url_encode(signature).decode()}"


def unsigned(header: Mapping[str, Any] | bytes, claims: Mapping[str, Any] | bytes) -> str:
    """Give the first two parts of a token."""
    parts = (part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims))
    return ".".join(base64url_encode(part).decode() for part in parts)


def new_key(key_id: str | None = "one", algorithm: str = "ES256", bits: int = 2048) -> IssuerKey:
    """Make a key that fits an algorithm."""
    private: Any
    if algorithm in _CURVES:
        private = ec.generate_private_key(_CURVES[algorithm]())
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = rsa.generate_private_key(65537, bits)
    return IssuerKey(key_id=key_id, algorithm=algorithm, private=private)


def key_set(*keys: IssuerKey | Mapping[str, Any]) -> bytes:
    """Write a JWK set."""
    return json.dumps({"keys": [key.jwk() if isinstance(key, IssuerKey) else key for key in keys]}).encode()


def claims_of(issuer: str, now: datetime, audience: Any = "kubemint", **claims: Any) -> dict[str, Any]:
    """Give the claims of a good token of ten minutes; `claims` are added or replaced, None removes one."""
    seconds = int(now.timestamp())
    standard = {
        "iss": issuer,
        "aud": audience,
        "sub": "jane",
        "iat": seconds,
        "nbf": seconds,
        "exp": seconds + 600,
    }
    return {name: value for name, value in {**standard, **claims}.items() if value is not None}


class IssuerServer:
    """A token issuer on loopback: HTTPS with a certificate of its own CA, and every fault that a test names."""

    def __init__(self, folder: Path, name: str = "issuer") -> None:
        now = datetime.now(UTC)
        ca = client_ca(f"{name} TLS CA", now)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
        certificate = ca.client(cn("localhost"), now=now, purposes=SERVER_AUTH, extensions=(names,))
        self.ca_file = folder / f"{name}-ca.crt"
        self.ca_file.write_bytes(ca.certificate.public_bytes(Encoding.PEM))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate.files(folder, name))
        self.keys = key_set(new_key())
        self.document: dict[str, Any] = {}
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.asked: list[tuple[float, str]] = []
        self.release = threading.Event()
        self._port = 0
        self.start()

    @property
    def issuer(self) -> str:
        """Give the address that its tokens name."""
        return f"https://localhost:{self._port}"

    def asked_for(self, path: str = "/jwks") -> int:
        """Count the requests for a path."""
        return sum(1 for _, asked in self.asked if asked == path)

    def start(self) -> None:
        """Listen, on the port of the last time if there was one."""
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_address[1]
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

    def hang(self, _: BaseHTTPRequestHandler) -> None:
        """Accept a request and say nothing."""
        self.release.wait(20)

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer as an issuer does."""
        if handler.path == DISCOVERY:
            document = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks", **self.document}
            send(handler, json.dumps(document).encode())
        elif handler.path == "/jwks":
            send(handler, self.keys)
        else:
            send(handler, b"{}", status=404)


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    """Send one answer."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Begin a good answer and send a byte of it now and then."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


@contextmanager
def serving(folder: Path, name: str = "issuer") -> Iterator[IssuerServer]:
    """Run an issuer."""
    server = IssuerServer(folder, name)
    try:
        yield server
    finally:
        server.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


def _handler(server: IssuerServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append((time.monotonic(), self.path))
            (server.answer or server.respond)(self)

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    return Handler
