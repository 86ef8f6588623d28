"""One profile and one request: every rule that stands between them.

The rules are the same for the verdict and for its trace: both go through `PROFILE_RULES`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final

from kubemint.errors import Reason
from kubemint.policy.claims import Filled, Pattern, fill
from kubemint.policy.rules import FORBIDDEN_NAMES, Limits, Profile, is_own, is_reserved
from kubemint.requester import Requester
from kubemint.x509.issuer import IssuerLimits
from kubemint.x509.names import name_reasons
from kubemint.x509.request import SigningRequest

LifetimeBounds = Sequence[tuple[timedelta, str]]

_SECOND: Final = timedelta(seconds=1)  # X.509 knows nothing shorter (RFC 5280 4.1.2.5)
_PATTERNS_SHOWN: Final = 10  # a claim can stand for hundreds, and a refusal tells them for each group
_PROBLEMS_SHOWN: Final = 3


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a profile has for a requester, whatever is asked for; `now` is aware UTC."""

    requester: Requester
    profile: Profile
    limits: Limits
    now: datetime
    issuer: IssuerLimits

    @cached_property
    def users(self) -> Filled:
        """The user names that the profile allows."""
        return fill(self.profile.users, self._claims)

    @cached_property
    def groups(self) -> Filled:
        """The groups that may be asked for."""
        return fill(self.profile.groups, self._claims)

    @cached_property
    def required(self) -> Filled:
        """The groups that are always added."""
        return fill(self.profile.required, self._claims)

    @cached_property
    def bounds(self) -> LifetimeBounds:
        """The longest lifetime by each rule, with its path; the shortest of them counts."""
        bounds = [
            (self.profile.max_lifetime, f"{self.profile.path}.lifetime.max"),
            (self.limits.max_lifetime, "limits.maxLifetime"),
            (self.issuer.not_after - self.start, "issuer"),
        ]
        if self.renewable_until is not None:
            left = self.renewable_until - self.start
            bounds.append((max(left, timedelta(0)), f"{self.profile.path}.renewal.for"))
        return bounds

    @property
    def start(self) -> datetime:
        """The second from which a lifetime counts."""
        return self.now.replace(microsecond=0)

    @property
    def renewable_until(self) -> datetime | None:
        """When the line of certificates ends that a renewal continues; None if this is no renewal."""
        if self.requester.renews is None or self.profile.renewal is None:
            return None
        return self.requester.renews.first_proven_at + self.profile.renewal

    @property
    def _claims(self) -> Mapping[str, Any]:
        """Who renews is known by what was proven first."""
        return self.requester.first.claims


@dataclass(frozen=True, kw_only=True)
class Question(Standing):
    """Whether a profile gives a requester what it asks for."""

    request: SigningRequest


def hard_rules(request: SigningRequest, issuer: IssuerLimits) -> Iterator[Reason]:
    """Yield what no policy can allow."""
    yield from _forbidden_reasons((request.user, *request.groups))
    if request.spki_der == issuer.spki_der:
        yield Reason(
            code="key-of-issuer",
            message="the CSR holds the CA's own public key",
            path="hard-rules.issuer-key",
        )


def _user_reasons(question: Question) -> Iterator[Reason]:
    yield from _name_reasons("user", question.request.user, question.users, question.profile)


def _group_reasons(question: Question) -> Iterator[Reason]:
    """A group that is always added may be asked for too."""
    required = {pattern.text for pattern in question.required.patterns}
    for group in question.request.groups:
        if group not in required:
            yield from _name_reasons("group", group, question.groups, question.profile)


def _required_reasons(question: Question) -> Iterator[Reason]:
    """A group that cannot be added is a reason to refuse: without it the certificate would be another one."""
    path = f"{question.profile.path}.required"
    for problem in question.required.problems:
        yield Reason(code="claim-unusable", message=problem, path=path)
    for pattern in question.required.patterns:
        yield from _forbidden_reasons([pattern.text])
        yield from _reserved_reasons("group", pattern.text, question.profile)
        for reason in name_reasons(pattern.text, f"group {pattern.text!r}"):  # two good parts can be a bad whole
            yield replace(reason, path=path)


