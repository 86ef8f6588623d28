"""The part of the configuration that is about the record: where it is kept, who signs it, who watches it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import URL, make_url

from kubemint.kubernetes.access_review import Unknown
from kubemint.policy.rules import CertificateRule

_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")  # of libpq's parameters, those that name one


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPlace:
    """Where the record is kept, and for how long what finds it. `url` has an absolute path, and no password."""

    url: URL
    password_file: Path | None
    lock_wait: timedelta
    statement_timeout: timedelta
    retention: timedelta | None
    archive: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Who countersigns that the log only grows. `key` is its verifier key (C2SP signed-note)."""

    key: str
    url: str
    ca_file: Path | None
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A place out of reach of the ledger's administrator that each checkpoint is written to: a file or a URL."""

    file: Path | None
    url: str | None
    ca_file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """How the ledger is signed, and who else watches it."""

    key_uri: str
    passphrase_file: Path | None
    origin: str
    former_keys: tuple[str, ...]
    public: bool
    witnesses: tuple[Witness, ...]
    anchors: tuple[Anchor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Which client certificates may ask whether a credential is revoked, and what of those not on record."""

    clients: tuple[CertificateRule, ...]
    unknown: Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Crl:
    """How long a revocation list counts, and where its parts are fetched: without `url` there are none."""

    lifetime: timedelta
    url: str | None


def ledger_place(body: Mapping[str, Any], directory: Path) -> LedgerPlace:
    """Give where the record is kept, from the checked `ledger` of a file in `directory`."""
    url = make_url(body["url"])
    if url.drivername == "sqlite":
        url = url.set(database=str(directory / (url.database or "")))
    files = {name: str(directory / str(url.query[name])) for name in _FILES if name in url.query}
    url = url.update_query_dict(files)
    return LedgerPlace(
        url=url,
        password_file=_optional(body.get("password_file"), directory),
        lock_wait=body["lock_wait"],
        statement_timeout=body["statement_timeout"],
        retention=body.get("retention"),
        archive=_optional(body.get("archive"), directory),
    )


def log_settings(body: Mapping[str, Any], directory: Path) -> Log:
    """Give how it is signed and watched, from the checked `log` of a file in `directory`."""
    return Log(
        key_uri=body["key"],
        passphrase_file=_optional(body.get("passphrase_file"), directory),
        origin=body["origin"],
        former_keys=tuple(body["former_keys"]),
        public=body["public"],
        witnesses=tuple(
            Witness(
                key=one["key"],
                url=one["url"],
                ca_file=_optional(one.get("ca_file"), directory),
                required=one["required"],
            )
            for one in body["witnesses"]
        ),
        anchors=tuple(
            Anchor(
                file=_optional(one.get("file"), directory),
                url=one.get("url"),
                ca_file=_optional(one.get("ca_file"), directory),
            )
            for one in body["anchors"]
        ),
    )


def _optional(file: str | None, directory: Path) -> Path | None:
    return None if file is None else directory / file
