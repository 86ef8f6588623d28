"""What the policy file says of requesters, renewal, quota and approval."""

from datetime import timedelta
from typing import Any

import pytest

from kubemint.policy.claims import ClaimRule, Pattern
from kubemint.policy.rules import (
    CertificateRule,
    KubernetesRule,
    OidcRule,
    ProfileApproval,
    ProfileQuota,
    RequesterRule,
)
from policy.files import PROFILE, SMALL, changed, load, problems

RULE = f"{PROFILE}.requesters.0"


def rule(body: Any) -> RequesterRule:
    (loaded,) = load(changed(RULE, body, SMALL)).profiles[0].requesters
    return loaded


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"oidc": "github"}, OidcRule(oidc="github", claims=())),
        ({"oidc": "github", "claims": {}}, OidcRule(oidc="github", claims=())),
        (
            {"oidc": "github", "claims": {"repository": "acme/*", "a.b": [1, True, "x"]}},
            OidcRule(
                oidc="github",
                claims=(
                    ClaimRule(path="repository", wanted=(Pattern("acme/*"),)),
                    ClaimRule(path="a.b", wanted=(1, True, Pattern("x"))),
                ),
            ),
        ),
        (
            {"certificate": "corp", "uri": "spiffe://acme/*", "dnsName": "*.acme.test"},
            CertificateRule(certificate="corp", uri=Pattern("spiffe://acme/*"), dns_name=Pattern("*.acme.test")),
        ),
        (
            {"kubernetes": "prod", "namespace": "ci-*", "serviceAccount": "builder"},
            KubernetesRule(kubernetes="prod", namespace=Pattern("ci-*"), service_account=Pattern("builder")),
        ),
    ],
)
def test_each_source_of_identity_has_its_rule(body: Any, expected: RequesterRule) -> None:
    """What the file says of a requester is what the rule asks."""
    assert rule(body) == expected


@pytest.mark.parametrize(
    "value", ["", None, 1.5, {}, [], [None], [""], [["a"]], [{"a": "b"}], {"a": "b"}, "\ud800"]
)
def test_a_claim_is_text_a_boolean_a_number_or_a_choice(value: Any) -> None:
    """Anything else would match nobody, or not whom one thinks."""
    body = {"oidc": "github", "claims": {"ref": value}}
    assert set(problems(changed(RULE, body, SMALL))) == {f"{RULE}.claims.ref"}


@pytest.mark.parametrize("claims", [None, [], "repository", 5])
def test_claims_are_a_mapping(claims: Any) -> None:
    """Names to values."""
    assert set(problems(changed(RULE, {"oidc": "x", "claims": claims}, SMALL))) == {f"{RULE}.claims"}


def test_what_is_left_out_is_not_there() -> None:
    """No renewal, no quota and no approval unless the file says so."""
    (profile,) = load(changed("kind", "Policy", SMALL)).profiles
    assert (profile.required, profile.renewal, profile.quota, profile.approval) == ((), None, None, None)


def test_renewal_quota_and_approval() -> None:
    """Each in its own unit."""
    document = changed(f"{PROFILE}.renewal", {"for": "7d"}, SMALL)
    document["profiles"]["developers"] |= {
        "quota": {"certificates": 5, "per": "1h"},
        "approval": "required",
        "approvals": 2,
        "approvalWithin": "30m",
    }
    (profile,) = load(document).profiles
    assert profile.renewal == timedelta(days=7)
    assert profile.quota == ProfileQuota(certificates=5, per=timedelta(hours=1))
    assert profile.approval == ProfileApproval(approvals=2, within=timedelta(minutes=30))


def test_approval_has_its_defaults() -> None:
    """One operator, within a day."""
    (profile,) = load(changed(f"{PROFILE}.approval", "required", SMALL)).profiles
    assert profile.approval == ProfileApproval(approvals=1, within=timedelta(days=1))


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("renewal", {}, "renewal.for"),
        ("renewal", {"for": "0s"}, "renewal.for"),
        ("renewal", {"for": 7}, "renewal.for"),
        ("renewal", "7d", "renewal"),
        ("renewal", None, "renewal"),
        ("renewal", {"for": "7d", "max": "8d"}, "renewal.max"),
        ("quota", {"certificates": 5}, "quota.per"),
        ("quota", {"per": "1h"}, "quota.certificates"),
        ("quota", {"certificates": 0, "per": "1h"}, "quota.certificates"),
        ("quota", {"certificates": "5", "per": "1h"}, "quota.certificates"),
        ("quota", {"certificates": 1.0, "per": "1h"}, "quota.certificates"),
        ("quota", {"certificates": 1_000_001, "per": "1h"}, "quota.certificates"),
        ("quota", {"certificates": 5, "per": "hour"}, "quota.per"),
        ("approval", True, "approval"),
        ("approval", "yes", "approval"),
        ("approvals", 2, "approvals"),
        ("approvalWithin", "1h", "approvalWithin"),
        ("required", "staff", "required"),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(field: str, value: Any, path: str) -> None:
    """And what means nothing without its neighbour too."""
    assert set(problems(changed(f"{PROFILE}.{field}", value, SMALL))) == {f"{PROFILE}.{path}"}


@pytest.mark.parametrize("count", [0, 6, "1", True, None])
def test_the_number_of_approvals_is_small(count: Any) -> None:
    """From one to five."""
    document = changed(f"{PROFILE}.approval", "required", SMALL)
    document["profiles"]["developers"]["approvals"] = count
    assert set(problems(document)) == {f"{PROFILE}.approvals"}
