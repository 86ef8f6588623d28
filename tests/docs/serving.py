"""A service with the settings of a page, and a terminal in which the steps of the page run as they are written."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from kubemint.commands.workspace import CaSource, ClusterAddress, Listen, create_workspace
from running_service import RunningService, free_port
from service.workspaces import change_yaml

CLUSTER_SERVER: Final = "https://203.0.113.10:6443"  # RFC 5737: nobody's
_SECONDS: Final = 60


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """A folder, and the variables that the steps find set."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(self, script: str, *shell: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script with `shell` (`bash -e` as in GitHub's jobs), whatever comes of it."""
        program = self.folder / "bin" / "kubemint"
        if not program.exists():
            program.parent.mkdir()
            program.write_text(f'#!/bin/sh\nexec {sys.executable} -m kubemint "$@"\n')
            program.chmod(0o755)
        own = {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "NO_PROXY": "*",
        }
        return subprocess.run(
            (*(shell or ("bash", "-e")), "-c", script),
            cwd=self.folder,
            env={**own, **self.variables, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )

    def check(self, script: str, *shell: str, **variables: str) -> str:
        """Run a script that must succeed, and give what it prints."""
        ran = self.run(script, *shell, **variables)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout


def make_service(
    directory: Path,
    authentication: Mapping[str, Any],
    policy: str,
    *,
    cluster_server: str = CLUSTER_SERVER,
    ca: tuple[Path, Path] | None = None,
) -> RunningService:
    """Prepare a service with the policy of a page as it is; `ca` is the certificate and the key to sign with."""
    signer = CaSource(certificate_file=ca[0], key_file=ca[1]) if ca else CaSource()
    create_workspace(
        directory,
        signer,
        Listen(port=free_port(), host="127.0.0.1", tls_names=()),
        ClusterAddress(name="production", server=cluster_server),
        datetime.now(UTC),
    )
    config = directory / "kubemint.yaml"
    (directory / "policy.yaml").write_text(policy)

    def change(settings: dict[str, Any]) -> None:
        settings["authentication"] = dict(authentication)
        settings["server"] |= {"workers": 1, "pinWorkers": False}

    change_yaml(config, change)
    return RunningService(directory, config=config)


def check_certificate(file: Path, user: str, groups: list[str], lifetime: timedelta) -> None:
    """Read a certificate and compare it with what the page promises; it was made a moment ago."""
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    subject = certificate.subject
    assert [name.value for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [user]
    assert [name.value for name in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == groups
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    assert lifetime - timedelta(seconds=_SECONDS) < left <= lifetime


def reason_codes(printed: str) -> list[str]:
    """Give the codes of the reasons in the last JSON document that was printed."""
    return [reason["code"] for reason in documents(printed)[-1]["reasons"]]


def documents(printed: str) -> list[dict[str, Any]]:
    """Give the JSON documents that were printed one after the other."""
    found, decoder, rest = [], json.JSONDecoder(), printed.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        found.append(document)
        rest = rest[end:].lstrip()
    return found
