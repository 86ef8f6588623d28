"""Policy files to load: a full one, a small one, and changes to them."""

import copy
from typing import Any

import pytest

from kubemint.documents import parse_yaml
from kubemint.errors import ConfigurationError
from kubemint.policy.loader import load_policy
from kubemint.policy.rules import Policy

MISSING = object()
PROFILE = "profiles.developers"
FULL = b"""\
apiVersion: kubemint/v1
kind: Policy
limits: {maxLifetime: 12h, keys: [ecdsa-p256, ed25519]}
profiles:
  developers:
    requesters:
      - token: laptop
      - {certificate: corp, commonName: "j*", organization: engineering}
    users: ["*"]
    groups: [developers, "team-*", "system:monitoring"]
    required: [staff]
    reserved: ["system:monitoring"]
    lifetime: {default: 1h, max: 8h}
    keys: [ed25519]
roles:
  auditor: [{token: siem}]
  operator: [{certificate: corp, organization: oncall}]
"""
SMALL = b"""\
apiVersion: kubemint/v1
kind: Policy
profiles:
  developers:
    requesters: [{token: laptop}]
    users: [jane]
    lifetime: {default: 1h, max: 24h}
"""


def load(document: Any, text: bytes = b"") -> Policy:
    """Load a parsed file."""
    return load_policy(document, text, "policy.yaml")


def changed(path: str, value: Any, text: bytes = FULL) -> Any:
    """Read a policy file and set another value, or none, at a path; digits in it are places in a list."""
    document = copy.deepcopy(parse_yaml(text))
    *parents, last = path.split(".")
    place = document
    for parent in parents:
        place = place[int(parent) if parent.isdigit() else parent]
    key = int(last) if last.isdigit() else last
    if value is MISSING:
        del place[key]
    else:
        place[key] = value
    return document


def problems(document: Any) -> dict[str, str]:
    """Give the path of each mistake, and what is said about it."""
    with pytest.raises(ConfigurationError) as caught:
        load(document)
    assert caught.value.source == "policy.yaml"
    lines = [problem.partition(": ") for problem in caught.value.problems]
    return {path: message for path, _, message in lines}
