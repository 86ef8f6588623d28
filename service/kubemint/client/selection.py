"""Which certificates are meant, as `kubemint revoke` is told it: options on the command line → a selector."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from cryptography.hazmat.primitives.serialization import Encoding

from kubemint.client.certificate_files import read_certificate
from kubemint.durations import parse_duration
from kubemint.selector import Selector
from kubemint.x509.certificate import CREDENTIAL_ID_PREFIX, credential_id

_HEX: Final = re.compile(r"[0-9a-f]+", re.ASCII)
_SERIAL_DIGITS: Final = range(1, 41)  # RFC 5280 4.1.2.2: at most 20 octets
_SHA256_DIGITS: Final = range(64, 65)


class HexType(click.ParamType[str]):
    """A number in hex as tools print it: with their prefix or without, with colons, in either case."""

    def __init__(self, name: str, prefix: str, digits: range) -> None:
        self.name = name
        self._prefix = prefix
        self._digits = digits

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Give the digits alone, in lower case, or say how it is written."""
        digits = str(value).strip().removeprefix(self._prefix).replace(":", "").lower()
        if not _HEX.fullmatch(digits) or len(digits) not in self._digits:
            count = f"{self._digits.stop - 1}" if len(self._digits) == 1 else f"at most {self._digits.stop - 1}"
            self.fail(f"{value!r} is not {count} hex digits", param, ctx)
        return digits


class MomentType(click.ParamType[datetime]):
    """A time with its zone (RFC 3339); where `ago` is set, also how long ago it was."""

    name = "time"

    def __init__(self, *, ago: bool) -> None:
        self._ago = ago

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Give it as aware UTC, or say how it is written."""
        if isinstance(value, datetime):
            return value
        try:
            moment = self._read(value)
        except (ValueError, OverflowError):
            example = "2026-11-23T05:00:00Z" + (", or 8h for eight hours ago" if self._ago else "")
            self.fail(f"{value!r} is no time with its zone, such as {example}", param, ctx)
        return moment

    def _read(self, text: str) -> datetime:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            if not self._ago:
                raise
            return datetime.now(UTC) - parse_duration(text)
        if moment.tzinfo is None:
            raise ValueError("no zone")
        return moment.astimezone(UTC)


_OPTIONS: Final = (
    click.option(
        "--serial",
        type=HexType("hex", "serial=", _SERIAL_DIGITS),
        help="Serial number, as openssl x509 -serial prints it.",
    ),
    click.option(
        "--credential-id",
        type=HexType("id", CREDENTIAL_ID_PREFIX, _SHA256_DIGITS),
        help="Credential id, as in an audit log: X509SHA256=….",
    ),
    click.option(
        "--certificate",
        "certificate_file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The certificate itself: PEM (the first in it), DER, or a kubeconfig.",
    ),
    click.option("--user", help="User name (CN)."),
    click.option("--group", help="Group (O)."),
    click.option(
        "--key-sha256",
        type=HexType("hex", "sha256:", _SHA256_DIGITS),
        help="SHA-256 of the public key (SubjectPublicKeyInfo).",
    ),
    click.option("--requester", help="Who asked for it: token:ci, oidc:github:…, as the record names them."),
    click.option("--profile", help="Profile of the policy that granted it."),
    click.option(
        "--issued-since", type=MomentType(ago=True), help="Issued then or later: a time, or 8h ago as 8h."
    ),
    click.option("--issued-until", type=MomentType(ago=True), help="Issued before then: a time, or 8h ago as 8h."),
)


def selector_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which certificates are meant."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def selector_of(options: Mapping[str, Any]) -> Selector:
    """Take the selector out of a command's options; it may be empty.

    Raises:
        ConfigurationError: the certificate's file holds none.
        click.UsageError: two options name two certificates, or an empty name.
    """
    names = ("user", "group", "requester", "profile")
    if empty := [name for name in names if options[name] == ""]:
        raise click.UsageError(f"--{empty[0]} is empty.")
    return Selector(
        serial_number=options["serial"],
        credential_id=_credential_id(options["credential_id"], options["certificate_file"]),
        public_key_sha256=options["key_sha256"],
        issued_since=options["issued_since"],
        issued_until=options["issued_until"],
        **{name: options[name] for name in names},
    )


def _credential_id(digest: str | None, certificate_file: Path | None) -> str | None:
    if certificate_file is None:
        return None if digest is None else CREDENTIAL_ID_PREFIX + digest
    if digest is not None:
        raise click.UsageError("--credential-id or --certificate, not both.")
    return credential_id(read_certificate(certificate_file).public_bytes(Encoding.DER))
