"""`Config` → `Service`: the only place that knows every adapter, the clock and the source of chance."""

import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from kubemint import metrics
from kubemint.authentication import Authenticator
from kubemint.authentication.kubernetes import KubernetesAuthenticator
from kubemint.authentication.mtls import CertificateAuthenticator
from kubemint.authentication.oidc import OidcAuthenticator
from kubemint.authentication.renewal import RenewalAuthenticator
from kubemint.authentication.tokens import TokenAuthenticator
from kubemint.config import Cluster, Config, known_authorities
from kubemint.decision_log import DecisionLog
from kubemint.documents import read_file
from kubemint.errors import ConfigurationError, LedgerUnavailable
from kubemint.issuance import Issuance
from kubemint.kubernetes.revoked_credentials import RevokedCredentials
from kubemint.ledger.archive import Archive
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.log import LedgerLog
from kubemint.ledger.maintenance import Maintenance
from kubemint.ledger.partitions import make_ahead
from kubemint.ledger.proven import ProvenEntries, proven_policy
from kubemint.ledger.reader import LedgerReader
from kubemint.ledger.revocations import RevocationReader
from kubemint.ledger.schema import check_head, migrate
from kubemint.ledger.stores import Store, open_store
from kubemint.ledger.writer import LedgerWriter
from kubemint.policy.rules import CertificateRule, Policy
from kubemint.policy_file import CurrentPolicy, read_policy
from kubemint.readiness import Readiness
from kubemint.record import Condition, Event, EventKind, Recorded, Unmet
from kubemint.revocation import RevocationDesk
from kubemint.revocation_lists import RevocationLists
from kubemint.signing import open_key
from kubemint.signing.pem import load_certificates
from kubemint.signing.probe import check_signing
from kubemint.transparency.checkpoint import NoteSigner, NoteVerifier
from kubemint.witnesses.reading import WitnessedReader
from kubemint.witnesses.watch import Watch, check_anchors, check_settings, check_unanchored, open_watch
from kubemint.x509.crl_edition import PERIOD
from kubemint.x509.issuer import Issuer, issuer_from, issuer_problems
from kubemint.x509.profile import SERIAL_BITS


class Ledger:
    """The ledger as issuing sees it: writes through one connection, reads through others, and is watched."""

    def __init__(self, writer: LedgerWriter, reader: LedgerReader, log: LedgerLog, watch: Watch) -> None:
        self._writer = writer
        self._watch = watch
        self.preparing = writer.preparing
        self.find_by_key = reader.find_by_key
        self.last_policy = partial(proven_policy, reader, log)

    def append(
        self,
        *events: Event,
        conditions: Sequence[Condition] = (),
        otherwise: Callable[[Unmet], Event] | None = None,
    ) -> Recorded:
        """Keep `kubemint.issuance.Ledger.append`, count what fails, and wait for witnesses of a certificate.

        Raises:
            LedgerUnavailable: a required witness has not seen it, too. It stays on record: who asks again
                under the same idempotency key gets it once it is witnessed.
        """
        if any(event.kind is EventKind.ISSUED for event in events):
            self._watch.check()
        try:
            recorded = self._writer.append(*events, conditions=conditions, otherwise=otherwise)
        except LedgerUnavailable:
            metrics.LEDGER_FAULTS.inc()
            raise
        self._watch.committed()
        if recorded.receipt is None:
            return recorded
        return replace(recorded, receipt=self._watch.receipt(recorded.receipt))


@dataclass(frozen=True, kw_only=True)
class Service:
    """All that the web needs, open and checked, until `close`: anchors are written a last time then."""

    issuance: Issuance
    reader: LedgerReader | WitnessedReader
    register: ProvenEntries
    log: LedgerLog
    log_is_public: bool
    revocations: RevocationReader
    revocation_desk: RevocationDesk
    revoked: RevokedCredentials
    revocation_lists: RevocationLists
    webhook_clients: tuple[CertificateRule, ...]
    authenticators: Sequence[Authenticator]
    cluster: Cluster | None
    chain_pem: tuple[str, ...]
    trust_bundle_pem: tuple[str, ...]
    clock: Callable[[], datetime]
    check_ready: Callable[[], str | None]
    close: Callable[[], None]

    @property
    def policy(self) -> Policy:
        """The policy that counts now."""
        return self.issuance.current_policy()


