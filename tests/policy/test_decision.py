"""The verdict: what is granted, and each reason why something is refused, beside its granted twin."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from csrs import KEY_TYPES, private_key
from kubemint.policy.decision import Granted, Refused, decide
from kubemint.policy.rules import Policy, Profile
from kubemint.requester import Requester
from kubemint.x509.issuer import IssuerLimits
from kubemint.x509.profile import CertificateTerms
from kubemint.x509.request import SigningRequest
from policy.rulebook import (
    DAY,
    HOUR,
    ISSUER,
    LAPTOP,
    NOW,
    START,
    STRANGER,
    WORKSTATION,
    certificate_rule,
    patterns,
    policy,
    profile,
    request,
)

SECOND = timedelta(seconds=1)
MASTERS = ("system:masters", "System:Masters", "SYSTEM:MASTERS", " system:masters", "system:masters ")


def verdict(
    asked: SigningRequest,
    rules: Policy | Profile,
    requester: Requester = LAPTOP,
    now: datetime = NOW,
    issuer: IssuerLimits = ISSUER,
) -> Granted | Refused:
    return decide(asked, requester, rules if isinstance(rules, Policy) else policy(rules), now, issuer)


def granted(*arguments: Any, **options: Any) -> CertificateTerms:
    decision = verdict(*arguments, **options)
    assert isinstance(decision, Granted), decision
    return decision.terms


def reasons(*arguments: Any, **options: Any) -> list[tuple[str, str]]:
    """Give code and path of each reason of a refusal."""
    decision = verdict(*arguments, **options)
    assert isinstance(decision, Refused), decision
    assert all(reason.message for reason in decision.reasons)
    return [(reason.code, reason.path) for reason in decision.reasons]


def test_a_grant_says_exactly_what_to_sign() -> None:
    """User, groups and key are those of the request, the times those of the profile."""
    key = private_key("ecdsa-p256").public_key()
    decision = verdict(request(groups=("team-b", "developers")), profile())
    assert decision == Granted(
        profile="developers",
        policy_version="sha256:0",
        terms=CertificateTerms(
            user="jane",
            groups=("team-b", "developers"),
            public_key=key,
            spki_der=request().spki_der,
            not_before=START - timedelta(minutes=5),
            not_after=START + HOUR,
        ),
        decided_at=NOW,
    )


def test_a_refusal_names_profile_and_policy() -> None:
    """The record shows by which rules it was refused."""
    decision = verdict(request(user="eve"), profile(users=patterns("jane")))
    assert isinstance(decision, Refused)
    assert (decision.profile, decision.policy_version) == ("developers", "sha256:0")


@pytest.mark.parametrize("name", MASTERS)
@pytest.mark.parametrize("group_patterns", [("*",), ("system:masters",), ("s*s",), ("system:masters", "*")])
def test_no_policy_gives_system_masters(name: str, group_patterns: tuple[str, ...]) -> None:
    """Whatever a profile says, the group is refused by a rule that stands outside it (P2)."""
    generous = profile(groups=patterns(*group_patterns), reserved=frozenset(MASTERS))
    assert ("name-forbidden", "hard-rules.forbidden") in reasons(request(groups=("developers", name)), generous)
    assert ("name-forbidden", "hard-rules.forbidden") in reasons(request(user=name), generous)


def test_a_name_that_only_contains_it_is_another_name() -> None:
    """The rule is for the name, not for a part of it."""
    assert granted(request(groups=("team-system:masters",)), profile())


def test_system_masters_is_refused_even_where_no_profile_fits() -> None:
    """Every reason is told, also to whom no profile is for."""
    assert reasons(request(groups=("system:masters",)), profile(), requester=STRANGER) == [
        ("name-forbidden", "hard-rules.forbidden"),
        ("no-profile", "profiles"),
    ]


def test_the_issuers_own_key_is_refused() -> None:
    """A certificate for the CA's key is never signed, whoever asks."""
    own = request(spki_der=ISSUER.spki_der)
    assert reasons(own, profile()) == [("key-of-issuer", "hard-rules.issuer-key")]


