"""What loads, and what a reviewer should know before it does."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Final, assert_never

from kubemint.policy.claims import Pattern
from kubemint.policy.rules import (
    CertificateRule,
    KubernetesRule,
    OidcRule,
    Policy,
    Profile,
    RequesterRule,
    TokenRule,
)

LONG_LIFETIME: Final = timedelta(days=1)


def policy_warnings(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield pairs of a path in the file and a sentence."""
    for profile in policy.profiles:
        yield from _name_warnings(profile)
        yield from _lifetime_warnings(profile, policy)
        if not profile.requesters:
            yield f"{profile.path}.requesters", "empty, so that nobody can use the profile"
    for path, rule in requester_rules(policy):
        yield from _wildcard_warnings(path, rule)
    yield from _shared_groups(policy)
    yield from _unreachable(policy)


def unknown_authorities(policy: Policy, known: Mapping[str, Collection[str]]) -> Iterator[tuple[str, str]]:
    """Yield path and sentence for each rule that names what the configuration does not have.

    Such a rule would match nobody, in silence. `known` holds the names by kind of requester: token,
    certificate, oidc, kubernetes; a kind that is missing in it is not looked at.
    """
    for path, rule in requester_rules(policy):
        method, name = rule.authority
        if method.value in known and name not in known[method.value]:
            yield path, f"the configuration has no {method.value} {name!r}"


def requester_rules(policy: Policy) -> Iterator[tuple[str, RequesterRule]]:
    """Yield every rule that says who may do something, with its path."""
    for profile in policy.profiles:
        for place, rule in enumerate(profile.requesters):
            yield f"{profile.path}.requesters.{place}", rule
    for role, rules in (("auditor", policy.roles.auditors), ("operator", policy.roles.operators)):
        for place, rule in enumerate(rules):
            yield f"roles.{role}.{place}", rule


def _name_warnings(profile: Profile) -> Iterator[tuple[str, str]]:
    for place, pattern in enumerate(profile.users):
        if "*" in pattern.text and not pattern.placeholders:
            yield (
                f"{profile.path}.users.{place}",
                "a requester may choose the user name; nothing binds it to a proven identity",
            )
    if any(pattern.placeholders for pattern in (*profile.users, *profile.groups, *profile.required)):
        for place, rule in enumerate(profile.requesters):
            if isinstance(rule, TokenRule):
                yield (
                    f"{profile.path}.requesters.{place}",
                    "a token has no claims, and the profile's names are made of claims",
                )


def _lifetime_warnings(profile: Profile, policy: Policy) -> Iterator[tuple[str, str]]:
    if profile.max_lifetime > policy.limits.max_lifetime:
        yield f"{profile.path}.lifetime.max", "above limits.maxLifetime, which is what counts"
    if min(profile.max_lifetime, policy.limits.max_lifetime) > LONG_LIFETIME:
        yield f"{profile.path}.lifetime.max", "more than a day; what has leaked stays good for as long"


def _wildcard_warnings(path: str, rule: RequesterRule) -> Iterator[tuple[str, str]]:
    """Yield what makes a rule mean everybody for whom an authority vouches."""
    match rule:
        case OidcRule() if all(any(map(_is_any, claim.wanted)) for claim in rule.claims):
            yield path, f"everybody with a token of {rule.oidc!r} is meant; name a claim that tells yours"
        case KubernetesRule():
            conditions = {"namespace": rule.namespace, "serviceAccount": rule.service_account}
            if missing := [name for name, wanted in conditions.items() if wanted is None or _is_any(wanted)]:
                yield path, f"{' and '.join(missing)} may be anything; name those that are yours"
        case TokenRule() | CertificateRule() | OidcRule():
            return
        case _ as never:
            assert_never(never)


def _is_any(wanted: Pattern | bool | int) -> bool:
    return isinstance(wanted, Pattern) and not wanted.text.strip("*")


def _shared_groups(policy: Policy) -> Iterator[tuple[str, str]]:
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for profile in policy.profiles:
        for text in dict.fromkeys(pattern.text for pattern in (*profile.groups, *profile.required)):
            owners[text].append(profile.name)
    wide = [Pattern(text) for text in owners if "*" in text]
    for profile in policy.profiles:
        for field, patterns in (("groups", profile.groups), ("required", profile.required)):
            for place, pattern in enumerate(patterns):
                sources = [pattern.text, *(other.text for other in wide if other.matches(pattern.text))]
                others = dict.fromkeys(name for text in sources for name in owners[text] if name != profile.name)
                if others:
                    path = f"{profile.path}.{field}.{place}"
                    yield path, f"group {pattern.text!r} is handed out by {', '.join(others)} too"


def _unreachable(policy: Policy) -> Iterator[tuple[str, str]]:
    """A profile all of whose requesters have another one as well can be reached only by its name."""
    owners: defaultdict[RequesterRule, set[str]] = defaultdict(set)
    for profile in policy.profiles:
        for rule in profile.requesters:
            owners[rule].add(profile.name)
    for profile in policy.profiles:
        rules = set(profile.requesters)
        if rules and (twins := set.intersection(*(owners[rule] for rule in rules)) - {profile.name}):
            yield (
                f"{profile.path}.requesters",
                f"whoever may use it may use {', '.join(sorted(twins))} too, so it is reached only by its name",
            )
