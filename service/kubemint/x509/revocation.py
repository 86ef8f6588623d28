"""What is said of a certificate that no longer counts: when it ended, and why.

One value for both ways of saying it: the list (`crl.py`) and the answer to a question (`ocsp.py`).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography import x509


class RevocationReason(StrEnum):
    """RFC 5280 5.3.1, without removeFromCRL: that one stands in delta lists, which we do not make."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    CA_COMPROMISE = "cACompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    CERTIFICATE_HOLD = "certificateHold"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"
    AA_COMPROMISE = "aACompromise"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedCertificate:
    """A line of a revocation list. `revoked_at` is aware UTC; what is signed has its whole seconds."""

    serial_number: int
    revoked_at: datetime
    reason: RevocationReason


def reason_flag(reason: RevocationReason) -> x509.ReasonFlags | None:
    """Give the reason as it is encoded; None for `unspecified`, which is left out (RFC 5280 5.3.1)."""
    return None if reason is RevocationReason.UNSPECIFIED else x509.ReasonFlags(reason.value)