@pytest.mark.parametrize("name", ["system:nodes", "system:x", "kubeadm:cluster-admins", "SYSTEM:nodes"])
def test_a_reserved_name_is_refused_unless_it_is_listed(name: str) -> None:
    """A pattern does not reach it; its exact entry under `reserved` does, and for a user also one in `users`."""
    wide = profile(groups=patterns("*"))
    listed = profile(groups=patterns("*"), reserved=frozenset({name}))
    of_a_user = profile(users=patterns(name), groups=patterns("*"), reserved=frozenset({name}))
    assert reasons(request(groups=(name,)), wide) == [("group-reserved", "profiles.developers.reserved")]
    assert reasons(request(user=name), wide) == [("user-reserved", "profiles.developers.reserved")]
    assert granted(request(groups=(name,)), listed).groups == (name,)
    assert reasons(request(user=name), listed) == [("user-reserved", "profiles.developers.reserved")]
    assert granted(request(user=name), of_a_user).user == name
    assert ("group-reserved", "profiles.developers.reserved") in reasons(
        request(user=name, groups=(name,)), of_a_user
    )


@pytest.mark.parametrize("near", ["system:node", "system:nodes2", "System:nodes", "kubeadm:nodes"])
def test_a_listed_name_does_not_open_those_beside_it(near: str) -> None:
    """`reserved` holds names, in their case, and no patterns."""
    listed = profile(groups=patterns("*"), reserved=frozenset({"system:nodes"}))
    assert reasons(request(groups=(near,)), listed) == [("group-reserved", "profiles.developers.reserved")]


def test_a_listed_name_must_be_allowed_too() -> None:
    """`reserved` lifts the reservation; what the profile gives is still in users and groups."""
    listed = profile(reserved=frozenset({"system:nodes"}))
    assert reasons(request(groups=("system:nodes",)), listed) == [
        ("group-not-allowed", "profiles.developers.groups")
    ]


def test_a_user_must_match() -> None:
    """A name that no pattern covers is refused."""
    narrow = profile(users=patterns("jane", "ci:*"))
    assert granted(request(user="ci:main"), narrow).user == "ci:main"
    assert reasons(request(user="eve"), narrow) == [("user-not-allowed", "profiles.developers.users")]


def test_every_group_must_match() -> None:
    """One group that is not allowed refuses the whole; none at all is allowed."""
    assert granted(request(groups=()), profile()).groups == ()
    assert granted(request(groups=("developers", "team-a", "team-")), profile())
    asked = request(groups=("developers", "admins", "team-a", "team"))
    assert reasons(asked, profile()) == [("group-not-allowed", "profiles.developers.groups")] * 2


def test_an_empty_list_allows_nothing() -> None:
    """No users, no groups or no keys in a profile means none (P6)."""
    assert reasons(request(), profile(users=())) == [("user-not-allowed", "profiles.developers.users")]
    assert reasons(request(), profile(groups=())) == [("group-not-allowed", "profiles.developers.groups")]
    assert reasons(request(), profile(keys=frozenset())) == [("key-not-allowed", "profiles.developers.keys")]


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_key_must_be_of_a_type_that_profile_and_limits_allow(key_type: str) -> None:
    """Both lists count; each that lacks the type says so."""
    asked, others = request(key_type=key_type), frozenset(KEY_TYPES) - {key_type}
    assert granted(asked, policy(profile(keys=frozenset({key_type})), keys={key_type}))
    assert reasons(asked, profile(keys=others)) == [("key-not-allowed", "profiles.developers.keys")]
    assert reasons(asked, policy(profile(), keys=others)) == [("key-not-allowed", "limits.keys")]
    assert len(reasons(asked, policy(profile(keys=others), keys=others))) == 2


