"""`kubemint audit-log`: who used which certificate, by a cluster's audit log and the record here."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from kubemint import config
from kubemint.client.connection import ServiceConnection, find_service
from kubemint.client.options import service_options
from kubemint.commands.audit_log_files import AuditFiles
from kubemint.commands.audit_log_records import LedgerRecords, Records, ServiceRecords, ValidCertificate
from kubemint.commands.audit_log_report import (
    Findings,
    findings_fields,
    findings_lines,
    never_issued,
    problem_lines,
)
from kubemint.errors import ConfigurationError
from kubemint.kubernetes.audit_log import AuditReport, join

_file = click.Path(dir_okay=False, path_type=Path)


@click.command("audit-log")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(allow_dash=True, path_type=Path)
)
@click.option("--config", "config_file", type=_file, help="Configuration that names the ledger to look in.")
@click.option("--unused", "is_unused_wanted", is_flag=True, help="Name what is valid and in no line, too.")
@click.option(
    "--issued-by-others",
    multiple=True,
    metavar="USERS",
    help="Users whose certificates come from elsewhere: 'system:node:*'; may be given again.",
)
@click.option(
    "--strict", is_flag=True, help="Exit code 1 if a revoked one was let in, or one was never issued here."
)
@click.option("--output", type=click.Choice(["human", "json"]), default="human", show_default=True)
@service_options
def audit_log(**options: Any) -> None:
    """Say who used which certificate, by Kubernetes audit logs.

    FILE is a log as kube-apiserver writes it (audit.k8s.io/v1, one event a line), also packed by gzip;
    - is standard input. Each certificate is looked up by its credential id, or before 1.32 by the group
    with its serial number: with --config in the ledger, else at the service, as auditor or operator.

    It names revoked certificates that were still tried, and certificates that were never issued here:
    another CA's, such as a kubelet's (leave those out with --issued-by-others; but a stolen CA key can
    use such a name), or the sign of a stolen CA key; or, where the user has certificates on record, one
    of those that its holder has rewritten, as not all of a certificate is signed. "Let in" is a request
    after the revocation that was answered, and not with 401, 403, 429 or a server's fault; for as long
    as API servers cache (--unauthorized-ttl) that is to be expected. The log needs the level Metadata.

    Exit code 0 if the logs could be read and hold an event; with --strict 1 if something was let in or
    never issued here.

    \b
    kubemint audit-log /var/log/kubernetes/audit.log --config /etc/kubemint/kubemint.yaml
    zcat audit-*.gz | kubemint audit-log - --token-file auditor.token --unused --output json
    """
    records = _records(options)
    files = AuditFiles(options["files"])
    report = join(files.lines(), records.find)
    strange = never_issued(report, options["issued_by_others"])
    found = Findings(
        report=report,
        files=files,
        never_issued=strange,
        known_users=frozenset(user for user in {use.user for use in strange} if records.has_certificate_of(user)),
        unused=_unused(records, report) if options["is_unused_wanted"] else None,
    )
    for line in problem_lines(found):
        click.echo(line, err=True)
    _check_events(report, options["files"])
    is_json = options["output"] == "json"
    click.echo(json.dumps(findings_fields(found), indent=2) if is_json else "\n".join(findings_lines(found)))
    if options["strict"] and (found.let_in or found.never_issued):
        sys.exit(1)


def _records(options: Mapping[str, Any]) -> Records:
    of_service = options["url"], options["ca"], options["token_file"]
    if options["config_file"] is None:
        return ServiceRecords(ServiceConnection(find_service(*of_service)))
    if any(of_service):
        raise click.UsageError("--config looks in the ledger; leave out --url, --ca and --token-file.")
    return LedgerRecords(config.load(options["config_file"]))


def _check_events(report: AuditReport, files: Sequence[Path]) -> None:
    """Refuse what is another log: nothing in it is strange, and that would say nothing."""
    if report.events:
        return
    lines = f"{report.not_events} line{'' if report.not_events == 1 else 's'}"
    raise ConfigurationError(
        ", ".join(map(str, files)),
        [f"holds no audit.k8s.io event in {lines}; is it kube-apiserver's --audit-log-path?"],
    )


def _unused(records: Records, report: AuditReport) -> tuple[ValidCertificate, ...]:
    used = report.used
    return tuple(one for one in records.valid() if one.credential_id not in used and one.serial_number not in used)
