"""Renewal: the same user, the same or fewer groups, for a time, and by today's rules."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from kubemint.policy.decision import Granted, Refused, decide
from kubemint.policy.rules import Policy, Profile
from policy.rulebook import (
    DAY,
    HOUR,
    ISSUER,
    LAPTOP,
    NOW,
    START,
    STRANGER,
    holder,
    oidc_rule,
    patterns,
    pipeline,
    policy,
    profile,
    request,
)

SECOND = timedelta(seconds=1)
RENEWABLE = profile(renewal=7 * DAY)


def verdict(rules: Policy | Profile, requester: Any, **asked: Any) -> Granted | Refused:
    rules = rules if isinstance(rules, Policy) else policy(rules)
    return decide(request(**asked), requester, rules, NOW, ISSUER)


def codes(*arguments: Any, **asked: Any) -> list[str]:
    decision = verdict(*arguments, **asked)
    assert isinstance(decision, Refused), decision
    return [reason.code for reason in decision.reasons]


def test_a_holder_renews() -> None:
    """The certificate in hand is enough, for the same name and groups or for fewer."""
    assert isinstance(verdict(RENEWABLE, holder()), Granted)
    assert isinstance(verdict(RENEWABLE, holder(), groups=()), Granted)


def test_without_renewal_a_certificate_proves_nothing() -> None:
    """A profile that does not mention renewal has none."""
    assert codes(profile(), holder()) == ["no-profile"]


def test_the_user_stays_the_same() -> None:
    """Even where the profile would allow another name."""
    assert codes(RENEWABLE, holder(), user="eve") == ["renewal-other-user"]


def test_no_group_is_added() -> None:
    """Even where the profile would allow the group."""
    assert codes(RENEWABLE, holder(), groups=("developers", "team-a")) == ["renewal-more-groups"]
    assert isinstance(verdict(RENEWABLE, holder(groups=("developers", "team-a")), groups=("team-a",)), Granted)


def test_no_required_group_is_added_either() -> None:
    """Whoever has a certificate from before a group was required proves identity again to get it."""
    stricter = dataclasses.replace(RENEWABLE, required=patterns("staff"))
    assert codes(stricter, holder()) == ["renewal-more-groups"]
    decision = verdict(stricter, holder(groups=("developers", "staff")))
    assert isinstance(decision, Granted)
    assert decision.terms.groups == ("developers", "staff")


@pytest.mark.parametrize("age", [7 * DAY, 7 * DAY + SECOND, 30 * DAY, 7 * DAY - timedelta(milliseconds=500)])
def test_after_its_time_identity_is_proven_again(age: timedelta) -> None:
    """The time counts from the first proof; less than a second of it is nothing that X.509 could say."""
    assert "renewal-over" in codes(RENEWABLE, holder(first_proven_at=NOW - age))


def test_a_default_is_cut_at_the_end_of_renewal() -> None:
    """The last certificate of a line ends with it."""
    proven = START - 7 * DAY + 600 * SECOND
    decision = verdict(RENEWABLE, holder(first_proven_at=proven))
    assert isinstance(decision, Granted)
    assert decision.terms.not_after == START + 600 * SECOND


def test_a_lifetime_beyond_the_end_of_renewal_is_refused() -> None:
    """What is asked for is refused by name, not cut."""
    requester = holder(first_proven_at=START - 7 * DAY + 600 * SECOND)
    assert codes(RENEWABLE, requester, expiration_seconds=601) == ["lifetime-too-long"]
    assert isinstance(verdict(RENEWABLE, requester, expiration_seconds=600), Granted)


def test_a_right_that_was_taken_away_is_not_renewed() -> None:
    """Today's rules are asked again: of the requester, the user, the groups."""
    assert codes(RENEWABLE, holder(first=STRANGER)) == ["no-profile"]
    assert codes(dataclasses.replace(RENEWABLE, users=patterns("eve")), holder()) == ["user-not-allowed"]
    assert codes(dataclasses.replace(RENEWABLE, groups=()), holder()) == ["group-not-allowed"]


def test_a_profile_that_is_gone_renews_nothing() -> None:
    """Another profile that is for the same requester does not take its place."""
    assert codes(profile("others", renewal=7 * DAY), holder()) == ["no-profile"]
    assert codes(dataclasses.replace(policy(), profiles=()), holder()) == ["no-profile"]


def test_among_several_profiles_it_is_the_certificates_own() -> None:
    """A holder need not name the profile, and cannot name another."""
    both = policy(RENEWABLE, profile("testers", renewal=7 * DAY))
    decision = verdict(both, holder())
    assert isinstance(decision, Granted)
    assert decision.profile == "developers"
    assert codes(both, holder(), profile="testers") == ["profile-not-allowed"]


def test_names_are_filled_from_what_was_proven_first() -> None:
    """The certificate in hand has no claims; the first proof had."""
    bound = profile(requesters=(oidc_rule(),), users=patterns("{claims.sub}"), renewal=DAY)
    assert isinstance(verdict(bound, holder(pipeline(sub="jane"))), Granted)
    assert codes(bound, holder(pipeline(sub="eve"))) == ["user-not-allowed"]


def test_who_proves_identity_again_is_no_renewal() -> None:
    """Other groups are to be had, for the whole time, as ever."""
    decision = verdict(RENEWABLE, LAPTOP, user="eve", groups=("team-a",), expiration_seconds=86_400)
    assert isinstance(decision, Granted)
    assert decision.terms.not_after == START + 24 * HOUR
