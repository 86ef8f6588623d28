"""What an audit log and the record tell together: as people read it, and as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from kubemint.client.terms import printable
from kubemint.commands.audit_log_files import AuditFiles
from kubemint.commands.audit_log_records import ValidCertificate
from kubemint.kubernetes.audit_log import AuditReport, CertificateUse, TriedAfterRevocation
from kubemint.record import rfc3339

_SERVER_FAULT: Final = 500
# 401 and 403 turned it away; 429 is said before anybody is authorized
# (k8s.io/apiserver pkg/server/config.go, DefaultBuildHandlerChain).
_NOT_LET_IN: Final = frozenset({401, 403, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The report, what of it is strange, and what was not used; `unused` is None where nobody asked."""

    report: AuditReport
    files: AuditFiles
    issued_by_others: Sequence[str]
    unused: tuple[ValidCertificate, ...] | None

    @property
    def never_issued(self) -> tuple[CertificateUse, ...]:
        """Give what was not issued here, but for the users that others issue for."""
        return tuple(
            use
            for use in self.report.never_issued
            if not any(fnmatchcase(use.user, pattern) for pattern in self.issued_by_others)
        )

    @property
    def let_in(self) -> int:
        """Count the requests of revoked certificates that were not turned away."""
        return sum(let_in(use.tried_after_revocation) for use in self.report.uses if use.tried_after_revocation)


def let_in(tried: TriedAfterRevocation) -> int:
    """Count the answers that only somebody gets who was let in; a server's fault tells neither."""
    return sum(count for code, count in tried.codes if code < _SERVER_FAULT and code not in _NOT_LET_IN)


def findings_fields(found: Findings) -> dict[str, Any]:
    """Give the findings as JSON has them."""
    report = found.report
    never_issued = {use.credential for use in found.never_issued}
    fields: dict[str, Any] = {
        "uses": [_use_fields(use) | {"neverIssuedHere": use.credential in never_issued} for use in report.uses],
        "events": report.events,
        "eventsWithoutCertificate": report.events_without_certificate,
        "notEvents": report.not_events,
        "firstNotEvents": [
            {"file": str(file), "line": line, "problem": problem} for file, line, problem in _not_events(found)
        ],
        "revokedAndLetIn": found.let_in,
    }
    if found.unused is not None:
        fields["unused"] = [
            {
                "credentialId": one.credential_id,
                "serialNumber": one.serial_number,
                "user": one.user,
                "requester": one.requester,
                "time": one.issued_at,
                "notAfter": one.not_after,
            }
            for one in found.unused
        ]
    return fields


def findings_lines(found: Findings) -> Iterator[str]:
    """Give the findings as people read them; what is strange comes after what is not, and the counts last."""
    report = found.report
    for use in report.uses:
        known = f"serial number {use.certificate.serial_number}" if use.certificate else use.credential
        yield f"{_user(use)}\t{known}\t{_span(use)}\tfrom {_sources(use)}"
    for use in report.revoked_and_tried:
        if use.tried_after_revocation is not None:
            yield f"REVOKED, and tried: {_user(use)}, {use.credential}: {_tried(use.tried_after_revocation)}"
    for use in found.never_issued:
        yield f"NEVER ISSUED HERE: {use.credential} as {_user(use)}: {_span(use)}, from {_sources(use)}"
    for one in found.unused or ():
        yield printable(f"not used: {one.user}, serial number {one.serial_number}, until {one.not_after}")
    yield _counts(found)


def problem_lines(found: Findings) -> Iterator[str]:
    """Name the first lines that are no events."""
    return (printable(f"{file}, line {line}: {problem}") for file, line, problem in _not_events(found))


def _not_events(found: Findings) -> Iterator[tuple[Any, int, str]]:
    for other in found.report.first_not_events:
        file, line = found.files.place(other.line_number)
        yield file, line, other.problem


def _use_fields(use: CertificateUse) -> dict[str, Any]:
    known, tried = use.certificate, use.tried_after_revocation
    fields: dict[str, Any] = {
        "credential": use.credential,
        "user": use.user,
        "firstAt": rfc3339(use.first_at),
        "lastAt": rfc3339(use.last_at),
        "requests": use.requests,
        "sourceIps": list(use.source_ips),
        "moreSourceIps": use.more_source_ips,
    }
    if known is not None:
        fields["certificate"] = {"serialNumber": known.serial_number, "user": known.user}
        if known.revoked_at is not None:
            fields["certificate"]["revokedAt"] = rfc3339(known.revoked_at)
    if tried is not None:
        fields["triedAfterRevocation"] = {
            "firstAt": rfc3339(tried.first_at),
            "lastAt": rfc3339(tried.last_at),
            "requests": tried.requests,
            "codes": {str(code): count for code, count in tried.codes},
            "letIn": let_in(tried),
        }
    return fields


def _user(use: CertificateUse) -> str:
    """Name who it was issued to, or where that is not known, who it says it is."""
    return printable(use.certificate.user if use.certificate else use.user)


def _span(use: CertificateUse) -> str:
    return f"requests: {use.requests}, {rfc3339(use.first_at)} to {rfc3339(use.last_at)}"


def _sources(use: CertificateUse) -> str:
    more = ", …" if use.more_source_ips else ""
    return (printable(", ".join(use.source_ips)) or "nowhere") + more


def _tried(tried: TriedAfterRevocation) -> str:
    codes = ", ".join(f"{code} ({count})" for code, count in tried.codes) or "no answer"
    times = f"{rfc3339(tried.first_at)} to {rfc3339(tried.last_at)}"
    return f"{times}, answered {codes}; let in: {let_in(tried)}"


def _counts(found: Findings) -> str:
    report = found.report
    counts = {
        "events": report.events,
        "without a certificate": report.events_without_certificate,
        "no events": report.not_events,
        "certificates": len(report.uses),
        "revoked and tried": len(report.revoked_and_tried),
        "requests let in": found.let_in,
        "never issued here": len(found.never_issued),
    }
    if found.unused is not None:
        counts["not used"] = len(found.unused)
    return ", ".join(f"{name}: {count}" for name, count in counts.items())
