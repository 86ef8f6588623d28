"""Policies, requests, requesters, moments: mostly ordinary, so that both verdicts are common."""

import dataclasses
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from csrs import KEY_TYPES
from kubemint.policy.rules import Policy, Profile, TokenRule
from kubemint.requester import Requester
from kubemint.x509.issuer import IssuerLimits
from kubemint.x509.request import SigningRequest
from policy.rulebook import (
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

PROFILE_NAMES = ("a", "b", "c")

_SECONDS = (1, 600, 3600, 7200, 86_400, 86_401, 2**31 - 1)
_LAPTOP_RULE = TokenRule(token="laptop")
_COMPANY_RULE = certificate_rule("j*")

names: st.SearchStrategy[str] = st.sampled_from(
    ["developers", "team-a", "team-b", "jane", "system:nodes", "kubeadm:x", "system:masters", "SYSTEM:masters", ""]
)
seconds: st.SearchStrategy[int] = st.sampled_from(_SECONDS)
_lifetimes = seconds.map(lambda count: timedelta(seconds=count))
_pattern_lists = st.lists(
    st.sampled_from(["*", "jane", "developers", "team-*", "*a", "system:nodes", "s*", "system:masters", ""]),
    max_size=4,
).map(lambda texts: patterns(*texts))
_key_lists = st.frozensets(st.sampled_from(KEY_TYPES))


def _mostly(ordinary: Any, odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 5).flatmap(lambda die: odd if die == 0 else st.just(ordinary))


requesters: st.SearchStrategy[Requester] = _mostly(LAPTOP, st.sampled_from([WORKSTATION, STRANGER]))
moments: st.SearchStrategy[datetime] = st.integers(-3600, 3600).map(lambda offset: NOW + timedelta(seconds=offset))
issuers: st.SearchStrategy[IssuerLimits] = _mostly(
    ISSUER.not_after, st.integers(-3600, 10**6).map(lambda left: START + timedelta(seconds=left))
).map(lambda end: dataclasses.replace(ISSUER, not_after=end))


@st.composite
def profiles(draw: st.DrawFn, name: str) -> Profile:
    """Draw a profile whose default is not above its maximum, as the loader has it."""
    lifetimes = sorted(
        [draw(_mostly(timedelta(hours=1), _lifetimes)), draw(_mostly(timedelta(days=1), _lifetimes))]
    )
    return profile(
        name,
        requesters=draw(_mostly((_LAPTOP_RULE, _COMPANY_RULE), st.sampled_from([(), (_COMPANY_RULE,)]))),
        users=draw(_mostly(patterns("*"), _pattern_lists)),
        groups=draw(_mostly(patterns("developers", "team-*", "s*"), _pattern_lists)),
        reserved=draw(_mostly(frozenset({"system:nodes"}), st.frozensets(names, max_size=3))),
        default_lifetime=lifetimes[0],
        max_lifetime=lifetimes[1],
        keys=draw(_mostly(frozenset(KEY_TYPES), _key_lists)),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Draw a policy of one to three profiles."""
    several = [draw(profiles(name)) for name in PROFILE_NAMES[: draw(st.integers(1, 3))]]
    most = draw(_mostly(timedelta(days=1), _lifetimes))
    return policy(*several, max_lifetime=most, keys=draw(_mostly(KEY_TYPES, _key_lists)))


@st.composite
def requests(draw: st.DrawFn) -> SigningRequest:
    """Draw a request, with a name of a profile or without."""
    return request(
        user=draw(_mostly("jane", names)),
        groups=draw(_mostly(("developers", "system:nodes"), st.lists(names, unique=True, max_size=3).map(tuple))),
        key_type=draw(st.sampled_from(KEY_TYPES)),
        spki_der=draw(_mostly(request().spki_der, st.just(ISSUER.spki_der))),
        expiration_seconds=draw(st.none() | seconds),
        profile=draw(_mostly("a", st.sampled_from([None, "b", "x"]))),
    )
