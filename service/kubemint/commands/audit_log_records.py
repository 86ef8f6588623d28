"""Where `kubemint audit-log` looks certificates up: in the ledger itself, or at the service."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol, Self

from kubemint.client.connection import ServiceConnection
from kubemint.client.pages import walk
from kubemint.config import Config
from kubemint.errors import ConfigurationError, NotPermitted, ServiceRefused, ServiceUnavailable
from kubemint.kubernetes.access_review import is_credential_id
from kubemint.kubernetes.audit_log import KnownCertificate
from kubemint.ledger.reader import Filter, LedgerReader, State
from kubemint.ledger.revocations import RevocationReader
from kubemint.wiring import store_of
from kubemint.x509.names import name_reasons

_PAGE: Final = 500
_READERS: Final = frozenset({"auditor", "operator"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidCertificate:
    """A certificate on record that counts now; times are as the record writes them."""

    credential_id: str
    serial_number: str
    user: str
    requester: str
    issued_at: str
    not_after: str

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Take it out of the record's fields. Raises KeyError, TypeError: they are others."""
        names = ("credentialId", "serialNumber", "user", "requester", "time", "notAfter")
        credential_id, serial_number, user, requester, issued_at, not_after = (str(fields[name]) for name in names)
        return cls(
            credential_id=credential_id,
            serial_number=serial_number,
            user=user,
            requester=requester,
            issued_at=issued_at,
            not_after=not_after,
        )


class Records(Protocol):
    """What is known of certificates. Methods raise LedgerUnavailable, ServiceRefused or ServiceUnavailable."""

    def find(self, credential: str) -> KnownCertificate | None:
        """Find a certificate by credential id or by serial number in hex; None if it was never issued here."""

    def has_certificate_of(self, user: str) -> bool:
        """Tell whether a certificate was issued here to somebody who is called so."""

    def valid(self) -> Iterator[ValidCertificate]:
        """Walk over what counts now, newest first."""


class LedgerRecords:
    """The ledger that a configuration names."""

    def __init__(self, config: Config) -> None:
        """Open it for reading.

        Raises:
            ConfigurationError: there is none.
        """
        store = store_of(config)
        if not store.exists():
            raise ConfigurationError("ledger.url", ["there is no ledger"])
        engine = store.for_reading(readers=1)
        self._reader, self._revocations = LedgerReader(engine), RevocationReader(engine)

    def find(self, credential: str) -> KnownCertificate | None:
        """Keep `Records.find`."""
        look_up = (
            self._reader.find_by_credential_id if is_credential_id(credential) else self._reader.find_by_serial
        )
        entry = look_up(credential)
        if entry is None:
            return None
        withdrawal = self._revocations.of_certificates([entry.index]).get(entry.index)
        return KnownCertificate(
            serial_number=entry.fields["serialNumber"],
            user=entry.fields["user"],
            revoked_at=None if withdrawal is None else withdrawal.revoked_at,
        )

    def has_certificate_of(self, user: str) -> bool:
        """Keep `Records.has_certificate_of`."""
        if not _is_name(user):
            return False
        return bool(self._reader.page(Filter(user=user), datetime.now(UTC), limit=1).entries)

    def valid(self) -> Iterator[ValidCertificate]:
        """Keep `Records.valid`."""
        now, before = datetime.now(UTC), None
        while True:
            page = self._reader.page(Filter(state=State.VALID), now, limit=_PAGE, before=before)
            yield from (ValidCertificate.from_fields(entry.fields) for entry in page.entries)
            before = page.next_before
            if before is None:
                return


class ServiceRecords:
    """The service, asked over HTTP."""

    def __init__(self, connection: ServiceConnection) -> None:
        """Check first that it shows everything: what it hides from others, it says is not there.

        Raises:
            NotPermitted: it would not.
            ServiceRefused, ServiceUnavailable: as `ServiceConnection.get` does.
        """
        self._connection = connection
        roles = connection.get("/v1/policy").get("roles")
        if not isinstance(roles, list):
            raise ServiceUnavailable("the service's answer holds no roles; is it kubemint?")
        if not _READERS & set(map(str, roles)):
            raise NotPermitted(
                "Only auditors and operators see what others asked for; name such a token with --token-file,"
                " or with --config the ledger itself."
            )

    def find(self, credential: str) -> KnownCertificate | None:
        """Keep `Records.find`."""
        try:
            record = self._connection.get(f"/v1/certificates/{credential}")
        except ServiceRefused as refusal:
            if refusal.status != 404:
                raise
            return None
        return _known(record)

    def has_certificate_of(self, user: str) -> bool:
        """Keep `Records.has_certificate_of`."""
        if not _is_name(user):
            return False
        return any(True for _ in walk(self._connection, "/v1/certificates", {"user": user}, 1))

    def valid(self) -> Iterator[ValidCertificate]:
        """Keep `Records.valid`."""
        for item in walk(self._connection, "/v1/certificates", {"state": "valid"}, None):
            try:
                yield ValidCertificate.from_fields(item)
            except (KeyError, TypeError):
                raise _no_record() from None


def _is_name(user: str) -> bool:
    """Tell whether a certificate could name it: what others log as a user need not be fit to be looked up."""
    return next(name_reasons(user, "user"), None) is None


def _known(record: Mapping[str, Any]) -> KnownCertificate:
    revocation = record.get("revocation")
    try:
        return KnownCertificate(
            serial_number=str(record["serialNumber"]),
            user=str(record["user"]),
            revoked_at=None if revocation is None else _moment(revocation["time"]),
        )
    except (KeyError, TypeError, ValueError):
        raise _no_record() from None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no zone")
    return moment


def _no_record() -> ServiceUnavailable:
    return ServiceUnavailable("the service's answer holds no certificate on record; is it kubemint?")
