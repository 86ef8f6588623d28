"""`kubemint log verify`: the whole log again, or one receipt, and a line for each thing that is not in order."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kubemint import config
from kubemint.client.certificate_files import read_certificate
from kubemint.client.receipts import LogKey, check_receipt, read_receipt
from kubemint.client.terms import printable
from kubemint.commands.log_source import open_ledger, published_log, source_options
from kubemint.errors import InvalidProof
from kubemint.ledger.verification import Kept, Known, verify_ledger, verify_published
from kubemint.ledger.verify_entries import signed_by_another
from kubemint.ledger.verify_findings import Finding, FindingCode, NotChecked, Outcome, Progress
from kubemint.ledger.verify_seen import read_anchors, read_seen
from kubemint.signing.pem import load_certificates
from kubemint.transparency.checkpoint import Checkpoint, NoteVerifier
from kubemint.wiring import kept_for, load_policy_of, log_keys_of
from kubemint.x509.recorded import recorded_differences

SHOWN_MAX: Final = 1000  # of findings in JSON; the rest is counted

_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--key", "keys", type=LogKey(), multiple=True, help="Public key of the log, or a file with it.")
@click.option(
    "--issuer", "issuer_file", type=_file, help="CA certificates that issue  [default: the configuration's]."
)
@click.option(
    "--from-checkpoint",
    "seen_files",
    type=_file,
    multiple=True,
    help="Checkpoint or receipt from earlier: nothing before it may have changed.",
)
@click.option("--receipt", "receipt_file", type=_file, help="Check this receipt alone, offline.")
@click.option(
    "--certificate", "certificate_file", type=_file, help="Certificate that the receipt is for, or a kubeconfig."
)
@click.option("--output", type=click.Choice(["human", "json"]), default="human", show_default=True)
@source_options
def verify(**options: Any) -> None:
    """Verify the log: exit code 0 if all is in order, else 1.

    Without --url it is the ledger in the database of the configuration: entries, tree, tiles,
    checkpoints, certificates, the tables to find them by, the database's indexes. With --url it is
    what a running service publishes, for whoever has --key. With --receipt it is one certificate's
    place in the log, for whoever has --key, and nothing is asked for.

    The configuration's anchors are compared, as if they had been given as --from-checkpoint.

    \b
    kubemint log verify --config /etc/kubemint/kubemint.yaml
    kubemint log verify --receipt jane.tlog-proof --certificate jane.crt --key log.vkey
    """
    report = _Report(output=options["output"])
    if options["receipt_file"] or options["certificate_file"]:
        report.take(_verify_receipt(options))
    elif options["url"] is not None:
        report.take(_verify_service(options, report.progress))
    else:
        report.take(_verify_database(options, report.progress))
    report.finish()


def _verify_receipt(options: dict[str, Any]) -> Iterator[Outcome]:
    """Check a receipt against a certificate and the log's key."""
    if not (options["receipt_file"] and options["certificate_file"] and options["keys"]):
        raise click.UsageError("--receipt, --certificate and --key go together.")
    if options["url"] or options["config_file"] or options["seen_files"]:
        raise click.UsageError("--receipt asks nobody: it goes with --certificate, --key and --issuer alone.")
    certificate_der = read_certificate(options["certificate_file"]).public_bytes(Encoding.DER)
    try:
        receipt = read_receipt(options["receipt_file"])
        _check_with_any(options["keys"], lambda key: check_receipt(receipt, certificate_der, key))
        fields = json.loads(receipt.extra or b"{}")
    except InvalidProof as fault:
        yield Finding(code=FindingCode.RECEIPT_INVALID, message=fault.message)
        return
    issuers = _issuers(options["issuer_file"])
    if issuers and (differences := recorded_differences(certificate_der, fields, issuers)):
        message = f"the certificate says something else than the entry: {', '.join(differences)}"
        if differences == ("issuer",):
            message = f"the certificate is {signed_by_another(certificate_der)}"
        yield Finding(code=FindingCode.CERTIFICATE_DIFFERS, message=message, index=receipt.index)


