"""From evidence to a `Requester`, or to nothing. Rules about what a requester may have are not here.

Each module knows one kind of evidence. "Not mine" is `None`; evidence of its kind that does not hold
stops the search, so that a bad token never falls back to something weaker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from kubemint.errors import NotAuthenticated
from kubemint.requester import Requester


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a client showed: the Authorization header, and the certificate that TLS has verified."""

    authorization: str | None
    client_certificate_der: bytes | None


class Authenticator(Protocol):
    """One way of proving who asks."""

    def authenticate(self, evidence: Evidence, now: datetime) -> Requester | None:
        """Prove who asks; None if there is no evidence of this kind.

        Raises:
            NotAuthenticated: there is, and it does not hold.
            IdentityUnavailable: whether it holds cannot be found out now.
        """


def authenticate(evidence: Evidence, ways: Sequence[Authenticator], now: datetime) -> Requester:
    """Try each way in its order.

    Raises:
        NotAuthenticated: nothing proves who asks.
    """
    for way in ways:
        requester = way.authenticate(evidence, now)
        if requester is not None:
            return requester
    raise NotAuthenticated("Show a bearer token or a client certificate.")
