"""HTTPS servers that answer as no honest API server does, and the kubeconfigs that lead to them."""

import ipaddress
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import parse_headers
from pathlib import Path
from typing import Any, Self

import jwt
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from authentication.certificates import SERVER_AUTH, ClientCa, client_ca, cn

ISSUER = "https://kubernetes.default.svc"
AUDIENCE = "kubemint"
ANYBODY = ec.generate_private_key(ec.SECP256R1())  # signs what is judged by somebody else

Play = Callable[[socket.socket], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it came."""

    line: str
    headers: Mapping[str, str]
    document: Any
    client_certificate: bytes | None


class PlayedApiServer:
    """Listens on the loopback address; each connection is answered by `play`, which may be exchanged."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        now = datetime.now(UTC)
        self.ca = client_ca("cluster CA", now)
        self.asked: list[Asked] = []
        self.play: Play = says(review())
        self.over = threading.Event()  # what hangs ends with it
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        pair = self.ca.client(cn("kube-apiserver"), now=now, purposes=SERVER_AUTH, extensions=(names,))
        self._tls.load_cert_chain(*pair.files(folder, "server"))
        self._tls.verify_mode = ssl.CERT_OPTIONAL
        self._tls.load_verify_locations(cadata=pem(self.ca))
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._serve, bind_and_activate=True)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End what hangs, and stop."""
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._server.server_address[1]
        return port

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://127.0.0.1:{self.port}"

    def hang(self, _: socket.socket) -> None:
        """Say nothing."""
        self.over.wait(30)

    def drip(self, connection: socket.socket) -> None:
        """Say a byte now and then, of an answer that would be good."""
        self._drip(connection, _response(201, json.dumps(review()).encode(), {}))

    def drip_body(self, connection: socket.socket) -> None:
        """Say the header at once, and a byte of the body now and then."""
        header, separator, body = _response(201, json.dumps(review()).encode(), {}).partition(b"\r\n\r\n")
        connection.sendall(header + separator)
        self._drip(connection, body)

    def _drip(self, connection: socket.socket, answer: bytes) -> None:
        for byte in answer:
            connection.sendall(bytes([byte]))
            if self.over.wait(0.1):
                return

    def _serve(self, plain: socket.socket, *_: object) -> None:
        try:
            with self._tls.wrap_socket(plain, server_side=True) as connection, connection.makefile("rb") as stream:
                line = stream.readline().decode().strip()
                headers = parse_headers(stream)
                document = json.loads(stream.read(int(headers["Content-Length"])))
                certificate = connection.getpeercert(binary_form=True)
                asked = Asked(line=line, headers=dict(headers), document=document, client_certificate=certificate)
                self.asked.append(asked)
                self.play(connection)
        except (OSError, TypeError):
            pass  # the client went away


def says(document: Any, status: int = 201, **headers: str) -> Play:
    """Answer with a document, or with bytes as they are."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return lambda connection: connection.sendall(_response(status, body, headers))


def _response(status: int, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def review(**changed: Any) -> dict[str, Any]:
    """Give a TokenReview that accepts, with another status where it is named."""
    extra = {
        "authentication.kubernetes.io/pod-name": ["web-0"],
        "authentication.kubernetes.io/pod-uid": ["p-1"],
        "authentication.kubernetes.io/node-name": ["node-7"],
        "authentication.kubernetes.io/credential-id": ["JTI=x"],
    }
    groups = ["system:serviceaccounts", "system:authenticated"]
    user = {"username": "system:serviceaccount:shop:deployer", "uid": "u-1", "groups": groups, "extra": extra}
    status = {"authenticated": True, "user": user, "audiences": [AUDIENCE], **changed}
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}


def token(now: datetime, key: Any = ANYBODY, **changed: Any) -> str:
    """Sign a projected token as kube-apiserver does; a claim that is changed to None is left out."""
    claims = {
        "iss": ISSUER,
        "aud": [AUDIENCE],
        "sub": "system:serviceaccount:shop:deployer",
        "iat": int(now.timestamp()),
        "nbf": int(now.timestamp()),
        "exp": int(now.timestamp()) + 600,
        "kubernetes.io": {
            "namespace": "shop",
            "serviceaccount": {"name": "deployer", "uid": "u-1"},
            "pod": {"name": "web-0", "uid": "p-1"},
            "node": {"name": "node-7", "uid": "n-1"},
        },
        **changed,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256")


def pem(ca: ClientCa) -> str:
    """Give a CA's certificate as a kubeconfig has it."""
    return ca.certificate.public_bytes(Encoding.PEM).decode()


def write_kubeconfig(file: Path, server: str, ca: ClientCa, user: Mapping[str, Any], **cluster: Any) -> Path:
    """Write a kubeconfig with a context, and with others that are not current."""
    ca_file = file.with_name("cluster-ca.crt")
    ca_file.write_text(pem(ca))
    known = {"server": server, "certificate-authority": ca_file.name, **cluster}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [
            {"name": "lab", "cluster": {name: value for name, value in known.items() if value is not None}},
            {"name": "other", "cluster": {"server": "http://other", "insecure-skip-tls-verify": True}},
        ],
        "users": [{"name": "kubemint", "user": dict(user)}, {"name": "other", "user": {"exec": {"command": "x"}}}],
        "contexts": [
            {"name": "kubemint@lab", "context": {"cluster": "lab", "user": "kubemint", "namespace": "x"}},
            {"name": "other", "context": {"cluster": "other", "user": "other"}},
        ],
        "current-context": "kubemint@lab",
    }
    file.write_text(yaml.safe_dump(document))
    return file
