"""A service where certificates are taken back, and an API server that asks about them."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csrs import good_csr, private_key
from running_service import Answer, RunningService
from service.clients import PKCS10
from service.workspaces import change_yaml, make_workspace

CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
ANSWERS = 12  # in a row, so that both workers have answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """Those who ask a running service for certificates, take them back, or ask what counts."""

    service: RunningService

    def issue(
        self, user: str = "jane", *groups: str, key: str = "client", token: str = "requester"
    ) -> dict[str, Any]:
        """Get a certificate."""
        answer = self.ask(user, *groups, key=key, token=token)
        assert answer.status == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def ask(self, user: str = "jane", *groups: str, key: str = "client", token: str = "requester") -> Answer:
        """Ask for a certificate."""
        csr = good_csr(private_key("ecdsa-p256", key), user, groups)
        return self.service.call("POST", "/v1/certificates", body=csr, headers=PKCS10, token=token)

    def revoke(self, token: str | None = "operator", **said: Any) -> Answer:
        """Revoke what the selector's values mean; what else is said stands among them."""
        beside = {name: said.pop(name) for name in ("reason", "note", "suspendUntil", "preview") if name in said}
        return self.service.call("POST", "/v1/revocations", json_body={"select": said, **beside}, token=token)

    def revoked(self, **said: Any) -> dict[str, Any]:
        """Revoke what can be revoked."""
        answer = self.revoke(**said)
        assert answer.status == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def lift(self, revocation: str, token: str = "operator") -> Answer:
        """Lift a hold."""
        return self.service.call("POST", f"/v1/revocations/{revocation}/lift", json_body={}, token=token)

    def authorize(self, document: Any, **options: Any) -> Answer:
        """Ask as an API server does, with the token of the webhook unless something else is shown."""
        options = {"headers": {}, **(options or {"token": "webhook"})}
        options["headers"] = {"Content-Type": "application/json", **options["headers"]}
        return self.service.call("POST", "/kubernetes/authorize", body=json.dumps(document), **options)

    def verdict(self, *credentials: str, groups: tuple[str, ...] = (), user: str = "jane") -> dict[str, Any]:
        """Ask about a user with these credentials; give the status."""
        answer = self.authorize(review(*credentials, groups=groups, user=user))
        assert answer.status == 200, answer.text
        status: dict[str, Any] = answer.json()["status"]
        assert status["allowed"] is False
        return status

    def denials(self, *credentials: str, groups: tuple[str, ...] = (), user: str = "jane") -> set[bool]:
        """Ask so often that every worker has answered; give the verdicts."""
        return {self.verdict(*credentials, groups=groups, user=user)["denied"] for _ in range(ANSWERS)}

    def seconds_until_denied(self, credential: str) -> float:
        """Give how long it took until a question was asked from which on a dozen in a row were denied."""
        began, row, first = time.monotonic(), 0, 0.0
        while row < ANSWERS:
            asked = time.monotonic()
            assert asked - began < 20, "not denied"
            is_denied = self.verdict(credential)["denied"]
            first = asked if is_denied and row == 0 else first
            row = row + 1 if is_denied else 0
        return first - began


def review(*credentials: str, groups: tuple[str, ...] = (), user: str = "jane") -> dict[str, Any]:
    """Give the question of an API server of 1.32 or later."""
    return {
        "kind": "SubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {"creationTimestamp": None},
        "spec": {
            "resourceAttributes": {"namespace": "default", "verb": "get", "version": "v1", "resource": "pods"},
            "user": user,
            "groups": [*groups, "system:authenticated"],
            "extra": {CREDENTIAL_ID: list(credentials)},
        },
        "status": {"allowed": False},
    }


def make_office(directory: Path, change: Callable[[Any], object] = lambda settings: None) -> Path:
    """Make a folder to serve from, with more tokens than `kubemint init` makes; give its configuration."""
    config = make_workspace(directory)
    for name in ("other", "siem"):
        command = (sys.executable, "-m", "kubemint", "token", "create", name, "--config", str(config))
        made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        (directory / f"{name}.token").write_text(made.stdout)
    profile = {
        "requesters": [{"token": "requester"}, {"token": "other"}],
        "users": ["*"],
        "groups": ["developers", "viewers", "team-*"],
        "lifetime": {"default": "1h", "max": "4h"},
        "renewal": {"for": "8h"},
        "credentialGroup": True,
    }
    policy = {
        "apiVersion": "kubemint/v1",
        "kind": "Policy",
        "profiles": {"developers": profile},
        "roles": {
            "auditor": [{"token": "siem"}],
            "operator": [{"token": "operator"}],
            "webhook": [{"token": "webhook"}],
        },
    }
    (directory / "policy.yaml").write_text(json.dumps(policy))
    change_yaml(config, change)
    return config
