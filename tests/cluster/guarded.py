"""An API server that asks kubemint before RBAC, and people whose certificates say which they are.

It is an API server from before 1.32, so each certificate carries the group with its serial number.
Whoever is authenticated may read config maps: what a refusal comes from is then never RBAC.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cluster.client import import_ca, kubemint
from cluster.cluster import Cluster, Kubectl
from csrs import good_csr, pem
from kubemint.kubernetes.authorizer_config import legacy_flags, webhook_kubeconfig
from running_service import RunningService

TTL: Final = timedelta(seconds=1)  # for which the API server remembers an answer
# What kubemint promises on top: each of its processes knows within a second.
LIMIT_SECONDS: Final = TTL.total_seconds() + 1.0
REVOKED: Final = "this certificate was revoked at"
READ: Final = ("get", "configmaps", "-n", "default")
_GIVE_UP_SECONDS: Final = 30.0

_PROFILES: Final = {"requester": "people", "ci": "pipelines"}
_POLICY: Final = """\
apiVersion: kubemint/v1
kind: Policy
limits: {maxLifetime: 1h, keys: [ecdsa-p256]}
profiles:
  people:
    requesters: [{token: requester}]
    users: ["*"]
    groups: ["*"]
    lifetime: {default: 1h, max: 1h}
    credentialGroup: true
  pipelines:
    requesters: [{token: ci}]
    users: ["*"]
    groups: ["*"]
    lifetime: {default: 1h, max: 1h}
    credentialGroup: true
  unmarked:
    requesters: [{token: requester}]
    users: ["*"]
    groups: ["*"]
    lifetime: {default: 1h, max: 1h}
roles:
  operator: [{token: operator}]
  webhook: [{token: webhook}]
"""


def guarded_cluster(directory: Path, programs: Mapping[str, Path]) -> tuple[Cluster, RunningService]:
    """Prepare both, neither started: the service signs with the cluster's CA, and is asked by the API server."""
    kubeconfig_file = directory / "webhook.kubeconfig"
    flags = legacy_flags(kubeconfig_file=str(kubeconfig_file), unauthorized_ttl=TTL)
    cluster = Cluster(directory / "cluster", programs, *flags)
    home = directory / "kubemint"
    import_ca(home, cluster, cluster.ca.files)
    (home / "policy.yaml").write_text(_POLICY)
    token = kubemint("token", "create", "ci", "--tokens-file", str(home / "tokens.yaml"))
    (home / "ci.token").write_text(token)
    service = RunningService(home)
    kubeconfig = webhook_kubeconfig(
        server_url=f"{service.url}/kubernetes/authorize",
        ca_pem=service.tls_ca_file.read_bytes(),
        token_file=str(home / "webhook.token"),
    )
    kubeconfig_file.write_text(kubeconfig)
    return cluster, service


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Somebody with a certificate."""

    kubectl: Kubectl
    serial_number: str

    def may(self, *arguments: str) -> str:
        """Ask the API server, which must allow it."""
        return self.kubectl(*(arguments or READ))

    def denied_since(self, moment: float, *arguments: str) -> str:
        """Ask until it is refused, and give what kubectl says of it.

        Whatever is asked later than `LIMIT_SECONDS` after the moment (monotonic) must be refused.
        """
        while True:
            asked = time.monotonic()
            ran = self.kubectl.run(*(arguments or READ))
            if ran.returncode != 0:
                return ran.stderr
            assert asked - moment <= LIMIT_SECONDS, "allowed after the limit"

    def allowed_since(self, moment: float) -> None:
        """Ask until it is allowed: whatever is asked later than the limit after the moment must be."""
        while True:
            asked = time.monotonic()
            ran = self.kubectl.run(*READ)
            if ran.returncode == 0:
                return
            assert asked - moment <= LIMIT_SECONDS, ran.stderr


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Both, running; and a folder for certificates."""

    cluster: Cluster
    service: RunningService
    kubectl: Kubectl
    folder: Path

    @property
    def admin(self) -> Kubectl:
        """Who is in system:masters."""
        return self.kubectl.with_kubeconfig(self.cluster.admin_kubeconfig)

    def issue(self, user: str, *groups: str, token: str = "requester", profile: str | None = None) -> Holder:
        """Get a certificate by the token of this name, under its first profile unless another is named."""
        key = ec.generate_private_key(ec.SECP256R1())  # nobody shares one: a key that is revoked is refused
        body = {"csr": pem(good_csr(key, user, groups)).decode(), "profile": profile or _PROFILES[token]}
        answer = self.service.call("POST", "/v1/certificates", json_body=body, token=token)
        assert answer.status == 201, answer.text
        folder = self.folder / answer.json()["serialNumber"]
        folder.mkdir()
        certificate_file, key_file = folder / "tls.crt", folder / "tls.key"
        certificate_file.write_text(answer.json()["certificate"])
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        kubectl = self.with_pair(folder, certificate_file, key_file)
        return Holder(kubectl=kubectl, serial_number=answer.json()["serialNumber"])

    def with_pair(self, folder: Path, certificate_file: Path, key_file: Path) -> Kubectl:
        """Give kubectl as the holder of a certificate runs it; its kubeconfig goes into the folder."""
        document = json.loads(self.cluster.admin_kubeconfig.read_text())
        document["users"][0]["user"] = {"client-certificate": str(certificate_file), "client-key": str(key_file)}
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(json.dumps(document))
        return self.kubectl.with_kubeconfig(kubeconfig)

    def revoke(self, *, reason: str = "unspecified", **select: str) -> tuple[str, float]:
        """Revoke as the operator; give the revocation's name, and the moment (monotonic) at which it counts."""
        body = {"select": select, "reason": reason}
        answer = self.service.call("POST", "/v1/revocations", json_body=body, token="operator")
        assert answer.status == 201, answer.text
        return answer.json()["revocation"], time.monotonic()

    def metric(self, name: str) -> float:
        """Give the sum of a counter of the service over its labels; `name` may hold some of them."""
        lines = self.service.call("GET", "/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def wait_until_bindings_count(self, holder: Holder) -> None:
        """Wait until the API server has seen the bindings of `admin`."""
        give_up = time.monotonic() + _GIVE_UP_SECONDS
        while holder.kubectl.run(*READ).returncode != 0:
            assert time.monotonic() < give_up
            time.sleep(0.1)
