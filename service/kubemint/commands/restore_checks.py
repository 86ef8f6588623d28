"""What must hold before a backup may count again, each looked at by doing it: one line each."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, assert_never

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import inspect, select

from kubemint.commands.backup_settings import CA_CERTIFICATES
from kubemint.commands.restore_watchers import Standing, Testimony
from kubemint.config import Config
from kubemint.errors import ConfigurationError, InvalidProof, KubemintError
from kubemint.ledger import tables
from kubemint.ledger.backup_folder import BackupFolder
from kubemint.ledger.backup_manifest import REVOKED, Manifest
from kubemint.ledger.growing import LogKeys
from kubemint.ledger.restoring import NOT_EMPTY, RestoredLog
from kubemint.ledger.verify_pages import reading
from kubemint.signing import open_key
from kubemint.signing.pem import load_certificates
from kubemint.transparency.checkpoint import Checkpoint, open_checkpoint
from kubemint.wiring import draw_serial, store_of
from kubemint.x509.certificate import sign_certificate
from kubemint.x509.generate import generate_key
from kubemint.x509.guard import guard
from kubemint.x509.issuer import Issuer, issuer_from, issuer_problems
from kubemint.x509.profile import CertificateTerms

_TEST_USER: Final = "kubemint:restore-test"
_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at, and what was found."""

    subject: str
    holds: bool
    told: str

    @property
    def line(self) -> str:
        """Give what is printed of it."""
        return f"{'ok' if self.holds else 'FAILED':<8}{self.subject}: {self.told}"


def attempted(subject: str, look: Callable[[], str]) -> Check:
    """Look at one thing: what `look` raises of ours is what is wrong with it."""
    try:
        return Check(subject=subject, holds=True, told=look())
    except KubemintError as fault:
        return Check(subject=subject, holds=False, told=fault.message)


def check_empty(settings: Config) -> None:
    """Refuse a ledger that has entries, before anything else is looked at.

    Filling it looks again, and at what an interrupted restore has left.

    Raises:
        ConfigurationError: it has some.
        LedgerUnavailable: it cannot be read.
    """
    store = store_of(settings)
    if not store.exists():
        return
    engine = store.for_reading(readers=1)
    try:
        with reading(engine) as connection:
            is_made = inspect(connection).has_table(tables.head.name)
            size = connection.execute(select(tables.head.c.size)).scalar() if is_made else 0
    finally:
        engine.dispose()
    if size:
        raise ConfigurationError("ledger.url", [NOT_EMPTY])


def check_backup(folder: BackupFolder, manifest: Manifest, checkpoint: Checkpoint) -> str:
    """Compare manifest, files and checkpoint with each other.

    Raises:
        InvalidProof: they do not belong together.
    """
    if (manifest.origin, manifest.size, manifest.root) != (
        checkpoint.origin,
        checkpoint.size,
        checkpoint.root.hex(),
    ):
        raise InvalidProof("manifest and checkpoint are not of one backup; was it cut off? Run it again")
    folder.check_files(manifest)
    return f"{manifest.size} entries, of {manifest.time:%Y-%m-%d %H:%M:%S} UTC, by kubemint {manifest.version}"


def signed_by(keys: LogKeys, note: str) -> str:
    """Tell which key signed the checkpoint of the backup, which `keys` have opened before."""
    try:
        open_checkpoint(note, keys.signer.verifier)
    except InvalidProof:
        return "one of log.formerKeys has signed the checkpoint; log.key signs from here on"
    return "log.key has signed the checkpoint"


def open_issuer(settings: Config) -> Issuer:
    """Open the CA of a configuration, whatever is wrong with it.

    Raises:
        ConfigurationError: certificate or key cannot be read.
    """
    files = settings.issuer
    key = open_key(files.key_uri, settings.directory, files.passphrase_file)
    return issuer_from(tuple(load_certificates(files.certificate_file)), key)


def check_issuer(issuer: Issuer, folder: BackupFolder, now: datetime) -> str:
    """Check that key and certificate belong together, and are of the CA that the backup is of.

    Raises:
        InvalidProof: with what is wrong.
    """
    if problems := [*issuer_problems(issuer, now)]:
        raise InvalidProof("; ".join(problems))
    backed_up, *_ = load_certificates(folder.folder / CA_CERTIFICATES)
    if backed_up.public_key() != issuer.certificate.public_key():
        raise InvalidProof("the configured CA is another one than the backup's ca.crt: clusters trust that one")
    return "the key belongs to the certificate, and both to the CA of the backup"


def check_certificate(issuer: Issuer, now: datetime) -> str:
    """Sign a certificate that expired an hour ago, check it as each one is checked, and forget it.

    Raises:
        SigningFailed: the key does not sign, or something else than was decided.
    """
    public_key = generate_key("ecdsa-p256").public_key()
    now = now.replace(microsecond=0)
    terms = CertificateTerms(
        user=_TEST_USER,
        groups=(),
        public_key=public_key,
        spki_der=public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        not_before=now - 2 * _HOUR,
        not_after=now - _HOUR,
    )
    guard(sign_certificate(terms, issuer, draw_serial()), terms, issuer)
    return "one that has expired already was signed, checked and forgotten"


def judge(testimony: Testimony, size: int, *, accept_loss: bool, without_witnesses: bool) -> Check:
    """Say whether a backup may count again, after what one of those outside says of it."""
    told, holds = testimony.message, False
    match testimony.standing:
        case Standing.AGREES:
            holds = True
        case Standing.AHEAD if accept_loss:
            lost = _lost(size, testimony.size)
            holds, told = True, f"{told}; accepted: {lost}. It will not agree with this ledger again"
        case Standing.AHEAD:
            told = f"{told}: {_lost(size, testimony.size)} without a newer backup (--accept-loss)"
        case Standing.UNKNOWN if without_witnesses:
            holds, told = True, f"{told}; not asked (--without-witnesses)"
        case Standing.DIFFERS | Standing.UNKNOWN:
            pass
        case _ as never:
            assert_never(never)
    return Check(subject=testimony.source, holds=holds, told=told)


def check_counts(restored: RestoredLog, manifest: Manifest, checkpoint: Checkpoint) -> Iterator[Check]:
    """Compare what the database gives back with the checkpoint and the manifest."""
    is_whole = (restored.frontier.size, restored.frontier.root()) == (checkpoint.size, checkpoint.root)
    told = f"{checkpoint.size} entries" if is_whole else "the database gives back other entries than were signed"
    yield Check(subject="ledger", holds=is_whole, told=f"{told}, root {checkpoint.root.hex()}")
    same = dict(restored.kinds) == dict(manifest.kinds)
    kinds = _counted(restored.kinds)
    yield Check(
        subject="kinds", holds=same, told=kinds if same else f"{kinds}; the manifest: {_counted(manifest.kinds)}"
    )
    revoked = restored.kinds[REVOKED]
    yield Check(
        subject="revocations",
        holds=revoked == manifest.revocations,
        told=f"{revoked}, and the manifest says {manifest.revocations}",
    )


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"


def _lost(size: int, known: int) -> str:
    return (
        f"{known - size} entries, {size} to {known - 1}, are lost: certificates and revocations of which nothing "
        "is known here"
    )
