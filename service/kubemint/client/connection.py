"""Talking to a service: where it is, whom to trust, how to prove oneself.

Built on `http.client`, which follows no redirect: a token goes to the address that was named and to
no other. Where the service cannot be reached or is busy, the same request is sent again a few times
with the same Idempotency-Key, so that a retry can never make a second certificate.
"""

import http.client
import json
import os
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from kubemint.client.files import read_token
from kubemint.documents import parse_json, parse_yaml
from kubemint.errors import (
    ConfigurationError,
    InvalidDocument,
    InvalidProof,
    Reason,
    ServiceRefused,
    ServiceUnavailable,
)
from kubemint.transparency.checkpoint import NoteVerifier

CLIENT_FILE: Final = Path(".kubemint/client.yaml")
URL_VARIABLE: Final = "KUBEMINT_URL"
CA_VARIABLE: Final = "KUBEMINT_CA"
TOKEN_FILE_VARIABLE: Final = "KUBEMINT_TOKEN_FILE"  # noqa: S105 - the name of a variable

_TRIES: Final = 3
_PAUSE_SECONDS: Final = 1.0
_TIMEOUT_SECONDS: Final = 20.0
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAddress:
    """Where the service is; without `ca_file` the system's CAs are trusted. `log_key` is its log's."""

    url: SplitResult
    ca_file: Path | None
    token_file: Path | None
    log_key: NoteVerifier | None = None


def find_service(
    url: str | None,
    ca_file: Path | None,
    token_file: Path | None,
    environment: Mapping[str, str] = os.environ,
) -> ServiceAddress:
    """Find the service: each setting from its option, else its variable; where all are missing, from the file.

    Raises:
        ConfigurationError: nothing names a service, or its address would send the token in clear.
    """
    given = (url, ca_file, *map(environment.get, (URL_VARIABLE, CA_VARIABLE, TOKEN_FILE_VARIABLE)))
    # A token from the environment must not go to an address that came with some folder: where anything else is
    # given, the file does not count. Another token for the service of this folder may be named on the spot.
    local = {} if any(given) else _local_settings()
    address = url or environment.get(URL_VARIABLE) or local.get("url")
    if address is None:
        raise ConfigurationError(
            "service", [f"name it with --url or {URL_VARIABLE}, or work where {CLIENT_FILE} is"]
        )
    try:
        parts = urlsplit(address)
        _ = parts.port  # checked only when it is asked for
    except ValueError as fault:
        raise ConfigurationError("service", [f"{address!r} is no address: {fault}"]) from None
    if not parts.hostname:
        raise ConfigurationError("service", [f"{address!r} names no host"])
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ConfigurationError("service", [f"{address!r} must begin with https:// (or http:// on this machine)"])
    return ServiceAddress(
        url=parts,
        ca_file=ca_file or _path(environment.get(CA_VARIABLE)) or local.get("ca"),
        token_file=token_file or _path(environment.get(TOKEN_FILE_VARIABLE)) or local.get("tokenFile"),
        log_key=_log_key(local.get("logKey")),
    )


