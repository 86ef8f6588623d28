"""Waiting until operators have decided: a request that is asked after until it is over."""

import re
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from kubemint.client.connection import ServiceConnection
from kubemint.client.terms import checked, printable
from kubemint.errors import ServiceRefused, ServiceUnavailable

WAITING: Final = 3  # exit code: asked for, and not there yet
POLL_SECONDS: Final = 3.0
_REQUEST: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


def pending_request(answer: Mapping[str, Any]) -> str | None:
    """Give the id of the request that waits, if an answer tells of one; None if it should be a certificate.

    Raises:
        ServiceUnavailable: it tells of one that cannot be asked after.
    """
    if answer.get("state") != "pending":
        return None
    request = answer.get("request")
    is_complete = isinstance(answer.get("expires"), str) and isinstance(answer.get("approvalsNeeded"), int)
    if not isinstance(request, str) or not _REQUEST.fullmatch(request) or not is_complete:
        raise ServiceUnavailable("the service's answer holds no request; is it kubemint?")
    return request


def wait_for_certificate(
    connection: ServiceConnection,
    request: str,
    patience: timedelta,
    pause: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> dict[str, Any] | None:
    """Ask after a request until it is issued; give the certificate as if it had been issued at once.

    None: patience is over, and the request goes on without. A service that is away for a moment is waited
    for, too.

    Raises:
        ServiceRefused: it was denied, or nobody decided in time.
        ServiceUnavailable: patience is over, and the service is away.
    """
    end = monotonic() + patience.total_seconds()
    while True:
        fault: ServiceUnavailable | None = None
        try:
            found = checked(connection.get(f"/v1/requests/{request}"))
        except ServiceUnavailable as away:
            fault = away
        else:
            if found["state"] != "pending":
                return issued_certificate(found)
        left = end - monotonic()
        if left <= 0:
            if fault is not None:
                raise fault
            return None
        pause(min(POLL_SECONDS, left))


def issued_certificate(found: Mapping[str, Any]) -> dict[str, Any]:
    """Give the certificate of a request that waits no more.

    Raises:
        ServiceRefused: it ended without one.
    """
    issued = found.get("issued")
    if isinstance(issued, dict):
        return issued
    denial = found.get("denial")
    why = f": {denial.get('reason')}" if isinstance(denial, dict) else ""
    raise ServiceRefused(f"request {found['request']} is {printable(found['state'] + why)}", (), status=403)
