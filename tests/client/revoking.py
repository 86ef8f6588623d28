"""Certificates to take back, and the terminals from which that is done."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands.cli import Ran, kubemint
from running_service import RunningService


@dataclass(frozen=True, slots=True)
class Terminal:
    """A folder, in which commands ask a running service."""

    service: RunningService
    place: Path

    def run(self, token: str | None, *arguments: str | Path) -> Ran:
        """Run a command with the token of this name."""
        found = ("--url", self.service.url, "--ca", self.service.tls_ca_file)
        proof = () if token is None else ("--token-file", self.service.directory / f"{token}.token")
        return kubemint(*arguments, *found, *proof, cwd=self.place)

    def json(self, token: str | None, *arguments: str | Path) -> Any:
        """Run a command that must succeed, and read what it says in JSON."""
        ran = self.run(token, *arguments, "--output", "json")
        assert ran.code == 0, ran.errors
        return json.loads(ran.output)

    def issue(self, user: str, *groups: str) -> dict[str, Any]:
        """Get a certificate; USER.key and USER.crt are in the folder then."""
        options = [option for group in groups for option in ("--group", group)]
        issued: dict[str, Any] = self.json(
            "requester", "request", "--user", user, "--profile", "developers", "--overwrite", *options
        )
        return issued

    def state(self, serial_number: str) -> str:
        """Tell what the service says of a certificate."""
        answer = self.service.call("GET", f"/v1/certificates/{serial_number}", token="operator")
        assert answer.status == 200, answer.text
        return str(answer.json()["state"])