def _verify_service(options: dict[str, Any], progress: Progress) -> Iterator[Outcome]:
    if not options["keys"]:
        raise click.UsageError("--url needs --key: what the service says of its own key proves nothing.")
    verifiers = options["keys"]
    seen = tuple(read_seen(file, verifiers) for file in options["seen_files"])
    known = Known(verifiers=verifiers, issuers=_issuers(options["issuer_file"]), seen=seen)
    yield from verify_published(published_log(options), known, progress=progress)


def _verify_database(options: dict[str, Any], progress: Progress) -> Iterator[Outcome]:
    settings = config.load(config.find_config(options["config_file"]))
    verifiers = options["keys"] or log_keys_of(settings).verifiers
    issuers = _issuers(options["issuer_file"]) or tuple(load_certificates(settings.issuer.certificate_file))[:1]
    seen = tuple(read_seen(file, verifiers) for file in options["seen_files"])
    # Before the head is read: what is written meanwhile makes the ledger larger than its anchor, never smaller.
    anchored, outcomes = read_anchors(settings.log.anchors, verifiers)
    yield from outcomes
    known = Known(verifiers=verifiers, issuers=issuers, seen=(*seen, *anchored))
    kept = Kept(retention=kept_for(settings, load_policy_of(settings)), archive=settings.ledger.archive)
    yield from verify_ledger(open_ledger(settings), known, kept, now=datetime.now(UTC), progress=progress)


def _check_with_any(keys: tuple[NoteVerifier, ...], check: Callable[[NoteVerifier], Checkpoint]) -> Checkpoint:
    """Check with each key until one has signed it."""
    *others, last = keys
    for key in others:
        with suppress(InvalidProof):
            return check(key)
    return check(last)


def _issuers(file: Path | None) -> tuple[x509.Certificate, ...]:
    return () if file is None else tuple(load_certificates(file))


@dataclass(slots=True)
class _Report:
    """What is shown: findings as they come or, in JSON, at the end."""

    output: str
    entries: int = 0
    count: int = 0
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    _bar: Any = None

    def take(self, outcomes: Iterator[Outcome]) -> None:
        """Note what is found, and show it at once to people."""
        hidden = not sys.stderr.isatty()
        with click.progressbar(length=1, label="Verifying", file=sys.stderr, hidden=hidden) as bar:
            self._bar = bar
            for outcome in outcomes:
                self._take(outcome)

    def progress(self, done: int, total: int) -> None:
        """Show how far the walk is."""
        self._bar.length = total
        self._bar.update(done - self.entries)
        self.entries = done

    def finish(self) -> None:
        """Show the end of it, and leave with the exit code."""
        if self.output == "json":
            click.echo(json.dumps(self._document(), indent=2))
        else:
            for message in self.not_checked:
                click.echo(f"not checked: {message}")
            click.echo(self._verdict())
        sys.exit(1 if self.count else 0)

    def _take(self, outcome: Outcome) -> None:
        if isinstance(outcome, NotChecked):
            self.not_checked.append(printable(outcome.message))
            return
        self.count += 1
        if self.output == "human":
            click.echo(f"{outcome.code.value}: {printable(outcome.message)}")
        elif len(self.findings) < SHOWN_MAX:
            self.findings.append(outcome)

    def _verdict(self) -> str:
        entries = f"{self.entries} {'entry' if self.entries == 1 else 'entries'}" if self.entries else ""
        if not self.count:
            return f"verified: {entries}, in order" if entries else "verified: in order"
        findings = f"{self.count} {'finding' if self.count == 1 else 'findings'}"
        return f"NOT in order: {findings} ({entries})" if entries else f"NOT in order: {findings}"

    def _document(self) -> dict[str, Any]:
        return {
            "verified": not self.count,
            "entries": self.entries,
            "findings": [
                {"code": one.code.value, "message": printable(one.message)}
                | ({} if one.index is None else {"logIndex": one.index})
                for one in self.findings
            ],
            "findingsNotShown": self.count - len(self.findings),
            "notChecked": self.not_checked,
        }
