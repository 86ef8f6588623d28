"""The policy as values: what a profile hands out, and to whom.

A pattern is a name in which `*` stands for any run of characters, matched against the whole string.
It is never a regular expression, and never made from input; claims that fill one are checked first.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Final

from kubemint.policy.claims import ClaimRule, Pattern, find_claim
from kubemint.requester import Method, Requester

RESERVED_PREFIXES: Final = ("system:", "kubeadm:")  # Kubernetes' RBAC reference; kubeadm 1.29 and later
OWN_PREFIX: Final = "kubemint:"  # what this service itself writes into certificates
SERIAL_GROUP_PREFIX: Final = "kubemint:serial:"  # … for API servers that do not name the credential (before 1.32)
FORBIDDEN_NAMES: Final = frozenset({"system:masters"})  # let through before RBAC and before every webhook


def is_reserved(name: str) -> bool:
    """Tell whether Kubernetes keeps a name for itself. Case is ignored, to leave no look-alikes."""
    return name.strip().casefold().startswith(RESERVED_PREFIXES)


def is_own(name: str) -> bool:
    """Tell whether a name is this service's to give, and nobody's to ask for or to list. Case is ignored."""
    return name.strip().casefold().startswith(OWN_PREFIX)


class _Rule:
    """Means the requesters for whom this authority vouches and whose claims fit all of the claim rules."""

    __slots__ = ()

    @property
    def authority(self) -> tuple[Method, str]:
        """Who must vouch."""
        raise NotImplementedError

    @property
    def claim_rules(self) -> tuple[ClaimRule, ...]:
        """What must be said of the requester."""
        return ()

    def matches(self, requester: Requester) -> bool:
        """Tell whether the rule means this requester."""
        return (requester.method, requester.authority) == self.authority and all(
            rule.matches(requester.claims) for rule in self.claim_rules
        )

    def mismatches(self, requester: Requester) -> Iterator[str]:
        """Say which claims of a requester of this authority do not fit."""
        for rule in self.claim_rules:
            if not rule.matches(requester.claims):
                texts = (repr(one.text) if isinstance(one, Pattern) else str(one) for one in rule.wanted)
                found = find_claim(requester.claims, rule.path)
                said = "is missing" if found is None else f"is {str(found)[:200]!r}"
                yield f"the claim {rule.path!r} {said}, and must be {' or '.join(texts)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRule(_Rule):
    """Matches the requester that showed the bearer token of this name."""

    token: str

    @property
    def authority(self) -> tuple[Method, str]:
        """Who must vouch."""
        return Method.TOKEN, self.token


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRule(_Rule):
    """Matches a requester whose client certificate this CA signed; a pattern left out matches any."""

    certificate: str
    common_name: Pattern | None = None
    organization: Pattern | None = None
    uri: Pattern | None = None
    dns_name: Pattern | None = None

    @property
    def authority(self) -> tuple[Method, str]:
        """Who must vouch."""
        return Method.CERTIFICATE, self.certificate

    @property
    def claim_rules(self) -> tuple[ClaimRule, ...]:
        """What must be said of the requester."""
        return _claim_rules(
            ("commonName", self.common_name),
            ("organizations", self.organization),
            ("uris", self.uri),
            ("dnsNames", self.dns_name),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcRule(_Rule):
    """Matches a requester whose token this issuer signed, with all of these claims."""

    oidc: str
    claims: tuple[ClaimRule, ...]

    @property
    def authority(self) -> tuple[Method, str]:
        """Who must vouch."""
        return Method.OIDC, self.oidc

    @property
    def claim_rules(self) -> tuple[ClaimRule, ...]:
        """What must be said of the requester."""
        return self.claims


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesRule(_Rule):
    """Matches the service accounts of a cluster; a pattern left out matches any."""

    kubernetes: str
    namespace: Pattern | None = None
    service_account: Pattern | None = None

    @property
    def authority(self) -> tuple[Method, str]:
        """Who must vouch."""
        return Method.KUBERNETES, self.kubernetes

    @property
    def claim_rules(self) -> tuple[ClaimRule, ...]:
        """What must be said of the requester."""
        return _claim_rules(("namespace", self.namespace), ("name", self.service_account))


RequesterRule = TokenRule | CertificateRule | OidcRule | KubernetesRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The ceiling over all profiles."""

    max_lifetime: timedelta
    keys: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileQuota:
    """How many certificates one requester gets under a profile in any window of this length."""

    certificates: int
    per: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileApproval:
    """How many operators must approve a request, and how long it waits for them."""

    approvals: int
    within: timedelta


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
    required: tuple[Pattern, ...] = ()
    renewal: timedelta | None = None
    quota: ProfileQuota | None = None
    approval: ProfileApproval | None = None
    credential_group: bool = False

    @property
    def path(self) -> str:
        """Where the profile stands in the policy file."""
        return f"profiles.{self.name}"

    def is_for(self, requester: Requester) -> bool:
        """Tell whether the requester may use this profile: by its own evidence, or by a certificate of it."""
        renews = requester.renews
        if renews is not None:
            return self.renewal is not None and renews.profile == self.name and self.is_for(renews.first)
        return any(rule.matches(requester) for rule in self.requesters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Who may do more than ask for certificates."""

    auditors: tuple[RequesterRule, ...] = ()
    operators: tuple[RequesterRule, ...] = ()
    webhooks: tuple[RequesterRule, ...] = ()

    def held_by(self, requester: Requester) -> tuple[str, ...]:
        """Name the roles of a requester."""
        rules = {"auditor": self.auditors, "operator": self.operators, "webhook": self.webhooks}
        return tuple(role for role in rules if any(rule.matches(requester) for rule in rules[role]))

    def may_read_the_log(self, requester: Requester) -> bool:
        """Tell whether a requester may see the records of others: auditors, and operators who act on them."""
        return any(rule.matches(requester) for rule in (*self.auditors, *self.operators))

    def may_authorize(self, requester: Requester) -> bool:
        """Tell whether a requester is an API server that may ask whether a credential is revoked."""
        return any(rule.matches(requester) for rule in self.webhooks)

    def may_operate(self, requester: Requester) -> bool:
        """Tell whether a requester may decide on what others ask for."""
        return any(rule.matches(requester) for rule in self.operators)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """All rules of one version of the file; `version` is `sha256:` and the hex digest of its bytes."""

    version: str
    limits: Limits
    profiles: tuple[Profile, ...]
    roles: Roles

    def profiles_for(self, requester: Requester) -> tuple[Profile, ...]:
        """Give the profiles that a requester may use, in the order of the file."""
        places = self._index.places((requester.first.method, requester.first.authority), requester.first.claims)
        return tuple(self.profiles[place] for place in places if self.profiles[place].is_for(requester))

    @cached_property
    def _index(self) -> "_Index":
        return _Index(self.profiles)


class _Index:
    """Which profiles could be for a requester, found without asking each of them.

    A rule is filed under who must vouch and, if a claim must be one of some strings, under those of the
    claim that tells most; so a policy of hundreds of repositories is a look-up and no walk.
    """

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self._always: defaultdict[tuple[Method, str], set[int]] = defaultdict(set)
        self._by_claim: defaultdict[tuple[Method, str], dict[str, defaultdict[str, set[int]]]] = defaultdict(dict)
        self._uses = Counter(
            (rule.oidc, claim.path, literal)
            for profile in profiles
            for rule in profile.requesters
            if isinstance(rule, OidcRule)
            for claim in rule.claims
            for literal in claim.literals or ()
        )
        for place, profile in enumerate(profiles):
            for rule in profile.requesters:
                self._file(rule, place)

    def places(self, authority: tuple[Method, str], claims: Mapping[str, Any]) -> list[int]:
        """Give the places of all profiles that may have a matching rule, in order; some of them have none."""
        found = set(self._always.get(authority, ()))
        for path, places in self._by_claim.get(authority, {}).items():
            value = find_claim(claims, path)
            for item in value if isinstance(value, list | tuple) else (value,):
                if isinstance(item, str):
                    found |= places.get(item, frozenset())
        return sorted(found)

    def _file(self, rule: RequesterRule, place: int) -> None:
        claim = self._telling_claim(rule) if isinstance(rule, OidcRule) else None
        if claim is None:
            self._always[rule.authority].add(place)
            return
        places = self._by_claim[rule.authority].setdefault(claim.path, defaultdict(set))
        for literal in claim.literals or ():
            places[literal].add(place)

    def _telling_claim(self, rule: OidcRule) -> ClaimRule | None:
        """Give the claim whose strings the fewest rules want; None if no claim is bound to strings."""
        exact = [claim for claim in rule.claims if claim.literals is not None]
        uses = {
            claim: sum(self._uses[rule.oidc, claim.path, literal] for literal in claim.literals or ())
            for claim in exact
        }
        return min(exact, key=uses.__getitem__, default=None)


def _claim_rules(*wanted: tuple[str, Pattern | None]) -> tuple[ClaimRule, ...]:
    return tuple(ClaimRule(path=name, wanted=(pattern,)) for name, pattern in wanted if pattern is not None)
