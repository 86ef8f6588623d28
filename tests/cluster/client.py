"""The command line of kubemint, as requesters and administrators of a cluster use it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.cluster import Cluster, Kubectl
from running_service import RunningService


@dataclass(frozen=True)
class Client:
    """`kubemint request` to one service; each call writes a kubeconfig of its own into the folder."""

    kubectl: Kubectl
    folder: Path
    service: RunningService

    def __call__(self, user: str, *groups: str, options: tuple[str, ...] = ()) -> Kubectl:
        """Ask for a certificate, which must be granted, and give kubectl as its holder runs it."""
        return self.request(user, *groups, options=options)[0]

    def request(self, user: str, *groups: str, options: tuple[str, ...] = ()) -> tuple[Kubectl, dict[str, Any]]:
        """Do the same, and give the service's answer too."""
        kubeconfig = self.folder / f"{sum(1 for _ in self.folder.iterdir())}.kubeconfig"
        wanted = ("--user", user, *(f"--group={group}" for group in groups), *options)
        service = ("--url", self.service.url, "--ca", str(self.service.tls_ca_file))
        proof = ("--token-file", str(self.service.directory / "requester.token"))
        answer = kubemint(
            "request", *wanted, *service, *proof, "--kubeconfig", str(kubeconfig), "--output", "json"
        )
        return self.kubectl.with_kubeconfig(kubeconfig), json.loads(answer)


def kubemint(*arguments: str) -> str:
    """Run a command of kubemint, which must succeed, and give what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBEMINT_")}
    command = (sys.executable, "-m", "kubemint", *arguments)
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def import_ca(directory: Path, cluster: Cluster, files: tuple[Path, Path]) -> None:
    """Make a directory to serve this cluster from, with the CA of these files."""
    ca = ("--ca-certificate", str(files[0]), "--ca-key", str(files[1]))
    named = ("--cluster-server", cluster.url, "--cluster-name", "lab")
    kubemint("init", "--directory", str(directory), *ca, *named)
