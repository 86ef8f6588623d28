"""The folder that `init` makes: a CA, the service's own TLS certificate, tokens, policy and configuration.

It appears whole or not at all: everything is written beside it first and moved into place at the end.
"""

import json
import os
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from kubemint.authentication.tokens import new_token, save_tokens
from kubemint.documents import read_file
from kubemint.errors import ConfigurationError
from kubemint.ledger import sqlite
from kubemint.signing.pem import load_certificates, load_key, read_passphrase
from kubemint.transparency.checkpoint import NoteSigner
from kubemint.x509.generate import GeneratedKey, generate_key, self_signed_ca, self_signed_server
from kubemint.x509.issuer import issuer_from, issuer_problems

CONFIG_NAME: Final = "kubemint.yaml"
CA_LIFETIME: Final = timedelta(days=3650)  # as kubeadm's
TLS_LIFETIME: Final = timedelta(days=365)
TOKEN_LIFETIME: Final = timedelta(days=365)
TLS_HOSTS: Final = ("localhost", "127.0.0.1", "::1")

_POLICY: Final = """\
# Who may have which certificate. Everything that is not listed is refused.
# Names beginning with system: or kubeadm: are refused unless a profile lists them, exactly, under reserved.
apiVersion: kubemint/v1
kind: Policy
limits:                 # the ceiling over all profiles
  maxLifetime: 24h
  keys: [ecdsa-p256, ecdsa-p384, ed25519, rsa-2048, rsa-3072, rsa-4096]
profiles:
  developers:
    requesters: [{token: requester}]
    users: ["*"]        # the requester chooses the name; bind it where you can
    groups: [developers, viewers, "team-*"]
    lifetime: {default: 1h, max: 24h}
roles:
  auditor: [{token: operator}]     # may read the log
  operator: [{token: operator}]    # approves and revokes, and reads the log
  webhook: [{token: webhook}]      # may ask whether a certificate is revoked: the API server
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAddress:
    """The API server that a kubeconfig will name."""

    name: str
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where the service listens, and the names beyond this machine's own that its certificate is for."""

    port: int
    host: str = "127.0.0.1"
    tls_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaSource:
    """Where the CA comes from: files to import, or a new one of this key type."""

    certificate_file: Path | None = None
    key_file: Path | None = None
    passphrase_file: Path | None = None
    key_type: str = "ecdsa-p256"


def create_workspace(
    directory: Path, ca: CaSource, listen: Listen, cluster: ClusterAddress | None, now: datetime
) -> None:
    """Make the folder.

    Raises:
        ConfigurationError: there is something already, or the CA to import is not fit to sign.
    """
    directory = directory.absolute()
    try:
        _create(directory, ca, listen, cluster, now)
    except OSError as fault:
        raise ConfigurationError(str(directory), [f"cannot be made: {fault.strerror}"]) from None


def _create(directory: Path, ca: CaSource, listen: Listen, cluster: ClusterAddress | None, now: datetime) -> None:
    if directory.is_symlink() or (directory.exists() and (not directory.is_dir() or any(directory.iterdir()))):
        raise ConfigurationError(str(directory), ["is there already, and no empty folder; nothing was changed"])
    directory.parent.mkdir(parents=True, exist_ok=True)
    draft = directory.parent / f".{directory.name}.{os.getpid()}"
    draft.mkdir(mode=0o700)
    try:
        _write_ca(draft, ca, now)
        _write_tls(draft, listen.tls_names, now)
        log_key = Ed25519PrivateKey.generate()
        _write_key(draft / "log.key", log_key, ca.passphrase_file)
        _write_tokens(draft, now)
        vkey = NoteSigner(log_origin(listen), log_key).vkey
        _write(draft / "policy.yaml", _POLICY.encode(), 0o644)
        _write(draft / "client.yaml", client_settings(listen.port, vkey).encode(), 0o644)
        _write(draft / CONFIG_NAME, _configuration(ca, listen, cluster).encode(), 0o644)
        sqlite.create_file(draft / "ledger.db")
        draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def client_settings(port: int, log_vkey: str) -> str:
    """Give the file by which commands in this folder find the service, and know its log."""
    return (
        "# Where `kubemint request` and the other client commands find the service.\n"
        f"url: https://127.0.0.1:{port}\n"
        "ca: tls.crt\n"
        "tokenFile: requester.token\n"
        f"logKey: {json.dumps(log_vkey)}\n"
    )


