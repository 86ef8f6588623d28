"""What API servers ask, and who answers: a judge over the ledger of a bureau, that looks when the test says so."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from kubemint.kubernetes.access_review import AccessReview, Unknown, read_access_review
from kubemint.kubernetes.revoked_credentials import RevokedCredentials
from kubemint.record import Entry
from revoking.bureau import Bureau

CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"


def question(
    *credentials: str, user: str = "jane", groups: tuple[str, ...] = ("system:authenticated",)
) -> AccessReview:
    """Ask as an API server does."""
    return read_access_review(
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": list(groups), "extra": {CREDENTIAL_ID: list(credentials)}},
        }
    )


def refresh_until(judge: RevokedCredentials, is_done: Callable[[], bool]) -> None:
    """Look again and again: new tables are not made at every look."""
    end = time.monotonic() + 10
    while not is_done():
        assert time.monotonic() < end
        judge.refresh()


def of(entry: Entry) -> AccessReview:
    """Ask about a certificate by its credential id."""
    return question(entry.fields["credentialId"], user=entry.fields["user"])


def by_group(entry: Entry) -> AccessReview:
    """Ask about a certificate by the group that says its serial number."""
    return question(groups=tuple(entry.fields["groups"]))


def judges(bureau: Bureau, unknown: Unknown = Unknown.IGNORE, **options: Any) -> RevokedCredentials:
    """Load what a process of its own knows; it looks when the test says so."""
    clock: Callable[[], datetime] = options.pop("clock", lambda: bureau.now)
    return RevokedCredentials(bureau.revocations, unknown, clock)
