"""A folder with a configuration that uses every setting, and a way to change one thing in it."""

import copy
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from kubemint.transparency.checkpoint import NoteSigner, NoteVerifier, SignatureType
from kubemint.x509.generate import generate_key, self_signed_ca

DELETED = object()


def log_vkey(name: str) -> str:
    """Make the verifier key of a log of this name, of a key that nobody keeps."""
    return NoteSigner(name, Ed25519PrivateKey.generate()).vkey


def witness_vkey(name: str) -> str:
    """Make the verifier key of a witness of this name, of a key that nobody keeps."""
    octets = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    return NoteVerifier(name=name, signature_type=SignatureType.COSIGNATURE, public_key_octets=octets).vkey


CONFIGURATION: dict[str, Any] = {
    "apiVersion": "kubemint/v1",
    "kind": "Configuration",
    "server": {
        "listen": "127.0.0.1:8443",
        "tls": {"certificateFile": "tls/tls.crt", "keyFile": "tls/tls.key"},
        "workers": 3,
        "threads": 5,
        "pinWorkers": False,
        "requestTimeout": "7s",
        "shutdownGrace": "1m30s",
    },
    "issuer": {"certificateFile": "ca.crt", "key": "file:ca.key", "passphraseFile": "/run/secrets/passphrase"},
    "policyFile": "policy/policy.yaml",
    "authentication": {
        "tokensFile": "tokens.yaml",
        "certificates": [{"name": "corp", "caFile": "corp.crt"}, {"name": "lab", "caFile": "lab.crt"}],
        "oidc": [
            {
                "name": "github",
                "issuer": "https://tokens.example.com",
                "audiences": ["kubemint", "mint"],
                "algorithms": ["RS256"],
                "requiredClaims": {"repository_owner": "acme", "environment": ["prod", "stage-*"]},
                "identityClaim": "repository",
                "leeway": "10s",
                "caFile": "lab.crt",
                "jwksUri": "https://keys.example.com/jwks",
                "maxStale": "6h",
                "singleUse": True,
            },
            {
                "name": "sealed",
                "issuer": "https://sealed.example.com",
                "audiences": ["kubemint"],
                "keysFile": "sealed.json",
            },
        ],
        "kubernetes": [
            {"name": "prod", "issuer": "https://kubernetes.default.svc", "audience": "mint", "inCluster": True},
            {"name": "lab", "issuer": "https://lab.example.com", "audience": "mint", "kubeconfig": "lab.conf"},
            {"name": "far", "issuer": "https://far.example.com", "audience": "mint", "keysFile": "far.pub"},
        ],
    },
    "ledger": {
        "url": "sqlite:///data/ledger.db",
        "lockWait": "250s",
        "statementTimeout": "20s",
        "retention": "90d",
        "archive": "data/archive",
    },
    "log": {
        "key": "file:log.key",
        "passphraseFile": "/run/secrets/log-passphrase",
        "origin": "kubemint.example/log",
        "formerKeys": [log_vkey("kubemint.example/log")],
        "public": True,
        "witnesses": [
            {"key": witness_vkey("near.example"), "url": "https://near.example:8443/w", "required": True},
            {"key": witness_vkey("far.example"), "url": "https://far.example", "caFile": "lab.crt"},
        ],
        "anchors": [
            {"file": "/mnt/elsewhere/checkpoint"},
            {"url": "https://anchor.example/checkpoint", "caFile": "lab.crt"},
        ],
    },
    "webhook": {
        "clients": [{"certificate": "corp", "commonName": "kube-apiserver-*"}],
        "unknownCredentials": "deny",
    },
    "crl": {"lifetime": "12h", "url": "https://kubemint.example"},
    "cluster": {
        "name": "prod",
        "server": "https://10.0.0.1:6443",
        "certificateAuthorityFile": "cluster.crt",
    },
}
POLICY: dict[str, Any] = {
    "apiVersion": "kubemint/v1",
    "kind": "Policy",
    "profiles": {
        "developers": {
            "requesters": [
                {"token": "ci"},
                {"certificate": "corp", "organization": "engineering"},
                {"oidc": "github", "claims": {"repository": "acme/shop"}},
                {"kubernetes": "prod", "namespace": "shop"},
            ],
            "users": ["jane"],
            "lifetime": {"default": "1h", "max": "8h"},
        }
    },
    "roles": {"auditor": [{"certificate": "lab"}]},
}


def changed(document: dict[str, Any], *changes: tuple[str, Any]) -> dict[str, Any]:
    """Give a document with values at dotted paths set, or DELETED; a number is a place in a list."""
    copied = copy.deepcopy(document)
    for path, value in changes:
        *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
        place: Any = copied
        for step in steps:
            place = place[step]
        if value is DELETED:
            del place[last]
        else:
            place[last] = value
    return copied


def write(
    directory: Path, configuration: dict[str, Any] | None = None, policy: dict[str, Any] | None = None
) -> Path:
    """Write a folder with these files in it; give the configuration's."""
    (directory / "policy").mkdir(parents=True)
    for name in ("corp", "lab", "cluster"):
        (directory / f"{name}.crt").write_text(certificate_pem())
    (directory / "policy" / "policy.yaml").write_text(yaml.safe_dump(POLICY if policy is None else policy))
    file = directory / "kubemint.yaml"
    file.write_text(yaml.safe_dump(CONFIGURATION if configuration is None else configuration))
    return file


@cache
def certificate_pem() -> str:
    """Make a CA's certificate."""
    start = datetime(2026, 11, 20, tzinfo=UTC)
    certificate = self_signed_ca(generate_key("ecdsa-p256"), "some CA", start, timedelta(days=365))
    return certificate.public_bytes(Encoding.PEM).decode()