def log_origin(listen: Listen) -> str:
    """Name the log of a new service as C2SP tlog-tiles has it: by its address, which it keeps for ever."""
    host = next(iter(listen.tls_names), listen.host)
    return f"{'localhost' if host in {'0.0.0.0', '::'} else host}:{listen.port}/v1/log"  # noqa: S104 - it is read


def _write_ca(directory: Path, ca: CaSource, now: datetime) -> None:
    if ca.certificate_file is not None and ca.key_file is not None:
        certificates = tuple(load_certificates(ca.certificate_file))
        key = load_key(ca.key_file, ca.passphrase_file)
        if problems := list(issuer_problems(issuer_from(certificates, key), now)):
            raise ConfigurationError(str(ca.certificate_file), problems)
        _write(directory / "ca.crt", read_file(ca.certificate_file), 0o644)
        _write(directory / "ca.key", read_file(ca.key_file), 0o600)
        return
    new_key = generate_key(ca.key_type)
    certificate = self_signed_ca(new_key, "kubemint", now, CA_LIFETIME)
    _write(directory / "ca.crt", certificate.public_bytes(Encoding.PEM), 0o644)
    _write_key(directory / "ca.key", new_key, ca.passphrase_file)


def _write_tls(directory: Path, names: tuple[str, ...], now: datetime) -> None:
    key = generate_key("ecdsa-p256")
    certificate = self_signed_server(key, (*TLS_HOSTS, *names), now, TLS_LIFETIME)
    _write(directory / "tls.crt", certificate.public_bytes(Encoding.PEM), 0o644)
    _write_key(directory / "tls.key", key, None)


def _write_tokens(directory: Path, now: datetime) -> None:
    records = []
    for name in ("requester", "operator", "webhook"):
        token, record = new_token(name, now.replace(microsecond=0) + TOKEN_LIFETIME)
        _write(directory / f"{name}.token", token.encode("ascii") + b"\n", 0o600)
        records.append(record)
    save_tokens(directory / "tokens.yaml", tuple(records))


def _write_key(file: Path, key: GeneratedKey, passphrase_file: Path | None) -> None:
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase_file is not None:
        encryption = BestAvailableEncryption(read_passphrase(passphrase_file))
    _write(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)


def _write(file: Path, content: bytes, mode: int) -> None:
    """Write a new file; its mode counts from the first byte on."""
    with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as stream:
        stream.write(content)


def _configuration(ca: CaSource, listen: Listen, cluster: ClusterAddress | None) -> str:
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    lines = [
        "# The service's settings; relative paths are taken from this folder. README.md explains each.",
        "apiVersion: kubemint/v1",
        "kind: Configuration",
        "server:",
        f'  listen: "{host}:{listen.port}"',
        "  tls: {certificateFile: tls.crt, keyFile: tls.key}",
        "issuer:",
        "  certificateFile: ca.crt",
        "  key: file:ca.key",
    ]
    passphrase = []
    if ca.passphrase_file is not None:
        passphrase = [f"  passphraseFile: {json.dumps(str(ca.passphrase_file.absolute()))}"]
    lines += [
        *passphrase,
        "policyFile: policy.yaml",
        "authentication: {tokensFile: tokens.yaml}",
        'ledger: {url: "sqlite:///ledger.db"}',
        "log:",
        "  key: file:log.key",
        *passphrase,
        f"  origin: {json.dumps(log_origin(listen))}",
    ]
    if cluster is not None:
        lines += ["cluster:", f"  name: {json.dumps(cluster.name)}", f"  server: {json.dumps(cluster.server)}"]
    return "\n".join(lines) + "\n"
