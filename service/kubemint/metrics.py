"""Every metric, in one place. Labels are small fixed sets: never a name, a serial number or a subject."""

from typing import Final

from prometheus_client import Counter, Histogram

DECISIONS: Final = Counter(
    "kubemint_decisions_total",
    "Decisions on certificate requests, by outcome: issued, repeated, refused, unacceptable, malformed.",
    ["outcome"],
)
AUTHENTICATIONS: Final = Counter(
    "kubemint_authentications_total",
    "Requests by how they were proven: token, certificate, failed.",
    ["method"],
)
RESPONSES: Final = Counter(
    "kubemint_http_responses_total", "HTTP responses, by route and status.", ["route", "status"]
)
ISSUE_SECONDS: Final = Histogram(
    "kubemint_issue_duration_seconds",
    "Time from a read request to its durable record, for certificates that were issued or repeated.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
LEDGER_FAULTS: Final = Counter("kubemint_ledger_faults_total", "Records that could not be made durable.")
AUDIT_LINE_FAULTS: Final = Counter(
    "kubemint_audit_line_faults_total", "Decisions whose line could not be written to standard output."
)
HANDSHAKE_FAULTS: Final = Counter(
    "kubemint_tls_handshake_faults_total",
    "Connections that ended in the handshake: no TLS, or a bad client certificate.",
)
