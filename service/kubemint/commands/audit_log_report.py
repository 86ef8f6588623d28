"""What an audit log and the record tell together: as people read it, and as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from kubemint.client.terms import printable
from kubemint.commands.audit_log_files import AuditFiles
from kubemint.commands.audit_log_records import ValidCertificate
from kubemint.kubernetes.access_review import is_credential_id
from kubemint.kubernetes.audit_log import AuditReport, CertificateUse, TriedAfterRevocation
from kubemint.record import rfc3339

_SERVER_FAULT: Final = 500
# 401 and 403 turned it away; 429 is said before anybody is authorized
# (k8s.io/apiserver pkg/server/config.go, DefaultBuildHandlerChain).
_NOT_LET_IN: Final = frozenset({401, 403, 429})
_WHAT_IT_MAY_BE: Final = (
    "; this user has certificates on record: it may be one of them that its holder has rewritten (an id is not"
    " signed), or be signed with a stolen CA key"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The report, what of it is strange, and what was not used.

    `never_issued` are the uses of what was not issued here, and `known_users` those of their users who have
    certificates on record. `unused` is None where nobody asked.
    """

    report: AuditReport
    files: AuditFiles
    never_issued: tuple[CertificateUse, ...]
    known_users: frozenset[str]
    unused: tuple[ValidCertificate, ...] | None

    @property
    def let_in(self) -> int:
        """Count the requests of revoked certificates that were not turned away."""
        return sum(let_in(use.tried_after_revocation) for use in self.report.uses if use.tried_after_revocation)


def never_issued(report: AuditReport, issued_by_others: Sequence[str]) -> tuple[CertificateUse, ...]:
    """Give the uses of what was not issued here, but for the users that others issue for."""
    return tuple(
        use
        for use in report.never_issued
        if not any(fnmatchcase(use.user, pattern) for pattern in issued_by_others)
    )


def let_in(tried: TriedAfterRevocation) -> int:
    """Count the answers that only somebody gets who was let in; a server's fault tells neither."""
    return sum(count for code, count in tried.codes if code < _SERVER_FAULT and code not in _NOT_LET_IN)


def findings_fields(found: Findings) -> dict[str, Any]:
    """Give the findings as JSON has them."""
    report = found.report
    strange = {use.credential for use in found.never_issued}
    fields: dict[str, Any] = {
        "uses": [
            _use_fields(use)
            | {"neverIssuedHere": use.credential in strange}
            | ({"userIsOnRecord": use.user in found.known_users} if use.credential in strange else {})
            for use in report.uses
        ],
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
        yield f"{_user(use)}\t{_certificate(use)}\t{_span(use)}\tfrom {_sources(use)}"
    for use in report.revoked_and_tried:
        known, tried = use.certificate, use.tried_after_revocation
        if known is not None and known.revoked_at is not None and tried is not None:
            revoked = f"{_user(use)}, {_certificate(use)}, revoked {rfc3339(known.revoked_at)}"
            yield f"REVOKED, and tried: {revoked}: {_tried(tried)}"
    for use in found.never_issued:
        may_be = _WHAT_IT_MAY_BE if use.user in found.known_users else ""
        yield f"NEVER ISSUED HERE: {_certificate(use)} as {_user(use)}: {_span(use)}, from {_sources(use)}{may_be}"
    for one in found.unused or ():
        yield printable(f"not used: {one.user}, serial number {one.serial_number}, until {one.not_after}")
    yield _counts(found)


def problem_lines(found: Findings) -> Iterator[str]:
    """Name the first lines that are no events, and count the others."""
    named = tuple(_not_events(found))
    yield from (printable(f"{file}, line {line}: {problem}") for file, line, problem in named)
    if more := found.report.not_events - len(named):
        yield f"… and {more} more"


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
            "sourceIps": list(tried.source_ips),
            "moreSourceIps": tried.more_source_ips,
        }
    return fields


def _user(use: CertificateUse) -> str:
    """Name who it was issued to, or where that is not known, who it says it is."""
    return printable(use.certificate.user if use.certificate else use.user)


def _certificate(use: CertificateUse) -> str:
    """Name a certificate by all that is known to name it, in one way wherever it stands."""
    is_id = is_credential_id(use.credential)
    if use.certificate is None:
        return use.credential if is_id else f"serial number {use.credential}"
    serial_number = f"serial number {use.certificate.serial_number}"
    return f"{serial_number} ({use.credential})" if is_id else serial_number


def _span(span: CertificateUse | TriedAfterRevocation) -> str:
    count = f"{span.requests} request{'' if span.requests == 1 else 's'}"
    return f"{count}, {rfc3339(span.first_at)} to {rfc3339(span.last_at)}"


def _sources(span: CertificateUse | TriedAfterRevocation) -> str:
    more = ", …" if span.more_source_ips else ""
    return (printable(", ".join(span.source_ips)) or "nowhere") + more


def _tried(tried: TriedAfterRevocation) -> str:
    codes = ", ".join(f"{code} ({count})" for code, count in tried.codes) or "no answer"
    return f"{_span(tried)}, from {_sources(tried)}, answered {codes}; let in: {let_in(tried)}"


def _counts(found: Findings) -> str:
    report = found.report
    counts = {
        "events": report.events,
        "without a certificate": report.events_without_certificate,
        "lines that are no events": report.not_events,
        "certificates": len(report.uses),
        "revoked and tried": len(report.revoked_and_tried),
        "requests let in": found.let_in,
        "never issued here": len(found.never_issued),
    }
    if found.unused is not None:
        counts["not used"] = len(found.unused)
    return ", ".join(f"{name}: {count}" for name, count in counts.items())
