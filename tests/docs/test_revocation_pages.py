"""docs/revocation.md and docs/incidents.md: each block of steps runs as it is written, and does what it says."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
import yaml

from docs.pages import Page
from docs.serving import Terminal, make_service
from docs.test_pages import LINK, anchors
from kubemint import config
from kubemint.policy.loader import load_policy
from running_service import RunningService
from service.workspaces import change_yaml

DOCS: Final = Path(__file__).parents[2] / "docs"
INCIDENTS: Final = Page.read("incidents", DOCS)
REVOCATION: Final = Page.read("revocation", DOCS)
PATIENCE_SECONDS: Final = 20
NOT_RUN: Final = {"terminal"}  # an address of nobody
POLICY: Final = """\
apiVersion: kubemint/v1
kind: Policy
limits: {maxLifetime: 1h, keys: [ecdsa-p256]}
profiles:
  people: {requesters: [{token: requester}], users: ["*"], groups: ["*"], lifetime: {default: 1h, max: 1h}}
  ci: {requesters: [{token: ci}], users: ["*"], groups: ["*"], lifetime: {default: 1h, max: 1h}}
roles: {operator: [{token: operator}], webhook: [{token: webhook}]}
"""


class Place:
    """A service, and the terminal of its operator, in the service's own folder."""

    def __init__(self, service: RunningService) -> None:
        self.service = service
        directory = service.directory
        self.terminal = Terminal(
            folder=directory,
            variables={
                "KUBEMINT_URL": service.url,
                "KUBEMINT_CA": str(service.tls_ca_file),
                "KUBEMINT_TOKEN_FILE": str(directory / "operator.token"),
                "KUBEMINT_CONFIG": str(directory / "kubemint.yaml"),
            },
        )

    def request(self, user: str, token: str = "requester") -> None:
        """Get USER.key and USER.crt."""
        self.terminal.check(f"kubemint request --user {user} --overwrite", KUBEMINT_TOKEN_FILE=f"{token}.token")

    def asked(self, user: str, token: str = "requester") -> subprocess.CompletedProcess[str]:
        """Ask for a certificate, whatever comes of it."""
        return self.terminal.run(
            f"kubemint request --user {user} --overwrite", KUBEMINT_TOKEN_FILE=f"{token}.token"
        )

    def refused(self, user: str) -> str:
        """Ask for a certificate, which must be refused, and give what is said."""
        ran = self.asked(user)
        assert ran.returncode == 1, ran.stdout
        return ran.stderr

    def states(self, **query: str) -> list[str]:
        """Give the states of the certificates on record, newest first."""
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        answer = self.service.call("GET", f"/v1/certificates?{asked}", token="operator")
        assert answer.status == 200, answer.text
        return [item["state"] for item in answer.json()["items"]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Serve what the pages are tried on."""
    with serve(tmp_path_factory.mktemp("incidents") / "kubemint") as running:
        place = Place(running)
        place.terminal.check("kubemint token create ci > ci.token")
        yield place


def serve(directory: Path) -> RunningService:
    """Prepare a service."""
    return make_service(directory, {"tokensFile": "tokens.yaml"}, POLICY)


def steps(page: Page, name: str) -> str:
    """Give a block of steps, with this machine's paths in the place of an installation's."""
    return page.block("steps", name).replace("/etc/kubemint/", "")


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what the service does by itself, such as reading its policy again."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def test_a_stolen_laptop(place: Place) -> None:
    """What jane has is revoked for good, her name gets no more, and does again when the hold is lifted."""
    place.request("jane")
    place.request("joan")
    place.terminal.check(steps(INCIDENTS, "laptop"))
    assert place.states(user="jane") == ["revoked"]
    assert place.states(user="joan") == ["valid"]
    assert "suspended" in place.refused("jane")
    place.terminal.check(steps(INCIDENTS, "laptop-over"))
    place.request("jane")
    assert place.states(user="jane")[:2] == ["valid", "revoked"]


def test_a_key_that_was_found(place: Place) -> None:
    """Whoever has the key revokes it, without a token."""
    place.request("keyholder")
    shutil.move(place.terminal.folder / "keyholder.key", place.terminal.folder / "found.key")
    place.terminal.check(steps(INCIDENTS, "key"), KUBEMINT_TOKEN_FILE="")
    assert place.states(user="keyholder") == ["revoked"]


def test_a_token_of_a_pipeline(place: Place) -> None:
    """What it asked for is revoked and listed, the token counts no more, and a new one is there."""
    place.request("deployer", "ci")
    place.request("not-of-ci")
    place.terminal.check(steps(INCIDENTS, "token"))
    assert (place.terminal.folder / "ci-2.token").stat().st_mode & 0o777 == 0o600
    place.terminal.check(steps(INCIDENTS, "token-certificates"))
    (listed,) = place.terminal.check(steps(INCIDENTS, "token-list")).splitlines()
    fields = listed.split("\t")
    assert (fields[1], fields[2], fields[-1]) == ("deployer", "token:ci", "revoked")
    assert place.states(user="not-of-ci") == ["valid"]
    change_yaml(
        place.terminal.folder / "policy.yaml",
        lambda policy: policy["profiles"]["ci"].update(INCIDENTS.yaml("profile", "token")),
    )
    wait_until(lambda: place.asked("deployer", "ci-2").returncode == 0)


def test_somebody_who_left(place: Place) -> None:
    """What joe has is revoked, and his name gets no more."""
    place.request("joe")
    place.terminal.check(steps(INCIDENTS, "left"))
    assert place.states(user="joe") == ["revoked"]
    assert "suspended" in place.refused("joe")


def test_the_audit_log_is_looked_at(place: Place) -> None:
    """A revoked certificate that was tried, and one that nobody issued, are named; others' users are not."""
    place.request("tried")
    place.terminal.check("kubemint revoke --user tried --yes")
    answer = place.service.call("GET", "/v1/certificates?user=tried", token="operator").json()["items"][0]
    lines = [
        audit_line("tried", answer["credentialId"], 403),
        audit_line("eve", f"X509SHA256={'0' * 64}", 200),
        audit_line("system:node:a", f"X509SHA256={'1' * 64}", 200),
        audit_line("system:kube-scheduler", f"X509SHA256={'2' * 64}", 200),
        audit_line("system:anybody", f"X509SHA256={'3' * 64}", 200),
    ]
    (place.terminal.folder / "audit.log").write_text("".join(lines))
    said = place.terminal.check(steps(INCIDENTS, "audit"))
    assert "REVOKED, and tried: tried" in said
    assert "NEVER ISSUED HERE: X509SHA256=0000" in said
    assert "NEVER ISSUED HERE: X509SHA256=1111" not in said
    assert "NEVER ISSUED HERE: X509SHA256=2222" not in said
    assert "NEVER ISSUED HERE: X509SHA256=3333" in said


def audit_line(user: str, credential_id: str, code: int) -> str:
    """Write a line as kube-apiserver does."""
    event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "stage": "ResponseComplete",
        "verb": "list",
        "user": {"username": user, "extra": {"authentication.kubernetes.io/credential-id": [credential_id]}},
        "sourceIPs": ["192.0.2.1"],
        "responseStatus": {"code": code},
        "requestReceivedTimestamp": datetime.now(UTC).isoformat(),
    }
    return json.dumps(event) + "\n"


