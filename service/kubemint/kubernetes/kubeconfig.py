"""How to reach an API server: from a kubeconfig, or from what kubelet gives to each pod.

Nothing is run to get a credential and nothing turns verification off: `exec`, `auth-provider`, a proxy,
`insecure-skip-tls-verify`, passwords and impersonation stop the start with their path.
"""

import base64
import binascii
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlsplit

from marshmallow import Schema, ValidationError

from kubemint.documents import parse_yaml
from kubemint.errors import ConfigurationError, InvalidDocument
from kubemint.fields import problem_lines
from kubemint.kubernetes.api_server import ApiServer, tls_context
from kubemint.kubernetes.kubeconfig_schemas import ClusterSchema, ContextSchema, KubeconfigSchema, UserSchema

SERVICE_ACCOUNT_FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_MAX_FILE_BYTES: Final = 1024 * 1024
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"


def in_cluster(folder: Path, environment: Mapping[str, str]) -> ApiServer:
    """Reach the API server of the cluster that this process is a pod of, as its service account.

    Raises:
        ConfigurationError: it is no pod, or one without `automountServiceAccountToken`.
    """
    host, port = environment.get(_HOST, ""), environment.get(_PORT, "")
    if not host or not (port.isascii() and port.isdecimal()):
        raise ConfigurationError(_HOST, [f"is not set beside {_PORT}: not in a pod? Name a kubeconfig."])
    place = _Place(folder, folder)
    if not place.read("token").strip():
        raise place.at("token", "is empty")
    tls = place.context(place.read("ca.crt"), "ca.crt")
    return ApiServer(host=host, port=int(port), base_path="", tls=tls, tls_name=host, token_file=folder / "token")


class Kubeconfig:
    """Reaches the API server of a kubeconfig's current context, as its user. Threads share it.

    The file that `certificate-authority`, `client-certificate`, `client-key` or `tokenFile` names is sought
    beside the kubeconfig. Contexts, clusters and users that are not current are not looked into.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read: tuple[tuple[_FileState, ...], ApiServer] | None = None

    def server(self) -> ApiServer:
        """Give the API server as the files are now; they are read again only when one of them changed.

        Raises:
            ConfigurationError: with what is wrong, and where.
        """
        read = self._read
        if read is not None and all(state == _FileState.of(state.file) for state in read[0]):
            return read[1]
        place = _Place(self._file, self._file.parent)
        server = _read_kubeconfig(self._file, place)
        self._read = tuple(place.states), server
        return server


def _read_kubeconfig(file: Path, place: "_Place") -> ApiServer:
    try:
        document = KubeconfigSchema().load(parse_yaml(place.read(file.name).encode()))
    except InvalidDocument as fault:
        raise ConfigurationError(str(file), [fault.message]) from None
    except ValidationError as fault:
        raise place.of(fault, "") from None
    context = place.named(
        document["contexts"], document["current_context"], "contexts", "context", ContextSchema()
    )
    cluster = place.named(document["clusters"], context["cluster"], "clusters", "cluster", ClusterSchema())
    user = place.named(document["users"], context["user"], "users", "user", UserSchema())
    return _api_server(cluster, user, place)


def _api_server(cluster: Mapping[str, Any], user: Mapping[str, Any], place: "_Place") -> ApiServer:
    server = _server_address(cluster["server"], place)
    tls = place.context(place.content(cluster, "certificate-authority"), "certificate-authority")
    certificate, key = place.content(user, "client-certificate"), place.content(user, "client-key")
    if bool(certificate) != bool(key):
        raise place.at("user", "client-certificate and client-key go together")
    if certificate:
        _load_client_certificate(tls, certificate, key, place)
    if not certificate and not user.get("token") and not user.get("tokenFile"):
        raise place.at("user", "needs a client certificate, a token or a tokenFile")
    host = server.hostname or ""
    return ApiServer(
        host=host,
        port=server.port or 443,
        base_path=server.path.rstrip("/"),
        tls=tls,
        tls_name=cluster.get("tls-server-name", host),
        bearer_token=user.get("token"),
        token_file=place.path(user["tokenFile"]) if "tokenFile" in user else None,
    )


def _server_address(url: str, place: "_Place") -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # checked only when it is asked for
    except ValueError as fault:
        raise place.at("server", f"is no address: {fault}") from None
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise place.at("server", "must be https://HOST[:PORT][/PATH]")
    return parts


def _load_client_certificate(tls: ssl.SSLContext, certificate: str, key: str, place: "_Place") -> None:
    with _private_file(f"{certificate}\n{key}\n") as name:
        try:
            tls.load_cert_chain(name, password="")  # so an encrypted key fails, and does not ask
        except (ssl.SSLError, ValueError):
            raise place.at("client-certificate", "is no certificate with its unencrypted key") from None


@contextmanager
def _private_file(content: str) -> Iterator[str]:
    """Name a file to OpenSSL, which reads keys from files only: one in memory, else the owner's alone (0600)."""
    if sys.platform == "linux":
        with os.fdopen(os.memfd_create("client-certificate"), "w", encoding="utf-8") as in_memory:
            in_memory.write(content)
            in_memory.flush()
            yield f"/proc/self/fd/{in_memory.fileno()}"
    else:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as on_disk:
            on_disk.write(content)
            on_disk.flush()
            yield on_disk.name