def test_who_matches_no_profile_gets_nothing() -> None:
    """A requester that the policy does not name is refused; an empty policy refuses everybody."""
    assert granted(request(), profile())
    assert reasons(request(), profile(), requester=STRANGER) == [("no-profile", "profiles")]
    assert reasons(request(), dataclasses.replace(policy(), profiles=())) == [("no-profile", "profiles")]


def test_the_only_profile_need_not_be_named() -> None:
    """One profile for the requester is chosen; those of others do not count."""
    others = profile("operators", requesters=(certificate_rule(),))
    decision = verdict(request(), policy(profile(), others))
    assert isinstance(decision, Granted)
    assert decision.profile == "developers"


def test_a_profile_may_be_named() -> None:
    """Of several, the one that is named judges."""
    both = policy(profile(), profile("testers", groups=patterns("testers")))
    asked = request(groups=("testers",), profile="testers")
    decision = verdict(asked, both)
    assert isinstance(decision, Granted)
    assert decision.profile == "testers"
    assert reasons(dataclasses.replace(asked, profile="developers"), both) == [
        ("group-not-allowed", "profiles.developers.groups")
    ]


def test_among_several_one_must_be_named() -> None:
    """Nothing is guessed, even where only one of them would grant."""
    both = policy(profile(), profile("testers", groups=patterns("testers")))
    assert reasons(request(), both) == [("profile-ambiguous", "profiles")]


@pytest.mark.parametrize("name", ["operators", "nobody", "Developers", ""])
def test_a_profile_of_others_is_refused(name: str) -> None:
    """A profile that is not for the requester, and one that there is not, get the same answer."""
    others = profile("operators", requesters=(certificate_rule(),))
    asked = request(profile=name)
    assert reasons(asked, policy(profile(), others)) == [("profile-not-allowed", "profiles")]


def test_a_refused_choice_does_not_name_the_profiles_of_others() -> None:
    """Who may not use a profile does not learn from a refusal that it is there."""
    secret = profile("break-glass", requesters=(certificate_rule(),))
    decision = verdict(request(profile="x"), policy(profile(), secret))
    assert isinstance(decision, Refused)
    assert "developers" in decision.reasons[0].message
    assert "break-glass" not in decision.reasons[0].message


@pytest.mark.parametrize("seconds", [1, 600, 3600, 86_400])
def test_a_lifetime_up_to_the_maximum_is_granted(seconds: int) -> None:
    """It is exact to the second, from the time of the decision."""
    assert granted(request(expiration_seconds=seconds), profile()).not_after == START + seconds * SECOND


@pytest.mark.parametrize("seconds", [86_401, 10**9, 2**31 - 1])
def test_a_lifetime_above_the_maximum_is_refused(seconds: int) -> None:
    """It is not cut in silence: the answer says what is allowed, and each bound that is crossed."""
    found = reasons(request(expiration_seconds=seconds), profile())
    assert found[:2] == [
        ("lifetime-too-long", "profiles.developers.lifetime.max"),
        ("lifetime-too-long", "limits.maxLifetime"),
    ]


def test_a_refused_lifetime_says_what_is_allowed() -> None:
    """The client can ask again with the number in the message."""
    decision = verdict(request(expiration_seconds=7201), profile(max_lifetime=2 * HOUR))
    assert isinstance(decision, Refused)
    assert [reason.message for reason in decision.reasons] == ["7201 s asked; at most 7200 s allowed"]


def test_the_limits_are_the_ceiling() -> None:
    """A profile that says more than the limits gives no more than they do."""
    rules = policy(profile(max_lifetime=7 * DAY), max_lifetime=DAY)
    assert granted(request(expiration_seconds=86_400), rules)
    assert reasons(request(expiration_seconds=86_401), rules) == [("lifetime-too-long", "limits.maxLifetime")]