def open_service(config: Config) -> Service:
    """Open keys, files and connections; to be called in the process that uses them, after the fork.

    Raises:
        ConfigurationError, LedgerUnavailable: the service must not serve.
    """
    issuer = _open_issuer(config)
    store, keys, archive = store_of(config), log_keys_of(config), Archive(config.ledger.archive)
    closing_last_first = ExitStack()
    database, engine = store.writable(), store.for_reading(config.server.threads)
    closing_last_first.callback(database.close)
    closing_last_first.callback(engine.dispose)
    writer = LedgerWriter(database, keys, DecisionLog().write, archive)
    reader = LedgerReader(engine, archive)
    log = LedgerLog(engine, keys, archive)
    proven = ProvenEntries(reader, log)
    watch = open_watch(config.log, store, keys, engine, utc_now, archive)
    closing_last_first.callback(watch.close)
    ledger = Ledger(writer, reader, log, watch)
    policy = CurrentPolicy(config.policy_file, known_authorities(config), ledger, utc_now)
    policy.watch()
    closing_last_first.callback(policy.stop)
    maintenance = Maintenance(store, lambda: kept_for(config, policy()), utc_now)
    maintenance.start()
    closing_last_first.callback(maintenance.stop)
    revocations = RevocationReader(engine)
    revoked = RevokedCredentials(revocations, config.webhook.unknown, utc_now)
    revoked.watch(store.waiter())
    closing_last_first.callback(revoked.stop)
    ways = (
        *_authenticators(config),
        RenewalAuthenticator(issuer, proven.find_by_credential_id, proven.find_by_serial, revocations.is_revoked),
    )
    for way in ways:
        if isinstance(way, OidcAuthenticator):
            way.start()
            closing_last_first.callback(way.close)
    return Service(
        issuance=Issuance(
            current_policy=policy,
            issuer=issuer,
            ledger=ledger,
            clock=utc_now,
            draw_serial=draw_serial,
            draw_name=draw_name,
        ),
        reader=watch.reader,
        register=ProvenEntries(watch.reader, log),
        log=watch.log,
        revocations=revocations,
        revocation_desk=RevocationDesk(
            current_policy=policy, ledger=ledger, revocations=revocations, clock=utc_now, draw_name=draw_name
        ),
        revoked=revoked,
        revocation_lists=RevocationLists(issuer, revocations, config.crl.lifetime, config.crl.url, utc_now),
        webhook_clients=config.webhook.clients,
        log_is_public=config.log.public,
        authenticators=ways,
        cluster=config.cluster,
        chain_pem=_pem(issuer.chain),
        trust_bundle_pem=_pem(issuer.trust_bundle),
        clock=utc_now,
        check_ready=Readiness(issuer, writer, watch.problem, utc_now),
        close=closing_last_first.close,
    )


def load_policy_of(config: Config) -> Policy:
    """Read the policy file that a configuration names.

    Raises:
        ConfigurationError: with every mistake in it.
    """
    return read_policy(read_file(config.policy_file), str(config.policy_file), known_authorities(config))


def kept_for(config: Config, policy: Policy) -> timedelta | None:
    """Give for how long rows of what is over are kept: as configured, and for as long as something counts them.

    Quotas do, and revocation lists: a certificate that has expired stays in the edition that had it. What was
    revoked ends its line for as long as that could go on. None is for ever.
    """
    periods = [profile.quota.per for profile in policy.profiles if profile.quota is not None]
    periods += [profile.renewal for profile in policy.profiles if profile.renewal is not None]
    if config.ledger.retention is None:
        return None
    return max(config.ledger.retention, *periods, config.crl.lifetime + PERIOD)


def prepare(config: Config) -> None:
    """Check all that a start needs and bring the ledger's tables up to date; opens and closes everything.

    Raises:
        ConfigurationError, LedgerUnavailable: the service must not start.
    """
    load_policy_of(config)
    issuer = _open_issuer(config)
    check_signing(issuer)
    _authenticators(config)
    _check_other_authorities(config, issuer)
    check_settings(config.log)
    migrate_ledger(config)
    with closing(store_of(config).writable()) as database:
        check_head(database, log_keys_of(config))
    _compare_with_anchors(config)


