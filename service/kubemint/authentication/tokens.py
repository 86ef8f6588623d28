"""Bearer tokens (RFC 6750), kept as SHA-256 hashes with a name and an expiry.

A token has 256 random bits, so one hash is enough: there is nothing to guess. The file is read again
when it changes, so that a new token works, and a deleted one stops working, within a second.
"""

import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from marshmallow import ValidationError, fields, post_load, validate

from kubemint.authentication import Evidence
from kubemint.authentication.unverified import bearer_token
from kubemint.documents import load_yaml_file
from kubemint.errors import ConfigurationError, NotAuthenticated
from kubemint.fields import StrictSchema, Text, problem_lines
from kubemint.policy.loader import API_VERSION
from kubemint.requester import Method, Requester

TOKEN_PREFIX: Final = "kubemint_"  # noqa: S105 - lets secret scanners recognise a leaked one
DEFAULT_TOKEN_LIFETIME: Final = timedelta(days=90)
TOKEN_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")

_CHECK_EVERY_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """What is kept of a token: enough to recognise it, not enough to use it."""

    name: str
    sha256: str
    expires: datetime


def new_token(name: str, expires: datetime) -> tuple[str, TokenRecord]:
    """Draw a token; the first value is the secret and is kept nowhere."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    return token, TokenRecord(name=name, sha256=_digest(token).hex(), expires=expires)


def load_tokens(file: Path) -> tuple[TokenRecord, ...]:
    """Read a tokens file.

    Raises:
        ConfigurationError: with every mistake in it.
    """
    try:
        return tuple(_TokensSchema().load(load_yaml_file(file))["tokens"])
    except ValidationError as fault:
        lines = [f"{path}: {message}" for path, message in problem_lines(fault.messages)]
        raise ConfigurationError(str(file), lines) from None


@contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Keep others from changing a tokens file between reading and replacing it.

    Raises:
        ConfigurationError: its folder cannot be written.
    """
    try:
        lock = os.open(file.with_name(f".{file.name}.lock"), os.O_CREAT | os.O_WRONLY, 0o600)
    except OSError as fault:
        raise ConfigurationError(str(file), [f"cannot be written: {fault.strerror}"]) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def save_tokens(file: Path, records: tuple[TokenRecord, ...]) -> None:
    """Write a tokens file, replacing the old one at once: a reader sees one or the other."""
    document = {
        "apiVersion": API_VERSION,
        "kind": "Tokens",
        "tokens": [
            {"name": record.name, "sha256": record.sha256, "expires": record.expires.isoformat()}
            for record in records
        ],
    }
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as stream:
        json.dump(document, stream, indent=1)  # JSON is YAML, and one library less can go wrong
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)


class TokenAuthenticator:
    """Recognises the tokens of a file. One for a process; threads share it."""

    def __init__(self, file: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._monotonic = monotonic
        self._state: tuple[int, int, int] | None = None
        self._next_check = 0.0
        self._by_digest: Mapping[bytes, TokenRecord] = MappingProxyType({})
        self._reload()

    def authenticate(self, evidence: Evidence, now: datetime) -> Requester | None:
        """Keep `Authenticator.authenticate`: any Authorization header is ours to judge."""
        if evidence.authorization is None:
            return None
        unverified_token = bearer_token(evidence.authorization)
        if unverified_token is None:
            raise _refused()
        digest = _digest(unverified_token)
        if self._monotonic() >= self._next_check:
            self._reload_if_changed()
        # The look-up is by the hash of what was sent, so its timing tells nothing about the tokens kept.
        record = self._by_digest.get(digest)
        known = record is not None and hmac.compare_digest(bytes.fromhex(record.sha256), digest)
        if record is None or not known or record.expires <= now:
            raise _refused()
        return Requester(
            method=Method.TOKEN,
            authority=record.name,
            identity=f"token:{record.name}",
            evidence=f"token sha256:{record.sha256[:16]}",
        )

    def _reload_if_changed(self) -> None:
        self._next_check = self._monotonic() + _CHECK_EVERY_SECONDS
        try:
            state = self._file_state()  # before the content: what changes in between is noticed next time
            if state != self._state:
                self._reload()
                self._state = state
        except (OSError, ConfigurationError) as fault:
            _log.error("tokens file not loaded, the last good one stays", extra={"problem": str(fault)})

    def _reload(self) -> None:
        records = load_tokens(self._file)
        self._by_digest = MappingProxyType({bytes.fromhex(record.sha256): record for record in records})

    def _file_state(self) -> tuple[int, int, int]:
        status = self._file.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino


class _TokenSchema(StrictSchema):
    name = Text(required=True, validate=validate.Regexp(f"^(?:{TOKEN_NAME.pattern})\\Z"))
    sha256 = Text(required=True, validate=validate.Regexp(r"^[0-9a-f]{64}\Z"))
    expires = fields.AwareDateTime(required=True, default_timezone=UTC)

    @post_load
    def _make(self, body: Mapping[str, Any], **_: Any) -> TokenRecord:
        return TokenRecord(**body)


class _TokensSchema(StrictSchema):
    api_version = Text(data_key="apiVersion", required=True, validate=validate.Equal(API_VERSION))
    kind = Text(required=True, validate=validate.Equal("Tokens"))
    tokens = fields.List(fields.Nested(_TokenSchema), required=True)


def _refused() -> NotAuthenticated:
    return NotAuthenticated("The bearer token is not valid.")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
