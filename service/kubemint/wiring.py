"""`Config` → `Service`: the only place that knows every adapter, the clock and the source of chance."""

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from kubemint import metrics
from kubemint.audit import Event, Recorded
from kubemint.authentication import Authenticator
from kubemint.authentication.mtls import CertificateAuthenticator
from kubemint.authentication.tokens import TokenAuthenticator
from kubemint.config import Cluster, Config
from kubemint.decision_log import DecisionLog
from kubemint.errors import ConfigurationError, KubemintError, LedgerUnavailable
from kubemint.issuance import Issuance
from kubemint.ledger import sqlite
from kubemint.ledger.reader import LedgerReader
from kubemint.ledger.schema import migrate
from kubemint.ledger.writer import LedgerWriter
from kubemint.policy.rules import Policy
from kubemint.signing import open_key
from kubemint.signing.pem import load_certificates
from kubemint.signing.probe import check_signing
from kubemint.x509.issuer import Issuer, issuer_from, issuer_problems
from kubemint.x509.profile import SERIAL_BITS

READINESS_SECONDS: Final = 3.0  # how long the answer of a readiness check is good for


class Ledger:
    """The SQLite ledger as issuing sees it: writes through one connection, reads through others."""

    def __init__(self, writer: LedgerWriter, reader: LedgerReader) -> None:
        self._writer = writer
        self.preparing = writer.preparing
        self.find_by_key = reader.find_by_key

    def append(self, event: Event) -> Recorded:
        """Keep `kubemint.issuance.Ledger.append`, and count what fails."""
        try:
            return self._writer.append(event)
        except LedgerUnavailable:
            metrics.LEDGER_FAULTS.inc()
            raise


@dataclass(frozen=True, kw_only=True)
class Service:
    """All that the web needs, open and checked."""

    issuance: Issuance
    policy: Policy
    reader: LedgerReader
    authenticators: Sequence[Authenticator]
    cluster: Cluster | None
    chain_pem: tuple[str, ...]
    trust_bundle_pem: tuple[str, ...]
    clock: Callable[[], datetime]
    check_ready: Callable[[], str | None]


def open_service(config: Config) -> Service:
    """Open keys, files and connections; to be called in the process that uses them, after the fork.

    Raises:
        ConfigurationError, LedgerUnavailable: the service must not serve.
    """
    issuer = _open_issuer(config)
    writer = LedgerWriter(sqlite.SqliteFile(config.ledger_file, config.ledger_lock_wait), DecisionLog().write)
    reader = LedgerReader(sqlite.open_for_reading(config.ledger_file, config.server.threads))
    return Service(
        issuance=Issuance(
            policy=config.policy,
            issuer=issuer,
            ledger=Ledger(writer, reader),
            clock=utc_now,
            draw_serial=draw_serial,
        ),
        policy=config.policy,
        reader=reader,
        authenticators=_authenticators(config),
        cluster=config.cluster,
        chain_pem=_pem(issuer.chain),
        trust_bundle_pem=_pem(issuer.trust_bundle),
        clock=utc_now,
        check_ready=Readiness(issuer, writer),
    )


def prepare(config: Config) -> None:
    """Check all that a start needs and bring the ledger's tables up to date; opens and closes everything.

    Raises:
        ConfigurationError, LedgerUnavailable: the service must not start.
    """
    issuer = _open_issuer(config)
    check_signing(issuer)
    _authenticators(config)
    try:
        sqlite.create_file(config.ledger_file)
    except OSError as fault:
        raise LedgerUnavailable(f"{config.ledger_file}: {fault.strerror}") from None
    database = sqlite.SqliteFile(config.ledger_file, config.ledger_lock_wait)
    migrate(database)
    database.engine.dispose()


class Readiness:
    """Whether this process can do its work, found out by doing it; asked often, done every few seconds."""

    def __init__(self, issuer: Issuer, writer: LedgerWriter) -> None:
        self._issuer = issuer
        self._writer = writer
        self._lock = threading.Lock()
        self._known_until = 0.0
        self._problem: str | None = "not-checked-yet"

    def __call__(self) -> str | None:
        """Say why the service is not ready; None if it is."""
        if time.monotonic() >= self._known_until and self._lock.acquire(blocking=False):
            try:
                self._problem = self._find_problem()
                self._known_until = time.monotonic() + READINESS_SECONDS
            finally:
                self._lock.release()
        return self._problem  # while another finds out, what was known before

    def _find_problem(self) -> str | None:
        now = utc_now()
        if now > self._issuer.limits.not_after:
            return "issuer-expired"
        try:
            check_signing(self._issuer)
            self._writer.check_writable(now)
        except (KubemintError, InvalidSignature) as fault:
            return fault.code if isinstance(fault, KubemintError) else "signing-failed"
        return None


def utc_now() -> datetime:
    """Tell the time, aware UTC."""
    return datetime.now(UTC)


def draw_serial() -> int:
    """Draw a serial number: positive, from a cryptographic source (RFC 5280 4.1.2.2)."""
    while not (serial_number := secrets.randbits(SERIAL_BITS)):
        pass
    return serial_number


def _open_issuer(config: Config) -> Issuer:
    files = config.issuer
    certificates = tuple(load_certificates(files.certificate_file))
    issuer = issuer_from(certificates, open_key(files.key_uri, config.directory, files.passphrase_file))
    if problems := list(issuer_problems(issuer, utc_now())):
        raise ConfigurationError(str(files.certificate_file), problems)
    return issuer


def _authenticators(config: Config) -> tuple[Authenticator, ...]:
    ways: list[Authenticator] = []
    if config.tokens_file is not None:
        ways.append(TokenAuthenticator(config.tokens_file))
    if config.client_authorities:
        ways.append(CertificateAuthenticator(config.client_authorities))
    if not ways:
        raise ConfigurationError(
            "authentication", ["nobody could prove who they are: name tokensFile or certificates"]
        )
    return tuple(ways)


def _pem(certificates: Sequence[x509.Certificate]) -> tuple[str, ...]:
    return tuple(certificate.public_bytes(Encoding.PEM).decode("ascii") for certificate in certificates)