def migrate_ledger(config: Config, *, sign_existing: bool = False, is_restored: bool = False) -> None:
    """Bring the ledger's tables up to date, and make the ledger if there is none.

    `sign_existing` signs entries that were never signed. An anchor that holds a checkpoint is against any
    first signature, unless the ledger is about to be restored.

    Raises:
        ConfigurationError, LedgerUnavailable: it cannot be done; nothing was changed.
    """

    def ask_anchors() -> None:
        if not is_restored:
            check_unanchored(config.log, all_must_answer=sign_existing)

    store, keys = store_of(config), log_keys_of(config)
    store.prepare()
    database = store.writable()
    try:
        migrate(database, keys, sign_existing=sign_existing, before_signing=ask_anchors)
        make_ahead(database.engine, utc_now())
    finally:
        database.close()


def store_of(config: Config) -> Store:
    """Give the store that a configuration names; nothing is opened."""
    place = config.ledger
    return open_store(
        place.url,
        password_file=place.password_file,
        lock_wait=place.lock_wait,
        statement_timeout=place.statement_timeout,
    )


def log_keys_of(config: Config) -> LogKeys:
    """Open the key that signs checkpoints; to be called after a fork.

    Raises:
        ConfigurationError: it cannot be opened, or is not Ed25519.
    """
    key = open_key(config.log.key_uri, config.directory, config.log.passphrase_file)
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError("log.key", ["must be an Ed25519 key: checkpoints are signed notes"])
    former = tuple(map(NoteVerifier.from_vkey, config.log.former_keys))
    return LogKeys(NoteSigner(config.log.origin, key), former)


def utc_now() -> datetime:
    """Tell the time, aware UTC."""
    return datetime.now(UTC)


def draw_serial() -> int:
    """Draw a serial number: positive, from a cryptographic source (RFC 5280 4.1.2.2)."""
    while not (serial_number := secrets.randbits(SERIAL_BITS)):
        pass
    return serial_number


def draw_name() -> str:
    """Draw a name that nobody can guess: 32 hex digits."""
    return secrets.token_hex(16)


def _open_issuer(config: Config) -> Issuer:
    files = config.issuer
    certificates = tuple(load_certificates(files.certificate_file))
    issuer = issuer_from(certificates, open_key(files.key_uri, config.directory, files.passphrase_file))
    if problems := list(issuer_problems(issuer, utc_now())):
        raise ConfigurationError(str(files.certificate_file), problems)
    return issuer


def _authenticators(config: Config) -> tuple[Authenticator, ...]:
    """In the order in which they are asked: each claims its own kind of evidence and lets others pass."""
    ways: list[Authenticator] = []
    if config.oidc_issuers:
        ways.append(OidcAuthenticator(config.oidc_issuers))
    if config.kubernetes_clusters:
        ways.append(KubernetesAuthenticator(config.kubernetes_clusters))
    if config.tokens_file is not None:
        ways.append(TokenAuthenticator(config.tokens_file))
    if config.client_authorities:
        ways.append(CertificateAuthenticator(config.client_authorities))
    if not ways:
        raise ConfigurationError(
            "authentication",
            ["nobody could prove who they are: name tokensFile, certificates, oidc or kubernetes"],
        )
    return tuple(ways)


def _compare_with_anchors(config: Config) -> None:
    """Refuse a ledger that its anchors know to be older than it was, or another."""
    keys, engine = log_keys_of(config), store_of(config).for_reading(1)
    try:
        check_anchors(config.log, LedgerLog(engine, keys), keys)
    finally:
        engine.dispose()


def _check_other_authorities(config: Config, issuer: Issuer) -> None:
    """Refuse our own CA among those that prove who asks: in its certificates are names that requesters chose."""
    for authority in config.client_authorities:
        if any(certificate.public_key() == issuer.public_key for certificate in authority.certificates):
            problem = f"{authority.name}: is the CA that signs here; its certificates prove only what they renew"
            raise ConfigurationError("authentication.certificates", [problem])


def _pem(certificates: Sequence[x509.Certificate]) -> tuple[str, ...]:
    return tuple(certificate.public_bytes(Encoding.PEM).decode("ascii") for certificate in certificates)
