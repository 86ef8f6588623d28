"""Every metric, in one place. Labels are small fixed sets: never a requester, a serial number or a subject."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

DECISIONS: Final = Counter(
    "kubemint_decisions_total",
    "Decisions on certificate requests, by outcome: "
    "issued, repeated, pending, refused, over-quota, unacceptable, malformed.",
    ["outcome"],
)
AUTHENTICATIONS: Final = Counter(
    "kubemint_authentications_total",
    "Requests by how they were proven: token, certificate, oidc, kubernetes, renewal, failed, unavailable.",
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
FOREIGN_CERTIFICATES: Final = Counter(
    "kubemint_foreign_certificates_total",
    "Client certificates that this CA's key has signed and that are not on record: an alarm.",
)
REVOKED_CERTIFICATES_SHOWN: Final = Counter(
    "kubemint_revoked_certificates_shown_total", "Revoked certificates by which somebody wanted another one here."
)
WEBHOOK_ANSWERS: Final = Counter(
    "kubemint_webhook_answers_total",
    "Answers to API servers, by outcome: denied, no-opinion, too-large (denied unread).",
    ["outcome"],
)
UNKNOWN_CREDENTIALS: Final = Counter(
    "kubemint_unknown_credentials_total",
    "Questions of API servers about credentials that are not on record here: an alarm where only this service's "
    "certificates are asked about.",
)
OCSP_ANSWERS: Final = Counter(
    "kubemint_ocsp_answers_total",
    "OCSP answers, by outcome: good, revoked, unknown, malformed-request, unauthorized, try-later (no ledger), "
    "internal-error (the CA's key did not sign).",
    ["outcome"],
)
REVOCATIONS_LOADED: Final = Gauge(
    "kubemint_revocations_loaded",
    "Revoked, unexpired certificates that this process knows.",
    multiprocess_mode="livemin",
)
POLICY_LOADS: Final = Counter(
    "kubemint_policy_loads_total", "Changes of the policy file, by outcome: loaded, refused.", ["outcome"]
)
POLICY_REFUSED: Final = Gauge(
    "kubemint_policy_file_refused",
    "1 while the policy file is bad, or its change cannot be recorded, and the last good policy counts.",
    multiprocess_mode="livemax",
)
LEDGER_FAULTS: Final = Counter("kubemint_ledger_faults_total", "Records that could not be made durable.")
WITNESS_FAULTS: Final = Counter(
    "kubemint_witness_faults_total",
    "Checkpoints that a witness did not cosign, by the name of its key and by fault: unreachable, misbehaved, "
    "log-older, log-differs. The last two are an alarm: the ledger is an old copy, or was rewritten.",
    ["witness", "fault"],
)
WITNESSED_SIZE: Final = Gauge(
    "kubemint_witnessed_entries",
    "How many entries of the ledger its witnesses have cosigned, all of those that are required.",
    multiprocess_mode="livemax",
)
ANCHOR_FAULTS: Final = Counter(
    "kubemint_anchor_faults_total",
    "Checkpoints that could not be written to an anchor, by fault: unreachable, log-older, log-differs. "
    "The last two are an alarm: the ledger is an old copy, or was rewritten.",
    ["fault"],
)
AUDIT_LINE_FAULTS: Final = Counter(
    "kubemint_audit_line_faults_total", "Decisions whose line could not be written to standard output."
)
HANDSHAKE_FAULTS: Final = Counter(
    "kubemint_tls_handshake_faults_total",
    "Connections that ended in the handshake: no TLS, or a bad client certificate.",
)
OIDC_FETCHES: Final = Counter(
    "kubemint_oidc_fetches_total",
    "Fetches of token issuers' keys, by the name of the issuer in the configuration and by outcome: "
    "good, unreachable, misbehaved, fault.",
    ["issuer", "outcome"],
)
OIDC_LAST_GOOD_FETCH: Final = Gauge(
    "kubemint_oidc_last_good_fetch_timestamp_seconds",
    "When a token issuer's keys were last fetched: after the issuer's maxStale from then, its tokens are refused.",
    ["issuer"],
    multiprocess_mode="mostrecent",
)
TOKEN_REVIEWS: Final = Counter(
    "kubemint_token_reviews_total",
    "Service account tokens shown to an API server, by outcome: accepted, refused, unavailable, busy.",
    ["outcome"],
)
TOKEN_REVIEW_SECONDS: Final = Histogram(
    "kubemint_token_review_duration_seconds",
    "Time from asking an API server about a token to its answer, or to giving up.",
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4),
)
