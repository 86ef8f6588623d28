"""Decisions in X.509's words, as the policy would have made them."""

from datetime import datetime, timedelta
from typing import Any

from csrs import private_key, spki
from kubemint.x509.profile import CertificateTerms


def terms_for(key_type: str, now: datetime, **changes: Any) -> CertificateTerms:
    """Decide that a key of this type gets an ordinary certificate for an hour, but for the changes."""
    key = private_key(key_type)
    ordinary = {
        "user": "jane@acme.example",
        "groups": ("developers", "team-a"),
        "public_key": key.public_key(),
        "spki_der": spki(key),
        "not_before": now - timedelta(minutes=5),
        "not_after": now + timedelta(hours=1),
    }
    return CertificateTerms(**(ordinary | changes))
