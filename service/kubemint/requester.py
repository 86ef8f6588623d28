"""Who asks, and how it was proven.

Everything that reads a `Requester` may trust it: only `kubemint.authentication` makes one,
and only from evidence that held.
"""

from dataclasses import dataclass
from enum import StrEnum


class Method(StrEnum):
    """How a requester proved who it is."""

    TOKEN = "token"  # noqa: S105 - the name of a method, not a secret
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """A proven identity.

    `identity` is unique over all methods and stable in time: it is what the ledger records and
    what "my certificates" means. `authority` is who vouched: the name of the token, or the name
    that the configuration gives to the CA. `evidence` names what was shown, never the secret.
    """

    method: Method
    authority: str
    identity: str
    evidence: str
    common_name: str | None = None
    organizations: tuple[str, ...] = ()
