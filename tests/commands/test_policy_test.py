"""`kubemint policy test`: the cases that stand beside a policy."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from commands.cli import Ran, failed_cleanly, kubemint
from commands.policies import POLICY, write

PIPELINE = {"oidc": "github", "claims": {"repository": "acme/shop"}}
CI = {
    "name": "the shop deploys",
    "requester": PIPELINE,
    "subject": {"user": "ci:acme/shop", "groups": ["deployers"]},
    "expect": "granted",
}
JANE = {"name": "jane", "requester": {"token": "laptop"}, "subject": {"user": "jane"}, "expect": "granted"}


def run(folder: Path, *cases: Any, **changes: Any) -> Ran:
    """Run `kubemint policy test` on cases in a folder."""
    document = {"apiVersion": "kubemint/v1", "kind": "PolicyTest", "policy": "policy.yaml", "cases": list(cases)}
    write(folder, "policy.yaml", POLICY)
    (folder / "elsewhere").mkdir(exist_ok=True)
    write(folder, "cases.yaml", yaml.safe_dump(document | changes))
    return kubemint("policy", "test", folder / "cases.yaml", cwd=folder / "elsewhere")


@pytest.mark.parametrize(
    "case",
    [
        CI,
        CI | {"groups": ["pipelines", "deployers"]},
        CI | {"expires": "1h", "profile": "ci", "keyType": "ed25519"},
        CI | {"expires": "2h", "expect": "refused"},
        CI | {"expires": "2h", "expect": "refused", "reasons": ["lifetime-too-long"]},
        CI | {"requester": {"oidc": "github"}, "expect": "refused", "reasons": ["no-profile"]},
        CI | {"profile": "people", "expect": "refused", "reasons": ["profile-not-allowed"]},
        JANE,
        JANE | {"keyType": "ed25519", "expect": "refused", "reasons": ["key-not-allowed"]},
        JANE | {"requester": {"certificate": "corp", "commonName": "jane", "organizations": ["a"]}},
        JANE | {"requester": {"certificate": "corp", "uris": ["a:b"], "dnsNames": ["c"]}, "expect": "refused"},
        JANE
        | {
            "requester": {"kubernetes": "prod", "namespace": "ci", "serviceAccount": "builder"},
            "subject": {"user": "pod:ci:builder"},
        },
        JANE
        | {
            "subject": {"user": "eve", "groups": ["system:masters"]},
            "expect": "refused",
            "reasons": ["user-not-allowed", "group-reserved", "group-not-allowed", "name-forbidden"],
        },
    ],
)
def test_a_case_that_holds(tmp_path: Path, case: dict[str, Any]) -> None:
    """The verdict is the expected one, by the policy beside the file."""
    ran = run(tmp_path, case)
    assert ran.code == 0, ran
    assert ran.output == f"ok       {case['name']}\ncases: 1, differing: 0\n"


@pytest.mark.parametrize(
    ("case", "told"),
    [
        (CI | {"expires": "2h"}, "expected granted, came refused for lifetime-too-long:"),
        (CI | {"expect": "refused"}, "expected refused, came granted by profile ci"),
        (CI | {"expect": "refused", "reasons": ["a"]}, "expected refused (a), came granted by profile ci"),
        (CI | {"groups": ["deployers"]}, "expected the groups deployers, came deployers, pipelines"),
        (
            CI | {"expires": "2h", "expect": "refused", "reasons": ["key-not-allowed"]},
            "expected refused for key-not-allowed, came refused for lifetime-too-long:",
        ),
    ],
)
def test_a_case_that_differs(tmp_path: Path, case: dict[str, Any], told: str) -> None:
    """The job fails, and says what was expected, what came, and why."""
    ran = run(tmp_path, JANE, case | {"name": "odd"})
    assert ran.code == 1
    lines = ran.output.splitlines()
    assert lines[:3] == ["ok       jane", "differs  odd", f"         {told}"]
    assert lines[-1] == "cases: 2, differing: 1"
    if told.endswith(":"):
        assert "- lifetime-too-long: 7200 s asked" in lines[3]
        assert lines[3].endswith("[profiles.ci.lifetime.max]")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"expects": "granted"}, "cases.0.expects"),
        ({"expect": "allowed"}, "cases.0.expect"),
        ({"name": None}, "cases.0.name"),
        ({"requester": {}}, "cases.0.requester"),
        ({"requester": {"token": "a", "oidc": "b"}}, "cases.0.requester"),
        ({"requester": {"token": "a", "claims": {}}}, "cases.0.requester.claims"),
        ({"requester": {"kubernetes": "prod", "namespace": "ci"}}, "cases.0.requester"),
        ({"requester": {"oidc": "github", "claims": []}}, "cases.0.requester.claims"),
        ({"subject": {"groups": []}}, "cases.0.subject.user"),
        ({"subject": {"user": "a", "uid": "b"}}, "cases.0.subject.uid"),
        ({"expires": "soon"}, "cases.0.expires"),
        ({"expires": "999999d"}, "cases.0.expires"),
        ({"keyType": "rsa-1024"}, "cases.0.keyType"),
        ({"reasons": ["no-profile"]}, "cases.0.reasons"),
        ({"expect": "refused", "reasons": []}, "cases.0.reasons"),
        ({"expect": "refused", "groups": ["a"]}, "cases.0.groups"),
    ],
)
def test_a_mistake_in_a_case(tmp_path: Path, change: dict[str, Any], path: str) -> None:
    """A case that means nothing tests nothing, so it is refused with its path."""
    ran = run(tmp_path, CI | change)
    assert failed_cleanly(ran)
    assert f"cases.yaml: {path}: " in ran.errors


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"cases": []}, "cases"),
        ({"cases": None}, "cases"),
        ({"kind": "Policy"}, "kind"),
        ({"apiVersion": "kubemint/v2"}, "apiVersion"),
        ({"policy": None}, "policy"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_mistake_in_the_file(tmp_path: Path, changes: dict[str, Any], path: str) -> None:
    """A file without cases passes no job."""
    ran = run(tmp_path, CI, **changes)
    assert failed_cleanly(ran)
    assert f"cases.yaml: {path}: " in ran.errors


def test_a_policy_that_is_wrong_or_missing(tmp_path: Path) -> None:
    """It is named."""
    for name in ("cases.yaml", "none.yaml"):
        ran = run(tmp_path, CI, policy=name)
        assert failed_cleanly(ran)
        assert name in ran.errors