def test_an_operators_token(tmp_path: Path) -> None:
    """The old token counts no more, the new one does, and what was ordered with the old one is told."""
    service = serve(tmp_path / "kubemint")
    policy = service.directory / "policy.yaml"
    change_yaml(policy, lambda policy: policy["profiles"]["people"].update(approval="required"))
    with service:
        place = Place(service)
        ran = place.asked("approved")
        assert ran.returncode == 3, ran.stderr
        (waiting,) = json.loads(place.terminal.check("kubemint requests list --output json"))
        place.terminal.check(f"kubemint requests approve {waiting['request']} --yes")
        place.terminal.check("kubemint revoke --user approved --yes")
        place.terminal.check(steps(INCIDENTS, "operator-token"))
        assert (service.directory / "operator-2.token").stat().st_mode & 0o777 == 0o600
        change_yaml(policy, lambda policy: policy["roles"].update(INCIDENTS.yaml("policy", "operator")["roles"]))
        lists = "kubemint revocations list"
        wait_until(
            lambda: (
                place.terminal.run(lists).returncode != 0
                and "approved" in place.terminal.run(lists, KUBEMINT_TOKEN_FILE="operator-2.token").stdout
            )
        )
        ordered, approved = place.terminal.check(steps(INCIDENTS, "operator")).splitlines()
        assert json.loads(ordered)["select"] == {"user": "approved"}
        assert json.loads(approved)["request"] == waiting["request"]


def test_another_ca_takes_over(tmp_path: Path) -> None:
    """With the new CA the record goes on, and what is issued then is under that CA and not under the old one."""
    service = serve(tmp_path / "kubemint")
    change_yaml(
        service.directory / "kubemint.yaml",
        lambda settings: settings.update(INCIDENTS.yaml("configuration", "unknown")),
    )
    with service:
        place = Place(service)
        place.request("before")
        place.terminal.check(steps(INCIDENTS, "ca"))
    for name in ("ca.crt", "ca.key"):
        shutil.move(service.directory / name, service.directory / f"old-{name}")
        shutil.copy(service.directory / "next" / name, service.directory / name)
    with service:
        place.request("after")
        assert place.states(user="before") == ["valid"]
    place.terminal.check("openssl verify -CAfile ca.crt after.crt")
    assert place.terminal.run("openssl verify -CAfile old-ca.crt after.crt").returncode != 0
    place.terminal.check(steps(INCIDENTS, "ca-verify"))
    ran = place.terminal.run("kubemint log verify")
    assert re.search(r"^certificate-differs: .* signed by another CA ", ran.stdout, re.MULTILINE), ran.stdout


