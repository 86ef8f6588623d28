"""Lines of an audit log."""

import json
from datetime import datetime
from typing import Any

from kubemint.kubernetes.access_review import CREDENTIAL_ID_KEY
from kubemint.record import rfc3339

STRANGER = "X509SHA256=" + "57" * 32  # which was issued nowhere


def line(
    user: str, time: datetime, code: int, credential: str | None, group: str = "developers", **changes: Any
) -> bytes:
    """Write an Event as kube-apiserver does at level Metadata."""
    extra = {"extra": {CREDENTIAL_ID_KEY: [credential]}} if credential else {}
    event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "stage": "ResponseComplete",
        "verb": "get",
        "user": {"username": user, "groups": [group, "system:authenticated"], **extra},
        "sourceIPs": ["10.0.0.7"],
        "responseStatus": {"code": code},
        "requestReceivedTimestamp": rfc3339(time),
    }
    return json.dumps(event | changes).encode() + b"\n"