def _renewal_reasons(question: Question) -> Iterator[Reason]:
    """What the certificate in hand does not lead to."""
    renews, until = question.requester.renews, question.renewable_until
    if renews is None or until is None:
        return
    path = f"{question.profile.path}.renewal"
    if question.request.user != renews.user:
        yield Reason(
            code="renewal-other-user",
            message=f"the certificate in hand is of {renews.user!r}, and is renewed for the same user alone",
            path=path,
        )
    required = {pattern.text for pattern in question.required.patterns}
    if more := sorted({*question.request.groups, *required} - set(renews.groups)):
        yield Reason(
            code="renewal-more-groups",
            message=f"a renewal adds no group, and the certificate in hand lacks {', '.join(map(repr, more))}",
            path=path,
        )
    if question.start + _SECOND > until:
        yield Reason(
            code="renewal-over",
            message=f"what was proven first counted until {until:%Y-%m-%dT%H:%M:%SZ}; prove it again",
            path=f"{path}.for",
        )


def _key_reasons(question: Question) -> Iterator[Reason]:
    for allowed, path in (
        (question.profile.keys, f"{question.profile.path}.keys"),
        (question.limits.keys, "limits.keys"),
    ):
        if question.request.key_type not in allowed:
            yield Reason(
                code="key-not-allowed",
                message=f"a key of type {question.request.key_type} is not allowed here: "
                f"{', '.join(sorted(allowed))}",
                path=path,
            )


def _lifetime_reasons(question: Question) -> Iterator[Reason]:
    """What was not asked for is never too long."""
    if question.issuer.not_after <= question.now:
        yield Reason(code="issuer-expired", message="the CA's certificate has expired", path="issuer")
    if question.request.expiration_seconds is None:
        return
    asked = timedelta(seconds=question.request.expiration_seconds)
    for most, path in question.bounds:
        if asked > most:
            yield Reason(
                code="lifetime-too-long",
                message=f"{question.request.expiration_seconds} s asked; "
                f"at most {int(most.total_seconds())} s allowed",
                path=path,
            )


PROFILE_RULES: Final[Mapping[str, Callable[[Question], Iterator[Reason]]]] = {
    "users": _user_reasons,
    "groups": _group_reasons,
    "required": _required_reasons,
    "renewal": _renewal_reasons,
    "keys": _key_reasons,
    "lifetime": _lifetime_reasons,
}


def _name_reasons(kind: str, name: str, allowed: Filled, profile: Profile) -> Iterator[Reason]:
    yield from _reserved_reasons(kind, name, profile)
    if not allowed.allow(name):
        patterns = ", ".join(pattern.text for pattern in allowed.patterns[:_PATTERNS_SHOWN]) or "none"
        if len(allowed.patterns) > _PATTERNS_SHOWN:
            patterns += f" and {len(allowed.patterns) - _PATTERNS_SHOWN} more"
        unfilled = "".join(f"; {problem}" for problem in allowed.problems[:_PROBLEMS_SHOWN])
        yield Reason(
            code=f"{kind}-not-allowed",
            message=f"{kind} {name!r} is not one that profile {profile.name!r} allows: {patterns}{unfilled}",
            path=f"{profile.path}.{kind}s",
        )


def _forbidden_reasons(names: Iterable[str]) -> Iterator[Reason]:
    for name in names:
        if is_own(name):
            yield Reason(
                code="name-forbidden",
                message=f"nobody asks for {name!r}: such names are given by this service itself",
                path="hard-rules.forbidden",
            )
        if name.strip().casefold() in FORBIDDEN_NAMES:
            yield Reason(
                code="name-forbidden",
                message=f"nobody gets {name!r}: Kubernetes lets it through before RBAC and every webhook",
                path="hard-rules.forbidden",
            )


def _reserved_reasons(kind: str, name: str, profile: Profile) -> Iterator[Reason]:
    # A user is not a group that is called the same: a listed name is a user's only where `users` has it exactly.
    is_user, is_group = Pattern(name) in profile.users, Pattern(name) in (*profile.groups, *profile.required)
    meant = is_user if kind == "user" else is_group or not is_user
    if is_reserved(name) and not (name in profile.reserved and meant):
        yield Reason(
            code=f"{kind}-reserved",
            message=f"{kind} {name!r} is reserved for Kubernetes, and profile {profile.name!r} does not list it",
            path=f"{profile.path}.reserved",
        )
