"""Who asks, and how it was proven.

The service may trust every `Requester` that it has: `kubemint.authentication` makes them, from evidence
that held, and `kubemint.audit` makes them again from what is on record. Cases that try a policy out are
written down by hand, and never reach the service.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

NO_CLAIMS: Final[Mapping[str, Any]] = MappingProxyType({})


class Method(StrEnum):
    """How a requester proved who it is."""

    TOKEN = "token"  # noqa: S105 - the name of a method, not a secret
    CERTIFICATE = "certificate"
    OIDC = "oidc"
    KUBERNETES = "kubernetes"
    RENEWAL = "renewal"
    KEY = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleUse:
    """A token that counts once, by its `jti` (RFC 7519 4.1.7) among the tokens of its authority."""

    token_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """A proven identity.

    `identity` is unique over all methods and stable in time: it is what the ledger records and
    what "my certificates" means. `authority` is who vouched: the name of the token, or the name that the
    configuration gives to the CA, the token issuer or the cluster; for a renewal, the profile. `evidence`
    names what was shown, never the secret. `claims` is what the authority said beyond the name, as JSON
    values: policy rules match on them and templates are filled from them. `single_use` is set where the
    evidence counts once. `renews` is set where the evidence is a certificate of this service.
    """

    method: Method
    authority: str
    identity: str
    evidence: str
    claims: Mapping[str, Any] = field(default_factory=lambda: NO_CLAIMS)
    single_use: SingleUse | None = None
    renews: "Renewal | None" = None

    @property
    def first(self) -> "Requester":
        """Who first proved an identity: for a renewal the requester of the first certificate, else this one."""
        return self if self.renews is None else self.renews.first


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What the certificate in hand says, and what is on record about it.

    `first` is the requester to whom the first certificate of the line was issued, at `first_proven_at`;
    every renewal is judged as if it asked again. `line` is the serial number of that certificate.
    """

    line: str

    profile: str
    user: str
    groups: tuple[str, ...]
    first: Requester
    first_proven_at: datetime


def renewal_identity(line: str) -> str:
    """Give the identity of whoever renews a certificate of a line, named by the serial number of its first."""
    return f"renewal:{line}"