class ServiceConnection:
    """Calls the API of one service."""

    def __init__(self, address: ServiceAddress, pause: Callable[[float], None] = time.sleep) -> None:
        self._address = address
        self._pause = pause
        self._headers = {"Accept": "application/json", "User-Agent": "kubemint"}
        if address.token_file is not None:
            self._headers["Authorization"] = f"Bearer {read_token(address.token_file)}"

    def get(self, path: str) -> dict[str, Any]:
        """GET a JSON document.

        Raises:
            ServiceRefused: the service answered with a problem.
            ServiceUnavailable: it did not answer, or not as it should.
        """
        return self._document(*self._call("GET", path, None, {}))

    def post(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """POST a JSON document, for the effect of at most one. Raises as `get` does."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": secrets.token_urlsafe(24)}
        return self._document(*self._call("POST", path, json.dumps(document).encode(), headers))

    def get_octets(self, path: str) -> bytes:
        """GET what is no JSON, such as a part of the log. Raises as `get` does."""
        status, answer = self._call("GET", path, None, {"Accept": "*/*"})
        if status != http.HTTPStatus.OK:
            self._document(status, answer)
            raise ServiceUnavailable(f"the service answered {status}; is it kubemint?")
        return answer

    def _document(self, status: int, answer: bytes) -> dict[str, Any]:
        try:
            return _document(status, answer)
        except ServiceRefused as refusal:
            if status != http.HTTPStatus.UNAUTHORIZED or self._address.token_file is not None:
                raise
            hint = f"no token was shown; name one with --token-file or {TOKEN_FILE_VARIABLE}"
            raise ServiceRefused(f"{refusal.message}\n  {hint}", refusal.reasons, status=status) from None

    def _call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        for tries_left in reversed(range(_TRIES)):
            try:
                status, answer = self._exchange(method, path, body, headers)
            except ssl.SSLCertVerificationError as fault:
                ca_file = self._address.ca_file
                hint = f"by {ca_file}" if ca_file else f"name its CA with --ca or {CA_VARIABLE}"
                told = f"the certificate of {self._address.url.netloc} is not trusted: {fault.verify_message}"
                raise ServiceUnavailable(f"{told} ({hint})") from None
            except (OSError, http.client.HTTPException) as fault:
                if not tries_left:
                    raise ServiceUnavailable(f"{self._address.url.geturl()} does not answer: {fault}") from None
            else:
                if status != http.HTTPStatus.SERVICE_UNAVAILABLE or not tries_left:
                    return status, answer
            self._pause(_PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        connection = self._connect()
        try:
            connection.request(
                method, self._address.url.path.rstrip("/") + path, body, {**self._headers, **headers}
            )
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._address.url.hostname or "", self._address.url.port
        if self._address.url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
        try:
            context = ssl.create_default_context(cafile=self._address.ca_file)
        except OSError as fault:
            raise ConfigurationError(str(self._address.ca_file), [f"is no CA file: {fault}"]) from None
        return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)


def _document(status: int, answer: bytes) -> dict[str, Any]:
    try:
        document = parse_json(answer)
    except InvalidDocument:
        raise ServiceUnavailable(f"the service answered {status} without JSON; is it kubemint?") from None
    if not isinstance(document, dict):
        raise ServiceUnavailable(f"the service answered {status} with JSON of another shape; is it kubemint?")
    if status in {http.HTTPStatus.OK, http.HTTPStatus.CREATED, http.HTTPStatus.ACCEPTED}:
        return document
    if not http.HTTPStatus.BAD_REQUEST <= status < http.HTTPStatus.INTERNAL_SERVER_ERROR:
        raise ServiceUnavailable(f"the service answered {status}: {_problem_text(document)}")
    reasons = tuple(
        Reason(code=str(reason.get("code")), message=str(reason.get("message")), path=str(reason.get("path")))
        for reason in _objects(document, "reasons")
    )
    raise ServiceRefused(_problem_text(document), reasons, status=status)


def _problem_text(document: Mapping[str, Any]) -> str:
    lines = [
        f"{document.get('detail', 'no detail')} ({document.get('code')}, request {document.get('requestId')})"
    ]
    lines += [f"  - {reason.get('message')} [{reason.get('path')}]" for reason in _objects(document, "reasons")]
    lines += [f"  - {error.get('path')}: {error.get('message')}" for error in _objects(document, "errors")]
    return "\n".join(lines)


def _objects(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = document.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _local_settings() -> dict[str, Any]:
    if not CLIENT_FILE.exists():
        return {}
    try:
        settings = parse_yaml(CLIENT_FILE.read_bytes())
    except OSError as fault:
        raise ConfigurationError(str(CLIENT_FILE), [f"cannot be read: {fault.strerror}"]) from None
    except InvalidDocument as fault:
        raise ConfigurationError(str(CLIENT_FILE), [fault.message]) from None
    names = {"url", "ca", "tokenFile", "logKey"}
    if not isinstance(settings, dict) or not settings.keys() <= names:
        raise ConfigurationError(str(CLIENT_FILE), [f"may hold {', '.join(sorted(names))} and nothing else"])
    if not all(isinstance(value, str) for value in settings.values()):
        raise ConfigurationError(str(CLIENT_FILE), ["holds something that is not text"])
    return {
        name: CLIENT_FILE.parent / value if name in {"ca", "tokenFile"} else value
        for name, value in settings.items()
    }


def _log_key(vkey: str | None) -> NoteVerifier | None:
    try:
        return None if vkey is None else NoteVerifier.from_vkey(vkey)
    except InvalidProof as fault:
        raise ConfigurationError(str(CLIENT_FILE), [f"logKey: {fault.message}"]) from None


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