def test_another_key_signs_the_log(tmp_path: Path) -> None:
    """The former key is named for one start, at which the new one signs although nobody asks for anything."""
    service = serve(tmp_path / "kubemint")
    file = service.directory / "kubemint.yaml"
    place = Place(service)
    with service:
        place.request("before")
    place.terminal.check(steps(INCIDENTS, "log"))
    shutil.copy(service.directory / "next" / "log.key", service.directory / "log.key")
    named = r"log\.key: the newest checkpoint is signed by key .* put the public key of the old one under"
    with pytest.raises(RuntimeError, match=named):
        service.start()
    former = (service.directory / "old.vkey").read_text().strip()
    change_yaml(file, lambda settings: settings["log"].update(formerKeys=[former]))
    ran = place.terminal.run(steps(INCIDENTS, "log-signed"))
    assert (ran.returncode, "checkpoint-unsigned" in ran.stdout) == (1, True), ran.stdout
    place.terminal.check(steps(INCIDENTS, "log-policy"))
    with service:
        place.terminal.check(steps(INCIDENTS, "log-signed"))
    change_yaml(file, lambda settings: settings["log"].pop("formerKeys"))
    with service:
        place.request("after")


@pytest.mark.parametrize(("name", "files"), [("structured", 2), ("legacy", 1)])
def test_files_for_api_servers(place: Place, name: str, files: int, tmp_path: Path) -> None:
    """The steps write the files, and name the flags that the page names."""
    ran = place.terminal.run(
        steps(REVOCATION, name).replace("--output-dir out", f"--output-dir {tmp_path / 'out'}")
    )
    assert ran.returncode == 0, ran.stderr
    assert len(list((tmp_path / "out").iterdir())) == files
    flag = {"structured": "--authorization-config=", "legacy": "--authorization-mode=Node,Webhook,RBAC"}[name]
    assert flag in ran.stdout + ran.stderr


def test_a_list_for_api_servers(place: Place) -> None:
    """The steps write a list that holds what is revoked."""
    place.request("listed")
    place.terminal.check("kubemint revoke --user listed --yes")
    place.terminal.check(steps(REVOCATION, "list"))
    credential_id = place.service.call("GET", "/v1/certificates?user=listed", token="operator").json()["items"][0]
    assert credential_id["credentialId"] in (place.terminal.folder / "deny" / "deny-list.yaml").read_text()


def test_a_list_for_others(place: Place) -> None:
    """openssl takes the list and the certificate that is not on it; it refuses one that is."""
    place.request("other")
    place.request("on-it")
    place.terminal.check("kubemint revoke --user on-it --yes")
    place.terminal.check(steps(REVOCATION, "crl"))
    ran = place.terminal.run(steps(REVOCATION, "crl").replace("other.crt", "on-it.crt"))
    assert ran.returncode != 0
    assert "certificate revoked" in ran.stdout + ran.stderr


def test_a_profile_may_have_the_group() -> None:
    """What the page adds to a profile is read as it says."""
    document = yaml.safe_load(POLICY)
    document["profiles"]["people"].update(REVOCATION.yaml("profile"))
    policy = load_policy(document, b"", "policy")
    assert [profile.name for profile in policy.profiles if profile.credential_group] == ["people"]


def test_api_servers_may_have_certificates(tmp_path: Path) -> None:
    """The clients of the page are read where their CA is configured, and mean API servers alone."""
    directory = serve(tmp_path / "kubemint").directory
    corp = {"certificates": [{"name": "corp", "caFile": "ca.crt"}]}
    change_yaml(directory / "kubemint.yaml", lambda settings: settings["authentication"].update(corp))
    change_yaml(
        directory / "kubemint.yaml", lambda settings: settings.update(REVOCATION.yaml("configuration", "clients"))
    )
    webhook = config.load(directory / "kubemint.yaml").webhook
    assert [client.certificate for client in webhook.clients] == ["corp"]
    assert webhook.unknown.value == "alarm"


@pytest.mark.parametrize("page", [INCIDENTS, REVOCATION], ids=lambda page: page.file.stem)
def test_each_block_is_marked_and_run(page: Page) -> None:
    """No fenced block escapes these tests but those that are named as such."""
    assert len(re.findall(r"^ *```[a-z]+$", page.text, re.MULTILINE)) == len(page.blocks)
    source = Path(__file__).read_text()
    for block in page.blocks:
        assert block.kind in NOT_RUN or f'"{block.name or block.kind}"' in source, block


@pytest.mark.parametrize("page", [INCIDENTS, REVOCATION], ids=lambda page: page.file.stem)
def test_links_lead_somewhere(page: Page) -> None:
    """Each relative link has its file, and each anchor its heading."""
    for target, anchor in LINK.findall(page.text):
        if target.startswith("https://"):
            continue
        file = (page.file.parent / target).resolve() if target else page.file
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), anchor
