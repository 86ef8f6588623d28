"""Files and environment → one frozen, cross-checked `Config`. Nothing else reads settings.

A relative path in the file is taken from the folder that the file is in. Keys and tokens are not read
here: they are opened where they are used, after the workers are forked.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding
from marshmallow import ValidationError

from kubemint.authentication.kubernetes import KubernetesCluster, Review
from kubemint.authentication.mtls import ClientAuthority
from kubemint.authentication.oidc import OidcIssuer, oidc_issuer_problems
from kubemint.config_ledger import Crl, LedgerPlace, Log, Webhook, ledger_place, log_settings
from kubemint.config_schemas import SERVER_ADDRESS, ConfigSchema, host_and_port
from kubemint.documents import load_yaml_file
from kubemint.errors import ConfigurationError
from kubemint.fields import problem_lines
from kubemint.policy.claims import ClaimRule
from kubemint.policy.rules import CertificateRule
from kubemint.signing.pem import load_certificates

CONFIG_VARIABLE: Final = "KUBEMINT_CONFIG"
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?", re.ASCII)
DEFAULT_PLACES: Final = (Path(".kubemint/kubemint.yaml"), Path("/etc/kubemint/kubemint.yaml"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The service's own certificate and key."""

    certificate_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How the service listens; `tls` is None only where plain HTTP was asked for by name."""

    host: str
    port: int
    tls: Tls | None
    workers: int
    threads: int
    pin_workers: bool
    request_timeout: timedelta
    shutdown_grace: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerFiles:
    """Where the CA is."""

    certificate_file: Path
    key_uri: str
    passphrase_file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The API server that certificates are for, as a kubeconfig needs it."""

    name: str
    server: str
    certificate_authority: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings, checked against each other."""

    directory: Path
    server: Server
    issuer: IssuerFiles
    policy_file: Path
    tokens_file: Path | None
    client_authorities: tuple[ClientAuthority, ...]
    oidc_issuers: tuple[OidcIssuer, ...]
    kubernetes_clusters: tuple[KubernetesCluster, ...]
    ledger: LedgerPlace
    log: Log
    webhook: Webhook
    crl: Crl
    cluster: Cluster | None


def server_address_problem(address: str) -> str | None:
    """Say what is wrong with the address of an API server; None if nothing is."""
    try:
        SERVER_ADDRESS(address)
    except ValidationError as fault:
        return str(fault.messages[0])
    return None


def host_problem(host: str) -> str | None:
    """Say what is wrong with a host name or address to listen on, or to be called by; None if nothing is."""
    try:
        ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            return f"{host!r} is neither a DNS name nor an IP address."
    return None


def find_config(given: Path | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Choose the configuration file: what was given, else KUBEMINT_CONFIG, else the usual places.

    Raises:
        ConfigurationError: there is none.
    """
    if given is not None:
        return given
    if CONFIG_VARIABLE in environment:
        return Path(environment[CONFIG_VARIABLE])
    for place in DEFAULT_PLACES:
        if place.exists():
            return place
    places = " or ".join(map(str, DEFAULT_PLACES))
    raise ConfigurationError(
        "configuration", [f"there is none at {places}; name it with --config or {CONFIG_VARIABLE}"]
    )


def load(file: Path) -> Config:
    """Read the configuration. The policy that it names is read where it counts.

    Raises:
        ConfigurationError: with every mistake in the file, or in the first that it names and that has one.
    """
    directory = file.absolute().parent
    body = _load(file)
    authentication = body["authentication"]
    tokens_file = authentication.get("tokens_file")
    issuers = tuple(_oidc_issuer(one, directory) for one in authentication["oidc"])
    clusters = tuple(_kubernetes_cluster(one, directory) for one in authentication["kubernetes"])
    named = {authority["name"] for authority in authentication["certificates"]}
    problems = [*_token_issuer_problems(issuers, clusters), *_webhook_problems(body["webhook"]["clients"], named)]
    if problems:
        raise ConfigurationError(str(file), problems)
    return Config(
        directory=directory,
        server=_server(body["server"], directory),
        issuer=_issuer(body["issuer"], directory),
        policy_file=directory / body["policy_file"],
        tokens_file=directory / tokens_file if tokens_file else None,
        client_authorities=tuple(
            ClientAuthority(name=ca["name"], certificates=tuple(load_certificates(directory / ca["ca_file"])))
            for ca in authentication["certificates"]
        ),
        oidc_issuers=issuers,
        kubernetes_clusters=clusters,
        ledger=ledger_place(body["ledger"], directory),
        log=log_settings(body["log"], directory),
        webhook=Webhook(clients=tuple(body["webhook"]["clients"]), unknown=body["webhook"]["unknown_credentials"]),
        crl=Crl(lifetime=body["crl"]["lifetime"], url=body["crl"].get("url")),
        cluster=_cluster(body.get("cluster"), directory),
    )


