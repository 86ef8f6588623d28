"""`kubemint kubernetes deny-list`: what is revoked in the ledger, and nothing that is not."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from client.revoking import Terminal
from commands.cli import Ran, failed_cleanly, kubemint
from kubemint import config
from kubemint.wiring import migrate_ledger

CREDENTIAL = re.compile(r"X509SHA256=[0-9a-f]{64}")


def run(place: Path, *options: str | Path) -> Ran:
    """Run the command in a folder."""
    return kubemint("kubernetes", "deny-list", *options, cwd=place)


def documents(ran: Ran) -> list[Any]:
    """Read what was printed."""
    assert ran.code == 0, ran.errors
    return [found for found in yaml.safe_load_all(ran.output) if found is not None]


@pytest.fixture(scope="module")
def revoked(serving: Terminal) -> dict[str, str]:
    """Give credential ids by user: ann's and then bob's is revoked, eve's was for a while, cy's never."""
    ids = {user: serving.issue(user)["credentialId"] for user in ("ann", "bob", "cy", "eve")}
    for user in ("ann", "bob"):
        serving.json("operator", "revoke", "--user", user, "--yes")
    held = serving.json("operator", "revoke", "--user", "eve", "--yes", "--reason", "certificateHold")
    serving.json("operator", "revocations", "lift", held["revocation"], "--yes")
    return ids


def ids_in(text: str) -> list[str]:
    """Give the credential ids in a text, in its order."""
    return CREDENTIAL.findall(text)


def test_a_policy_of_what_is_revoked(serving: Terminal, revoked: dict[str, str]) -> None:
    """It names what is revoked now, oldest first, and a binding puts it in force."""
    ran = run(serving.place, "--config", "made/kubemint.yaml")
    policy, binding = documents(ran)
    assert (policy["kind"], binding["kind"]) == ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    found = ids_in(policy["spec"]["validations"][0]["expression"])
    mine = [one for one in found if one in revoked.values()]
    assert mine == [revoked["ann"], revoked["bob"]]
    assert ran.errors.startswith(
        f"Credential ids and groups with a serial number: {len(found) * 3 // 2}. Policies: 1."
    )
    assert "Apply them: kubectl apply -f -\n" in ran.errors


def test_a_certificate_that_was_rewritten_is_listed_by_its_group(
    serving: Terminal, revoked: dict[str, str]
) -> None:
    """Beside its ids stands the group of its serial number, which its holder cannot write otherwise."""
    (policy, _) = documents(run(serving.place, "--config", "made/kubemint.yaml"))
    expression = policy["spec"]["validations"][0]["expression"]
    for user, is_listed in {"ann": True, "bob": True, "cy": False, "eve": False}.items():
        answer = serving.service.call("GET", f"/v1/certificates/{revoked[user]}", token="operator").json()
        assert (f"'kubemint:serial:{answer['serialNumber']}'" in expression) is is_listed


def test_after_each_revocation(serving: Terminal, revoked: dict[str, str]) -> None:
    """The command of the help and of the page can be run again, and says what to apply and what to delete."""
    arguments = ("--config", "made/kubemint.yaml", "--output-dir", "de ny")
    assert run(serving.place, *arguments, "--overwrite").code == 0
    assert failed_cleanly(run(serving.place, *arguments))
    again = run(serving.place, *arguments, "--overwrite")
    assert again.code == 0, again.errors
    assert "Apply them: kubectl apply -f 'de ny/deny-list.yaml'\n" in again.output
    assert again.output.endswith(
        "kubectl delete validatingadmissionpolicy,validatingadmissionpolicybinding"
        " kubemint-revoked-N (N from 1 on)\n"
    )
    assert ids_in((serving.place / "de ny" / "deny-list.yaml").read_text()).count(revoked["ann"]) == 1


def test_an_authorizer_of_what_is_revoked(serving: Terminal, revoked: dict[str, str]) -> None:
    """The configuration names the kubeconfig beside it, whose address answers nobody."""
    options = ("--form", "authorizer", "--config", "made/kubemint.yaml", "--output-dir", "out")
    ran = run(serving.place, *options, "--kubeconfig", "/etc/k/deny.conf")
    assert ran.code == 0, ran.errors
    out = serving.place / "out"
    authorization = yaml.safe_load((out / "authorization.yaml").read_text())
    webhook, node, rbac = authorization["authorizers"]
    assert [one["type"] for one in (webhook, node, rbac)] == ["Webhook", "Node", "RBAC"]
    assert webhook["webhook"]["connectionInfo"]["kubeConfigFile"] == "/etc/k/deny.conf"
    listed = ids_in((out / "authorization.yaml").read_text())
    assert {revoked["ann"], revoked["bob"]} <= set(listed)
    assert not {revoked["cy"], revoked["eve"]} & set(listed)
    kubeconfig = yaml.safe_load((out / "deny-list.kubeconfig").read_text())
    assert kubeconfig["clusters"][0]["cluster"]["server"].startswith("https://127.0.0.1:1/")
    assert "--authorization-config=/etc/k/authorization.yaml" in ran.output
    assert failed_cleanly(run(serving.place, *options))


def test_nothing_is_revoked(tmp_path: Path) -> None:
    """The list is empty, and says so; the authorizer's asks Node and RBAC alone."""
    assert kubemint("init", cwd=tmp_path).code == 0
    migrate_ledger(config.load(tmp_path / ".kubemint" / "kubemint.yaml"))
    ran = run(tmp_path)
    assert documents(ran) == []
    assert ran.output == "# Nothing is revoked that has not expired.\n"
    assert "there is nothing to apply" in ran.errors
    assert "(N from 0 on)" in ran.errors
    authorization, _ = documents(run(tmp_path, "--form", "authorizer"))
    assert [one["type"] for one in authorization["authorizers"]] == ["Node", "RBAC"]


@pytest.mark.parametrize("options", [("--form", "list"), ("--kubeconfig", "/etc/k/deny.conf")])
def test_wrong_use(tmp_path: Path, options: tuple[str, ...]) -> None:
    """What has no meaning for the form ends with code 2."""
    assert run(tmp_path, *options).code == 2


def test_what_cannot_be_listed(tmp_path: Path) -> None:
    """No configuration, no ledger, one that was never filled, a path that is not absolute: a sentence each."""
    assert failed_cleanly(run(tmp_path))
    assert kubemint("init", cwd=tmp_path).code == 0
    assert failed_cleanly(run(tmp_path))  # empty: the service has never started
    migrate_ledger(config.load(tmp_path / ".kubemint" / "kubemint.yaml"))
    assert failed_cleanly(run(tmp_path, "--form", "authorizer", "--kubeconfig", "deny.conf"))
    (tmp_path / ".kubemint" / "ledger.db").unlink()
    ran = run(tmp_path)
    assert failed_cleanly(ran)
    assert "there is no ledger" in ran.errors
    assert not (tmp_path / ".kubemint" / "ledger.db").exists()
