"""A service whose profiles need approval, and those who ask and decide there."""

from copy import deepcopy
from pathlib import Path
from typing import Any

from commands.cli import Ran, kubemint
from contract.contract_file import check_answer
from csrs import good_csr
from running_service import Answer, RunningService
from service.record import read_ledger
from service.workspaces import change_yaml, make_workspace

PKCS10 = {"Content-Type": "application/pkcs10"}
UNKNOWN = "0" * 32
OPERATORS = ("ann", "bob", "cid")


def workspace_with_approval(directory: Path) -> Path:
    """Make a folder with two profiles that need approval, operators and an auditor; give its configuration."""
    config = make_workspace(directory)
    change_yaml(config.parent / "policy.yaml", _with_approval)
    for name in (*OPERATORS, "siem", "stranger"):
        made = kubemint("token", "create", name, "--config", config, cwd=config.parent)
        assert made.code == 0, made.errors
        (config.parent / f"{name}.token").write_text(made.output)
    return config


def _with_approval(policy: dict[str, Any]) -> None:
    admins = deepcopy(policy["profiles"]["developers"]) | {
        "requesters": [{"token": "requester"}, {"token": "ann"}],
        "groups": ["admins", "viewers"],
        "approval": "required",
    }
    policy["profiles"]["admins"] = admins
    policy["profiles"]["owners"] = deepcopy(admins) | {"approvals": 2}
    policy["roles"] = {
        "auditor": [{"token": "siem"}],
        "operator": [{"token": name} for name in OPERATORS],
    }


class Desk:
    """Asks for certificates and decides on them over HTTP; each answer is held to the contract."""

    def __init__(self, service: RunningService) -> None:
        self.service = service

    def ask(self, profile: str = "admins", *, user: str = "jane", token: str = "requester") -> dict[str, Any]:
        """Ask for a certificate that needs approval."""
        path = f"/v1/certificates?profile={profile}&expirationSeconds=1800"
        csr = good_csr(user=user, groups=("admins",))
        answer = self.service.call("POST", path, headers=PKCS10, body=csr, token=token)
        check_answer(answer, "POST", "/v1/certificates")
        assert (answer.status, answer.headers["Location"]) == (202, f"/v1/requests/{answer.json()['request']}")
        return answer.json()

    def ask_again(self, csr: bytes, *, key: str) -> Answer:
        """Ask under an idempotency key, for the first or another time."""
        path = "/v1/certificates?profile=admins&expirationSeconds=1800"
        headers = PKCS10 | {"Idempotency-Key": key}
        answer = self.service.call("POST", path, token="requester", headers=headers, body=csr)
        check_answer(answer, "POST", "/v1/certificates")
        return answer

    def see(self, asked: dict[str, Any], token: str, headers: dict[str, str] | None = None) -> Answer:
        """Look at a request."""
        return self._checked("GET", f"/v1/requests/{asked['request']}", token=token, headers=headers)

    def decide(self, asked: dict[str, Any], token: str, verdict: str = "approve", **members: Any) -> Answer:
        """Approve it, or say something else."""
        said = {"verdict": verdict, "digest": asked["digest"], "reason": "ticket 7"} | members
        return self._checked("POST", f"/v1/requests/{asked['request']}/approval", token=token, json_body=said)

    def _checked(self, method: str, path: str, **sent: Any) -> Answer:
        answer = self.service.call(method, path, **sent)
        check_answer(answer, method, path)
        return answer

    def kinds_of(self, asked: dict[str, Any]) -> list[str]:
        """Name the entries of the ledger that are about a request."""
        return [
            f["kind"] for f in read_ledger(self.service.ledger_file).fields if f.get("request") == asked["request"]
        ]


class Terminal:
    """The command line in a folder, as somebody with a token."""

    def __init__(self, service: RunningService, place: Path) -> None:
        self.service = service
        self.place = place

    def run(self, token: str, *arguments: str) -> Ran:
        """Run a command against the service."""
        file = self.service.directory / f"{token}.token"
        known = ("--url", self.service.url, "--ca", str(self.service.tls_ca_file), "--token-file", str(file))
        return kubemint(*arguments, *known, cwd=self.place)

    def request(self, *arguments: str) -> Ran:
        """Ask as the requester for what needs approval."""
        return self.run(
            "requester", "request", "--user", "jane", "--group", "admins", "--profile", "admins", *arguments
        )
