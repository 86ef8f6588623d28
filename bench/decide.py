"""Measure what a decision costs beside the verification of one signature: `python -m bench.decide`."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from kubemint.documents import parse_yaml
from kubemint.policy.cases import UNBOUND_ISSUER, written_request
from kubemint.policy.decision import Granted, decide
from kubemint.policy.loader import load_policy
from kubemint.policy.rules import Policy
from kubemint.requester import Method, Requester

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ROUNDS = 15
CALLS = 200  # in a round: some tens of milliseconds
PROFILE = """\
  deploy-{number}:
    requesters: [{{oidc: github, claims: {{ref: refs/heads/main, repository: acme/app-{number}}}}}]
    users: ["ci:{{claims.repository}}"]
    groups: [deployers, "team-*"]
    lifetime: {{default: 10m, max: 1h}}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0 if a decision costs less than a verification, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench.decide", description=__doc__)
    parser.add_argument("--profiles", type=int, default=500, help="profiles of the policy [500]")
    options = parser.parse_args(arguments)
    decision, verification = _medians(_decision(_policy(options.profiles), options.profiles), _verification())
    print(f"a decision among {options.profiles} profiles  {decision * 1e6:8.1f} µs")
    print(f"a P-256 signature verified       {verification * 1e6:8.1f} µs")
    print(f"ratio                            {decision / verification:8.2f}")
    return 0 if decision < verification else 1


def _policy(profiles: int) -> Policy:
    head = "apiVersion: kubemint/v1\nkind: Policy\nprofiles:\n"
    text = (head + "".join(PROFILE.format(number=number) for number in range(profiles))).encode()
    return load_policy(parse_yaml(text), text, "policy.yaml")


def _decision(policy: Policy, profiles: int) -> Callable[[], object]:
    """Ask as the pipeline of the last repository, for which one profile is meant."""
    repository = f"acme/app-{profiles - 1}"
    requester = Requester(
        method=Method.OIDC,
        authority="github",
        identity="oidc:github:bench",
        evidence="bench",
        claims={"repository": repository, "ref": "refs/heads/main", "sub": f"repo:{repository}"},
    )
    request = written_request(user=f"ci:{repository}", groups=("deployers", "team-a"), expiration_seconds=600)
    granted = decide(request, requester, policy, NOW, UNBOUND_ISSUER)
    assert isinstance(granted, Granted), granted
    return lambda: decide(request, requester, policy, NOW, UNBOUND_ISSUER)


def _verification() -> Callable[[], object]:
    key = ec.generate_private_key(ec.SECP256R1())
    message, algorithm, public_key = bytes(256), ec.ECDSA(SHA256()), key.public_key()
    signature = key.sign(message, algorithm)
    return lambda: public_key.verify(signature, message, algorithm)


def _medians(*calls: Callable[[], object]) -> list[float]:
    """Give seconds a call: the median over rounds that alternate, so that a slower machine slows all."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, its_times in zip(calls, times, strict=True):
            before = time.perf_counter()
            for _ in range(CALLS):
                call()
            its_times.append((time.perf_counter() - before) / CALLS)
    return list(map(statistics.median, times))


if __name__ == "__main__":
    sys.exit(main())