def test_a_default_above_the_limits_is_cut() -> None:
    """What was not asked for is never too long."""
    rules = policy(profile(default_lifetime=2 * DAY, max_lifetime=7 * DAY), max_lifetime=DAY)
    assert granted(request(), rules).not_after == START + DAY


def ending(moment: datetime) -> IssuerLimits:
    return dataclasses.replace(ISSUER, not_after=moment)


def test_a_default_is_cut_at_the_cas_end() -> None:
    """No certificate outlives the CA; one that asks for nothing longer is granted what is left."""
    soon = ending(START + 600 * SECOND)
    assert granted(request(), profile(), issuer=soon).not_after == START + 600 * SECOND


def test_a_lifetime_beyond_the_cas_end_is_refused() -> None:
    """What was asked for is refused by name, not cut."""
    soon = ending(START + 600 * SECOND)
    assert granted(request(expiration_seconds=599), profile(), issuer=soon)
    assert reasons(request(expiration_seconds=601), profile(), issuer=soon) == [("lifetime-too-long", "issuer")]


@pytest.mark.parametrize("end", [NOW, START, NOW - DAY])
@pytest.mark.parametrize("seconds", [None, 60])
def test_an_expired_ca_grants_nothing(end: datetime, seconds: int | None) -> None:
    """From its last moment on, every request is refused for that."""
    assert ("issuer-expired", "issuer") in reasons(
        request(expiration_seconds=seconds), profile(), issuer=ending(end)
    )


def test_a_certificate_does_not_begin_before_the_ca() -> None:
    """It is backdated by five minutes for clocks that are behind, but never to before its issuer."""
    young = dataclasses.replace(ISSUER, not_before=START - 10 * SECOND)
    assert granted(request(), profile()).not_before == START - 300 * SECOND
    assert granted(request(), profile(), issuer=young).not_before == START - 10 * SECOND


def test_the_times_are_whole_seconds() -> None:
    """X.509 has no fractions (RFC 5280 4.1.2.5)."""
    now = datetime(2026, 11, 20, 12, 0, 59, 999_999, tzinfo=UTC)
    terms = granted(request(), profile(), now=now)
    assert (terms.not_before.microsecond, terms.not_after.microsecond) == (0, 0)
    assert terms.not_after <= now + HOUR


def test_a_holder_of_a_certificate_is_a_requester_like_others() -> None:
    """A rule about certificates grants to whom it means, and to nobody else."""
    rules = profile(requesters=(certificate_rule("jane", "engineering"),))
    assert granted(request(), rules, requester=WORKSTATION)
    assert reasons(request(), rules, requester=LAPTOP) == [("no-profile", "profiles")]


def test_all_reasons_are_collected() -> None:
    """A request with many faults is refused once, with every one of them, each with the path of its rule."""
    asked = request(
        user="kubeadm:x",
        groups=("system:masters", "admins"),
        spki_der=ISSUER.spki_der,
        key_type="rsa-2048",
        expiration_seconds=7 * 86_400,
    )
    rules = policy(profile(users=patterns("jane"), keys=frozenset({"ed25519"})), keys={"ed25519"})
    assert reasons(asked, rules, issuer=ending(START - SECOND)) == [
        ("name-forbidden", "hard-rules.forbidden"),
        ("key-of-issuer", "hard-rules.issuer-key"),
        ("user-reserved", "profiles.developers.reserved"),
        ("user-not-allowed", "profiles.developers.users"),
        ("group-reserved", "profiles.developers.reserved"),
        ("group-not-allowed", "profiles.developers.groups"),
        ("group-not-allowed", "profiles.developers.groups"),
        ("key-not-allowed", "profiles.developers.keys"),
        ("key-not-allowed", "limits.keys"),
        ("issuer-expired", "issuer"),
        ("lifetime-too-long", "profiles.developers.lifetime.max"),
        ("lifetime-too-long", "limits.maxLifetime"),
        ("lifetime-too-long", "issuer"),
    ]
