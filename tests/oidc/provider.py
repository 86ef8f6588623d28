"""A certified OpenID provider as a process: started, asked for tokens, stopped, and started with other keys."""

import base64
import json
import os
import secrets
import shutil
import ssl
import subprocess
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from authentication.certificates import SERVER_AUTH, client_ca, cn
from authentication.issuers import IssuerKey
from peers import missing

SCRIPT = Path(__file__).with_name("provider.mjs")
CLIENT = "deployer"


def library() -> Path:
    """Give the folder whose node_modules has oidc-provider, or skip."""
    folder = Path(os.environ.get("KUBEMINT_OIDC_PROVIDER", "/nonexistent")).absolute()
    if shutil.which("node") is None:
        missing("node")
    if not (folder / "node_modules" / "oidc-provider").is_dir():
        missing("oidc-provider: npm install it into a folder and name that in KUBEMINT_OIDC_PROVIDER")
    return folder


class Provider:
    """One address, and a process behind it or none."""

    def __init__(self, folder: Path) -> None:
        self._environment = {"PATH": os.environ["PATH"], "KUBEMINT_OIDC_PROVIDER": str(library())}
        self._folder = folder
        now = datetime.now(UTC)
        ca = client_ca("provider TLS CA", now)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
        ca.client(cn("localhost"), now=now, purposes=SERVER_AUTH, extensions=(names,)).files(folder, "tls")
        self.ca_file = folder / "ca.crt"
        self.ca_file.write_bytes(ca.certificate.public_bytes(Encoding.PEM))
        self._secret = secrets.token_urlsafe(32)
        (folder / "secret").write_text(self._secret)
        self.issuer = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self, *keys: IssuerKey) -> None:
        """Start with these keys, on the port of the last time; it signs with the first."""
        (self._folder / "jwks.json").write_text(json.dumps({"keys": [_private_jwk(key) for key in keys]}))
        port = self.issuer.rpartition(":")[2] or "0"
        with (self._folder / "provider.log").open("a") as log:
            self._process = subprocess.Popen(
                ["node", str(SCRIPT), str(self._folder), port],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        line = self._process.stdout.readline()
        assert line, (self._folder / "provider.log").read_text()
        self.issuer = json.loads(line)["issuer"]

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait(10)
            self._process.stdout.close()
            self._process = None

    def token(self, audience: str) -> str:
        """Ask for an access token, as a pipeline would."""
        body = urllib.parse.urlencode({"grant_type": "client_credentials", "scope": "mint", "resource": audience})
        credentials = f"{CLIENT}:{self._secret}"
        request = urllib.request.Request(
            self.issuer + "/token",
            body.encode(),
            {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"},
        )
        trusted = ssl.create_default_context(cafile=self.ca_file)
        with urllib.request.urlopen(request, timeout=10, context=trusted) as response:
            answer: dict[str, Any] = json.load(response)
        return str(answer["access_token"])


def _private_jwk(key: IssuerKey) -> dict[str, Any]:
    kind = ECAlgorithm if key.algorithm.startswith("ES") else RSAAlgorithm
    jwk: dict[str, Any] = kind.to_jwk(key.private, as_dict=True)
    jwk.pop("key_ops", None)  # the provider shows it as it is, and "sign" is nothing that a public key does
    return {**jwk, "use": "sig", "alg": key.algorithm, "kid": key.key_id}