@dataclass(frozen=True, slots=True)
class _FileState:
    file: Path
    state: tuple[int, int, int] | None

    @classmethod
    def of(cls, file: Path) -> Self:
        try:
            status = file.stat()
        except OSError:
            return cls(file, None)
        return cls(file, (status.st_mtime_ns, status.st_size, status.st_ino))


class _Place:
    """What is read from one file and those that it names; says of each mistake where it is."""

    def __init__(self, file: Path, folder: Path) -> None:
        self._file = file
        self._folder = folder
        self.states: list[_FileState] = []

    def at(self, where: str, message: str) -> ConfigurationError:
        return ConfigurationError(str(self._file), [f"{where}: {message}"])

    def of(self, fault: ValidationError, where: str) -> ConfigurationError:
        found = problem_lines(fault.messages, where)
        return ConfigurationError(str(self._file), [f"{path}: {message}" for path, message in found])

    def path(self, name: str) -> Path:
        return self._folder / name

    def read(self, name: str) -> str:
        file = self.path(name)
        try:
            self.states.append(_FileState.of(file))  # first: what changes in between is noticed next time
            with file.open("rb") as stream:
                content = stream.read(_MAX_FILE_BYTES + 1)
        except OSError as fault:
            raise ConfigurationError(str(file), [f"cannot be read: {fault.strerror}"]) from None
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigurationError(str(file), ["is too large"])
        try:
            return content.decode("utf-8")
        except ValueError:
            raise ConfigurationError(str(file), ["is not UTF-8"]) from None

    def content(self, entry: Mapping[str, Any], name: str) -> str:
        """Give the text of `NAME-data` (base64), which counts before the file NAME as for kubectl; else ""."""
        inline = entry.get(f"{name}-data")
        if inline is None:
            return self.read(entry[name]) if name in entry else ""
        try:
            return base64.b64decode(inline, validate=True).decode("ascii")
        except (binascii.Error, ValueError):
            raise self.at(f"{name}-data", "is not PEM in base64") from None

    def named(self, entries: Any, name: str, kind: str, member: str, schema: Schema) -> Mapping[str, Any]:
        found = [entry[member] for entry in entries if entry.get("name") == name and member in entry]
        if len(found) != 1:
            raise self.at(kind, f"must hold {name!r} once")
        try:
            loaded: Mapping[str, Any] = schema.load(found[0])
        except ValidationError as fault:
            raise self.of(fault, f"{kind}.{name}") from None
        return loaded

    def context(self, ca_pem: str, name: str) -> ssl.SSLContext:
        try:
            return tls_context(ca_pem)
        except (ssl.SSLError, ValueError):
            raise self.at(name, "holds no CA certificate in PEM; one must be named, a public CA's too") from None
