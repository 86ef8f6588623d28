"""`kubemint policy test`: cases that are kept beside a policy, for a person or a pipeline to run."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from kubemint.documents import load_yaml_file, read_file
from kubemint.policy.cases import UNBOUND_ISSUER, Case, load_cases
from kubemint.policy.decision import Decision, Granted, decide
from kubemint.policy_file import read_policy


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def test(file: Path) -> None:
    """Run the cases in FILE against their policy.

    Exit code 0 if each has the verdict that it expects, else 1.

    The file names its policy, from its own folder, and for each case who asks, for what, and what
    should come of it.

    \b
    apiVersion: kubemint/v1
    kind: PolicyTest
    policy: policy.yaml
    cases:
      - name: the main branch deploys
        requester: {oidc: github, claims: {repository: acme/shop}}
        subject: {user: "ci:acme/shop", groups: [deployers]}
        expires: 15m
        expect: granted

    \b
    kubemint policy test policy-test.yaml
    """
    found = load_cases(load_yaml_file(file), str(file))
    policy_file = file.parent / found.policy_file
    policy = read_policy(read_file(policy_file), str(policy_file), {})
    now = datetime.now(UTC)
    differing = 0
    for case in found.cases:
        decision = decide(case.request, case.requester, policy, now, UNBOUND_ISSUER)
        differences = list(_differences(case, decision))
        differing += bool(differences)
        click.echo(f"{'differs' if differences else 'ok':7}  {case.name}")
        for difference in differences:
            click.echo(f"         {difference}")
    click.echo(f"cases: {len(found.cases)}, differing: {differing}")
    if differing:
        sys.exit(1)


def _differences(case: Case, decision: Decision) -> Iterator[str]:
    """Yield what came, where it is not what was expected."""
    expected = case.expected
    if isinstance(decision, Granted):
        if not expected.granted:
            codes = f" ({', '.join(sorted(expected.reasons))})" if expected.reasons else ""
            yield f"expected refused{codes}, came granted by profile {decision.profile}"
        elif expected.groups is not None and expected.groups != set(decision.terms.groups):
            yield f"expected the groups {_listed(expected.groups)}, came {_listed(decision.terms.groups)}"
        return
    codes_found = {reason.code for reason in decision.reasons}
    if not expected.granted and expected.reasons in {None, frozenset(codes_found)}:
        return
    wanted = "granted" if expected.granted else f"refused for {_listed(expected.reasons or ())}"
    yield f"expected {wanted}, came refused for {_listed(codes_found)}:"
    for reason in decision.reasons:
        yield f"- {reason.code}: {reason.message} [{reason.path}]"


def _listed(names: frozenset[str] | set[str] | tuple[str, ...]) -> str:
    return ", ".join(sorted(names)) or "none"