def known_authorities(config: Config) -> dict[str, Collection[str]]:
    """Name who may vouch for requesters, by kind; a policy rule that names anybody else would match nobody.

    The names of tokens are not among them: tokens come and go while the service runs.
    """
    return {
        "certificate": [authority.name for authority in config.client_authorities],
        "oidc": [issuer.name for issuer in config.oidc_issuers],
        "kubernetes": [cluster.name for cluster in config.kubernetes_clusters],
    }


def _load(file: Path) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = ConfigSchema().load(load_yaml_file(file))
    except ValidationError as fault:
        lines = [f"{path}: {message}" if path else message for path, message in problem_lines(fault.messages)]
        raise ConfigurationError(str(file), lines) from None
    return loaded


def _token_issuer_problems(issuers: Sequence[OidcIssuer], clusters: Sequence[KubernetesCluster]) -> Iterator[str]:
    for issuer in issuers:
        yield from (f"authentication.oidc: {issuer.name}: {text}" for text in oidc_issuer_problems(issuer))
    # Who judges a token is told by its `iss`: of two, the second would never be asked.
    known = {issuer.issuer: issuer.name for issuer in issuers}
    for cluster in clusters:
        if cluster.issuer in known:
            both = f"the OIDC issuer {known[cluster.issuer]} and the Kubernetes cluster {cluster.name}"
            yield f"authentication: {both} have the same issuer {cluster.issuer}: configure it under one of them."


def _webhook_problems(clients: Sequence[CertificateRule], named: Collection[str]) -> Iterator[str]:
    for rule in clients:
        if rule.certificate not in named:
            yield f"webhook.clients: {rule.certificate!r} is none of authentication.certificates."


def _oidc_issuer(body: Mapping[str, Any], directory: Path) -> OidcIssuer:
    return OidcIssuer(
        name=body["name"],
        issuer=body["issuer"],
        audiences=tuple(body["audiences"]),
        algorithms=tuple(body["algorithms"]),
        required_claims=tuple(
            ClaimRule(path=path, wanted=wanted) for path, wanted in body["required_claims"].items()
        ),
        leeway=body["leeway"],
        ca_file=_optional(body.get("ca_file"), directory),
        jwks_uri=body.get("jwks_uri"),
        keys_file=_optional(body.get("keys_file"), directory),
        identity_claim=body["identity_claim"],
        max_stale=body["max_stale"],
        single_use=body["single_use"],
    )


def _kubernetes_cluster(body: Mapping[str, Any], directory: Path) -> KubernetesCluster:
    keys_file = _optional(body.get("keys_file"), directory)
    return KubernetesCluster(
        name=body["name"],
        issuer=body["issuer"],
        audience=body["audience"],
        review=None if keys_file else Review(kubeconfig=_optional(body.get("kubeconfig"), directory)),
        keys_file=keys_file,
    )


def _optional(file: str | None, directory: Path) -> Path | None:
    return None if file is None else directory / file


def _server(body: Mapping[str, Any], directory: Path) -> Server:
    host, port = host_and_port(body["listen"])
    tls = body.get("tls")
    return Server(
        host=host,
        port=port,
        tls=Tls(certificate_file=directory / tls["certificate_file"], key_file=directory / tls["key_file"])
        if tls
        else None,
        workers=body["workers"],
        threads=body["threads"],
        pin_workers=body["pin_workers"],
        request_timeout=body["request_timeout"],
        shutdown_grace=body["shutdown_grace"],
    )


def _issuer(body: Mapping[str, Any], directory: Path) -> IssuerFiles:
    return IssuerFiles(
        certificate_file=directory / body["certificate_file"],
        key_uri=body["key"],
        passphrase_file=_optional(body.get("passphrase_file"), directory),
    )


def _cluster(body: Mapping[str, Any] | None, directory: Path) -> Cluster | None:
    if body is None:
        return None
    file = body.get("certificate_authority_file")
    authority = None
    if file is not None:
        certificates = load_certificates(directory / file)
        authority = "".join(found.public_bytes(Encoding.PEM).decode("ascii") for found in certificates)
    return Cluster(name=body["name"], server=body["server"], certificate_authority=authority)
