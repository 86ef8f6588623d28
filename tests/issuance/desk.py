"""Issuing with everything real but the clock: a policy from YAML, a CA, a ledger on disk."""

import itertools
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from kubemint.documents import parse_yaml
from kubemint.issuance import Issuance, Ledger
from kubemint.policy.loader import load_policy
from kubemint.policy.rules import Policy
from kubemint.requester import Method, Requester
from kubemint.x509.generate import generate_key, self_signed_ca
from kubemint.x509.issuer import Issuer, issuer_from

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
POLICY = """
apiVersion: kubemint/v1
kind: Policy
limits: {maxLifetime: 24h}
profiles:
  developers:
    requesters: [{token: requester}]
    users: ["*"]
    groups: [developers, viewers, "team-*"]
    lifetime: {default: 1h, max: 24h}
  monitoring:
    requesters: [{token: prometheus}]
    users: [prometheus]
    groups: ["system:monitoring"]
    reserved: ["system:monitoring"]
    lifetime: {default: 1h, max: 1h}
  nothing:
    requesters: [{token: nobody}]
    users: []
    groups: []
    lifetime: {default: 1h, max: 1h}
"""


def policy(text: str = POLICY) -> Policy:
    """Load a policy as the service does."""
    return load_policy(parse_yaml(text.encode()), text.encode(), "policy.yaml")


def requester(name: str = "requester") -> Requester:
    """Give the requester that shows the token of this name."""
    return Requester(
        method=Method.TOKEN, authority=name, identity=f"token:{name}", evidence="token sha256:0123456789abcdef"
    )


@cache
def ca() -> tuple[x509.Certificate, Any]:
    """Make a CA and its key, once."""
    key = generate_key("ecdsa-p256")
    return self_signed_ca(key, "test CA", NOW - timedelta(days=1), timedelta(days=365)), key


def issuer(key: ec.EllipticCurvePrivateKey | None = None) -> Issuer:
    """Put the CA together; another key object may sign in place of its own."""
    certificate, own_key = ca()
    return issuer_from((certificate,), key or own_key)


class Desk:
    """An `Issuance`; `clock` is set by hand."""

    def __init__(self, ledger: Ledger, policy_text: str = POLICY, ca_key: Any = None) -> None:
        self.now = NOW
        serials = itertools.count(1)
        self.policy = policy(policy_text)
        self.issuance = Issuance(
            current_policy=lambda: self.policy,
            issuer=issuer(ca_key),
            ledger=ledger,
            clock=lambda: self.now,
            draw_serial=lambda: next(serials),
            draw_name=lambda: f"{next(serials):032x}",
        )
        self.issue = self.issuance.issue
        self.explain = self.issuance.explain
