"""Files and environment → one frozen, cross-checked `Config`. Nothing else reads settings.

A relative path in the file is taken from the folder that the file is in. Keys and tokens are not read
here: they are opened where they are used, after the workers are forked.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding
from marshmallow import ValidationError, fields, validate, validates_schema
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from kubemint.authentication.mtls import ClientAuthority
from kubemint.authentication.tokens import TOKEN_NAME
from kubemint.documents import parse_yaml
from kubemint.errors import ConfigurationError, InvalidDocument
from kubemint.fields import Duration, StrictSchema, Text, problem_lines
from kubemint.policy.loader import API_VERSION, load_policy
from kubemint.policy.rules import CertificateRule, Policy
from kubemint.signing.pem import load_certificates, read_file

CONFIG_VARIABLE: Final = "KUBEMINT_CONFIG"
_SERVER_ADDRESS: Final = validate.URL(schemes={"https"}, require_tld=False, error="Must be https://HOST[:PORT].")
_LISTEN: Final = re.compile(
    r"(?:\[(?P<address>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})", re.ASCII
)
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
    policy: Policy
    tokens_file: Path | None
    client_authorities: tuple[ClientAuthority, ...]
    ledger_file: Path
    ledger_lock_wait: timedelta
    cluster: Cluster | None


def server_address_problem(address: str) -> str | None:
    """Say what is wrong with the address of an API server; None if nothing is."""
    try:
        _SERVER_ADDRESS(address)
    except ValidationError as fault:
        return str(fault.messages[0])
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
    """Read the configuration and the policy that it names.

    Raises:
        ConfigurationError: with every mistake in the first file that has one.
    """
    directory = file.absolute().parent
    body: dict[str, Any] = _load(_ConfigSchema(), file)
    policy_file = directory / body["policy_file"]
    policy_text = read_file(policy_file)
    policy = load_policy(_parse(policy_text, policy_file), policy_text, str(policy_file))
    authentication = body["authentication"]
    authorities = tuple(
        ClientAuthority(name=ca["name"], certificates=tuple(load_certificates(directory / ca["ca_file"])))
        for ca in authentication["certificates"]
    )
    _cross_check(policy, authorities, str(policy_file))
    tokens_file = authentication.get("tokens_file")
    return Config(
        directory=directory,
        server=_server(body["server"], directory),
        issuer=_issuer(body["issuer"], directory),
        policy=policy,
        tokens_file=directory / tokens_file if tokens_file else None,
        client_authorities=authorities,
        ledger_file=directory / (make_url(body["ledger"]["url"]).database or ""),
        ledger_lock_wait=body["ledger"]["lock_wait"],
        cluster=_cluster(body.get("cluster"), directory),
    )


def _host_and_port(listen: str) -> tuple[str, int]:
    match = _LISTEN.fullmatch(listen)
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise ValidationError("Must be HOST:PORT, such as 127.0.0.1:8443 or [::]:8443.")
    return match["address"] or match["host"], int(match["port"])


def _check_ledger_url(url: str) -> None:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    is_file = parsed is not None and parsed.drivername == "sqlite" and parsed.database
    if parsed is None or not is_file or parsed.query or parsed.host or parsed.username:
        raise ValidationError("Must be sqlite:///FILE, or sqlite:////FILE from the root.")


def _check_unique_names(authorities: list[dict[str, str]]) -> None:
    names = [authority["name"] for authority in authorities]
    if len(set(names)) != len(names):
        raise ValidationError("Two CAs have the same name; requesters are told apart by it.")


class _TlsSchema(StrictSchema):
    certificate_file = Text(data_key="certificateFile", required=True)
    key_file = Text(data_key="keyFile", required=True)


class _ServerSchema(StrictSchema):
    listen = Text(required=True, validate=_host_and_port)
    tls = fields.Nested(_TlsSchema)
    plain_http = fields.Boolean(data_key="plainHttp", load_default=False, truthy={True}, falsy={False})
    workers = fields.Integer(strict=True, load_default=2, validate=validate.Range(1, 64))
    threads = fields.Integer(strict=True, load_default=16, validate=validate.Range(1, 64))
    pin_workers = fields.Boolean(data_key="pinWorkers", load_default=True, truthy={True}, falsy={False})
    request_timeout = Duration(data_key="requestTimeout", load_default=timedelta(seconds=10))
    shutdown_grace = Duration(data_key="shutdownGrace", load_default=timedelta(seconds=30))

    @validates_schema(skip_on_field_errors=True)
    def _transport(self, body: Mapping[str, Any], **_: Any) -> None:
        if ("tls" in body) == body["plain_http"]:
            raise ValidationError("Must have tls, or plainHttp: true, and not both.")


class _IssuerSchema(StrictSchema):
    certificate_file = Text(data_key="certificateFile", required=True)
    key = Text(required=True)
    passphrase_file = Text(data_key="passphraseFile")


class _ClientAuthoritySchema(StrictSchema):
    name = Text(required=True, validate=validate.Regexp(f"^(?:{TOKEN_NAME.pattern})\\Z"))
    ca_file = Text(data_key="caFile", required=True)


class _AuthenticationSchema(StrictSchema):
    tokens_file = Text(data_key="tokensFile")
    certificates = fields.List(
        fields.Nested(_ClientAuthoritySchema), load_default=list, validate=_check_unique_names
    )


class _LedgerSchema(StrictSchema):
    url = Text(required=True, validate=_check_ledger_url)
    lock_wait = Duration(data_key="lockWait", load_default=timedelta(seconds=2))


class _ClusterSchema(StrictSchema):
    name = Text(required=True)
    server = Text(required=True, validate=_SERVER_ADDRESS)
    certificate_authority_file = Text(data_key="certificateAuthorityFile")


class _ConfigSchema(StrictSchema):
    api_version = Text(data_key="apiVersion", required=True, validate=validate.Equal(API_VERSION))
    kind = Text(required=True, validate=validate.Equal("Configuration"))
    server = fields.Nested(_ServerSchema, required=True)
    issuer = fields.Nested(_IssuerSchema, required=True)
    policy_file = Text(data_key="policyFile", required=True)
    authentication = fields.Nested(_AuthenticationSchema, required=True)
    ledger = fields.Nested(_LedgerSchema, required=True)
    cluster = fields.Nested(_ClusterSchema)


def _load(schema: StrictSchema, file: Path) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = schema.load(_parse(read_file(file), file))
    except ValidationError as fault:
        lines = [f"{path}: {message}" if path else message for path, message in problem_lines(fault.messages)]
        raise ConfigurationError(str(file), lines) from None
    return loaded


def _parse(text: bytes, file: Path) -> Any:
    try:
        return parse_yaml(text)
    except InvalidDocument as fault:
        raise ConfigurationError(str(file), [fault.message]) from None


def _cross_check(policy: Policy, authorities: tuple[ClientAuthority, ...], source: str) -> None:
    """A rule that names a CA which the configuration does not know would match nobody, in silence."""
    known = {authority.name for authority in authorities}
    rules = [(f"{profile.path}.requesters", rule) for profile in policy.profiles for rule in profile.requesters]
    rules += [("roles", rule) for rule in (*policy.roles.auditors, *policy.roles.operators)]
    unknown = [
        f"{path}: the configuration's authentication.certificates has no {rule.certificate!r}"
        for path, rule in rules
        if isinstance(rule, CertificateRule) and rule.certificate not in known
    ]
    if unknown:
        raise ConfigurationError(source, unknown)


def _server(body: Mapping[str, Any], directory: Path) -> Server:
    host, port = _host_and_port(body["listen"])
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
    passphrase_file = body.get("passphrase_file")
    return IssuerFiles(
        certificate_file=directory / body["certificate_file"],
        key_uri=body["key"],
        passphrase_file=directory / passphrase_file if passphrase_file else None,
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
