"""The policy as values: what a profile hands out, and to whom.

A pattern is a name in which `*` stands for any run of characters, matched against the whole string.
It is never a regular expression, and never made from input.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from kubemint.requester import Method, Requester

RESERVED_PREFIXES: Final = ("system:", "kubeadm:")  # Kubernetes' RBAC reference; kubeadm 1.29 and later
FORBIDDEN_NAMES: Final = frozenset({"system:masters"})  # let through before RBAC and before every webhook


def is_reserved(name: str) -> bool:
    """Tell whether Kubernetes keeps a name for itself. Case is ignored, to leave no look-alikes."""
    return name.strip().casefold().startswith(RESERVED_PREFIXES)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A name with `*` for any run of characters."""

    text: str

    def matches(self, name: str) -> bool:
        """Tell whether the whole of `name` fits."""
        first, *rest = self.text.split("*")
        if not rest:
            return name == first
        *middle, last = rest
        if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
            return False
        position = len(first)
        for part in middle:
            position = name.find(part, position, len(name) - len(last)) + len(part)
            if position < len(part):
                return False
        return position <= len(name) - len(last)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRule:
    """Matches the requester that showed the bearer token of this name."""

    token: str

    def matches(self, requester: Requester) -> bool:
        """Tell whether the rule means this requester."""
        return requester.method is Method.TOKEN and requester.authority == self.token


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRule:
    """Matches a requester whose client certificate this CA signed; a pattern left out matches any."""

    certificate: str
    common_name: Pattern | None
    organization: Pattern | None

    def matches(self, requester: Requester) -> bool:
        """Tell whether the rule means this requester."""
        return (
            requester.method is Method.CERTIFICATE
            and requester.authority == self.certificate
            and (self.common_name is None or self.common_name.matches(requester.common_name or ""))
            and (self.organization is None or any(map(self.organization.matches, requester.organizations)))
        )


RequesterRule = TokenRule | CertificateRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The ceiling over all profiles."""

    max_lifetime: timedelta
    keys: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What some requesters may have. Everything not listed is refused."""

    name: str
    requesters: tuple[RequesterRule, ...]
    users: tuple[Pattern, ...]
    groups: tuple[Pattern, ...]
    reserved: frozenset[str]
    default_lifetime: timedelta
    max_lifetime: timedelta
    keys: frozenset[str]

    @property
    def path(self) -> str:
        """Where the profile stands in the policy file."""
        return f"profiles.{self.name}"

    def is_for(self, requester: Requester) -> bool:
        """Tell whether the requester may use this profile."""
        return any(rule.matches(requester) for rule in self.requesters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Who may do more than ask for certificates."""

    auditors: tuple[RequesterRule, ...] = ()
    operators: tuple[RequesterRule, ...] = ()

    def held_by(self, requester: Requester) -> tuple[str, ...]:
        """Name the roles of a requester."""
        rules = {"auditor": self.auditors, "operator": self.operators}
        return tuple(role for role in rules if any(rule.matches(requester) for rule in rules[role]))

    def may_read_the_log(self, requester: Requester) -> bool:
        """Tell whether a requester may see the records of others: auditors, and operators who act on them."""
        return bool(self.held_by(requester))


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """All rules of one version of the file; `version` is `sha256:` and the hex digest of its bytes."""

    version: str
    limits: Limits
    profiles: tuple[Profile, ...]
    roles: Roles

    def profiles_for(self, requester: Requester) -> tuple[Profile, ...]:
        """Give the profiles that a requester may use."""
        return tuple(profile for profile in self.profiles if profile.is_for(requester))
