"""Policies, requests, requesters, moments: mostly ordinary, so that both verdicts are common."""

import dataclasses
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from csrs import KEY_TYPES
from kubemint.policy.claims import ClaimRule, Pattern
from kubemint.policy.rules import (
    OidcRule,
    Policy,
    Profile,
    ProfileApproval,
    ProfileQuota,
    RequesterRule,
    TokenRule,
)
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
    holder,
    kubernetes_rule,
    oidc_rule,
    patterns,
    pipeline,
    pod,
    policy,
    profile,
    request,
)

PROFILE_NAMES = ("a", "b", "c")

_SECONDS = (1, 600, 3600, 7200, 86_400, 86_401, 2**31 - 1)
_ORDINARY_RULES = (TokenRule(token="laptop"), certificate_rule("j*"), oidc_rule(repository="acme/shop"))

names: st.SearchStrategy[str] = st.sampled_from(
    [
        *("developers", "team-a", "team-b", "jane", "ci:acme/shop", "staff", ""),
        *("system:nodes", "kubeadm:x", "system:masters", "SYSTEM:masters"),
    ]
)
seconds: st.SearchStrategy[int] = st.sampled_from(_SECONDS)
lifetimes: st.SearchStrategy[timedelta] = seconds.map(lambda count: timedelta(seconds=count))
_templates = st.sampled_from(
    [
        *("*", "jane", "developers", "team-*", "*a", "s*", "", "system:nodes", "system:masters"),
        *("ci:{claims.repository}", "{claims.sub}", "team-{claims.groups}", "{claims.groups}*", "{claims.a.b}"),
        *("sys{claims.sub}", "{claims.groups}-{claims.groups}", "{claims.commonName}", "{claims.namespace}:x"),
    ]
)
_template_lists = st.lists(_templates, max_size=4).map(lambda texts: patterns(*texts))
_exact_lists = st.lists(_templates.filter(lambda text: "*" not in text), max_size=2).map(
    lambda texts: patterns(*texts)
)
_key_lists = st.frozensets(st.sampled_from(KEY_TYPES))

_claim_texts = st.sampled_from(
    [
        *("acme/shop", "acme/pay", "jane", "a", "developers", "refs/heads/main", "tem:masters", "tem:nodes"),
        *("*", "a*", "{claims.sub}", "a\nb", "a\u200bb", " a", "", "x" * 70, "\u0301", "\ud800", "system:masters"),
    ]
)
_claim_values = st.recursive(
    _claim_texts | st.booleans() | st.integers(0, 2) | st.floats(0, 2) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=4,
)
_CLAIM_NAMES = ("repository", "ref", "sub", "groups", "a", "a.b", "commonName", "namespace", "name")
claims: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(_CLAIM_NAMES), _claim_values, max_size=5
)


def _mostly(ordinary: Any, odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 5).flatmap(lambda die: odd if die == 0 else st.just(ordinary))


_wanted_values = (
    st.sampled_from(["acme/shop", "acme/*", "*", "refs/heads/main", "developers", "a"]).map(Pattern)
    | st.booleans()
    | st.integers(0, 2)
)
claim_rules: st.SearchStrategy[ClaimRule] = st.builds(
    ClaimRule,
    path=st.sampled_from(_CLAIM_NAMES),
    wanted=st.lists(_wanted_values, min_size=1, max_size=2).map(tuple),
)
_oidc_rules = st.builds(
    OidcRule,
    oidc=st.sampled_from(["github", "corp"]),
    claims=st.lists(claim_rules, max_size=2).map(tuple),
)
_globs = st.sampled_from([None, "*", "ci", "j*", "builder"])
rules: st.SearchStrategy[RequesterRule] = (
    st.sampled_from(["laptop", "phone"]).map(lambda name: TokenRule(token=name))
    | st.builds(certificate_rule, _globs, _globs)
    | st.builds(kubernetes_rule, _globs, _globs)
    | _oidc_rules
)

_pipelines = _mostly({"repository": "acme/shop", "sub": "jane", "groups": ["a", "b"]}, claims).map(
    lambda said: pipeline(**said)
)
_proven = _mostly(LAPTOP, st.sampled_from([WORKSTATION, STRANGER, pod(), pod("prod", "jane")])) | _pipelines


@st.composite
def _holders(draw: st.DrawFn) -> Requester:
    return holder(
        draw(_proven),
        profile=draw(_mostly("a", st.sampled_from(["b", "x"]))),
        user=draw(_mostly("jane", names)),
        groups=draw(_mostly(("developers", "system:nodes"), st.lists(names, max_size=3).map(tuple))),
        first_proven_at=NOW - draw(_mostly(timedelta(hours=1), lifetimes.filter(lambda age: age.days < 365))),
    )


requesters: st.SearchStrategy[Requester] = st.one_of(_proven, _proven, _holders())
moments: st.SearchStrategy[datetime] = st.integers(-3600, 3600).map(lambda offset: NOW + timedelta(seconds=offset))
issuers: st.SearchStrategy[IssuerLimits] = _mostly(
    ISSUER.not_after, st.integers(-3600, 10**6).map(lambda left: START + timedelta(seconds=left))
).map(lambda end: dataclasses.replace(ISSUER, not_after=end))


@st.composite
def profiles(draw: st.DrawFn, name: str) -> Profile:
    """Draw a profile whose default is not above its maximum, as the loader has it."""
    bounds = sorted([draw(_mostly(timedelta(hours=1), lifetimes)), draw(_mostly(timedelta(days=1), lifetimes))])
    return profile(
        name,
        requesters=draw(_mostly(_ORDINARY_RULES, st.lists(rules, max_size=3).map(tuple))),
        users=draw(_mostly(patterns("*"), _template_lists)),
        groups=draw(_mostly(patterns("developers", "team-*", "s*"), _template_lists)),
        required=draw(_mostly((), _exact_lists)),
        reserved=draw(_mostly(frozenset({"system:nodes"}), st.frozensets(names, max_size=3))),
        default_lifetime=bounds[0],
        max_lifetime=bounds[1],
        keys=draw(_mostly(frozenset(KEY_TYPES), _key_lists)),
        renewal=draw(_mostly(timedelta(days=7), st.none() | lifetimes)),
        quota=draw(st.sampled_from([None, ProfileQuota(certificates=1, per=timedelta(days=1))])),
        approval=draw(st.sampled_from([None, ProfileApproval(approvals=1, within=timedelta(days=1))])),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Draw a policy of one to three profiles."""
    several = [draw(profiles(name)) for name in PROFILE_NAMES[: draw(st.integers(1, 3))]]
    most = draw(_mostly(timedelta(days=1), lifetimes))
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
