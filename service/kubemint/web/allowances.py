"""What a requester may have, in words that it can act on: the answer to GET /v1/policy, and to a refusal."""

from datetime import datetime, timedelta
from typing import Any

from kubemint.policy.claims import Filled
from kubemint.policy.question import Standing
from kubemint.policy.rules import Policy, ProfileQuota
from kubemint.requester import Requester
from kubemint.x509.issuer import IssuerLimits


def allowances(policy: Policy, requester: Requester, now: datetime, issuer: IssuerLimits) -> list[dict[str, Any]]:
    """Show the profiles of a requester, filled with what is known of it; of others' it learns nothing."""
    return [
        _allowance(Standing(requester=requester, profile=profile, limits=policy.limits, now=now, issuer=issuer))
        for profile in policy.profiles_for(requester)
    ]


def _allowance(standing: Standing) -> dict[str, Any]:
    profile, users, groups, required = standing.profile, standing.users, standing.groups, standing.required
    most = max(timedelta(0), min(bound for bound, _ in standing.bounds))
    allowance: dict[str, Any] = {
        "name": profile.name,
        "users": _texts(users),
        "groups": _texts(groups),
        "requiredGroups": _texts(required),
        "reserved": sorted(profile.reserved),
        "keys": sorted(profile.keys & standing.limits.keys),
        "defaultExpirationSeconds": int(min(profile.default_lifetime, most).total_seconds()),
        "maxExpirationSeconds": int(most.total_seconds()),
        "problems": [*users.problems, *groups.problems, *required.problems],
    }
    if profile.renewal is not None:
        allowance["renewalSeconds"] = int(profile.renewal.total_seconds())
    if profile.quota is not None:
        allowance["quota"] = quota_fields(profile.quota)
    if profile.approval is not None:
        allowance["approvalsNeeded"] = profile.approval.approvals
    if profile.credential_group:
        allowance["credentialGroup"] = True
    return allowance


def quota_fields(quota: ProfileQuota) -> dict[str, int]:
    """Show a quota as every answer has it."""
    return {"certificates": quota.certificates, "perSeconds": int(quota.per.total_seconds())}


def _texts(filled: Filled) -> list[str]:
    return [pattern.text for pattern in filled.patterns]
