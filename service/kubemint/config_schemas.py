"""The shape of the configuration file: what may stand in it, and what is wrong with what does."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from marshmallow import ValidationError, fields, validate, validates_schema
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from kubemint.authentication.oidc import (
    DEFAULT_ALGORITHMS,
    DEFAULT_IDENTITY_CLAIM,
    DEFAULT_LEEWAY,
    DEFAULT_MAX_STALE,
)
from kubemint.authentication.tokens import TOKEN_NAME
from kubemint.durations import format_duration
from kubemint.errors import InvalidProof
from kubemint.fields import Duration, NamedEntries, StrictSchema, Text
from kubemint.kubernetes.access_review import Unknown
from kubemint.policy.loader import API_VERSION, ClaimValue, RequesterSchema
from kubemint.policy.rules import CertificateRule
from kubemint.transparency.checkpoint import NoteVerifier, key_name_problem
from kubemint.x509.crl_edition import LIFETIME_MIN

_SERVICE_ADDRESS: Final = validate.URL(
    schemes={"https", "http"}, require_tld=False, error="Must be https://HOST[:PORT][/PATH]."
)
SERVER_ADDRESS: Final = validate.URL(schemes={"https"}, require_tld=False, error="Must be https://HOST[:PORT].")
_LISTEN: Final = re.compile(
    r"(?:\[(?P<address>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})", re.ASCII
)
_LEDGER_URL: Final = "Must be sqlite:///FILE, sqlite:////FILE from the root, or postgresql://USER@HOST/DATABASE."
_LIBPQ: Final = frozenset(
    {"host", "hostaddr", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "target_session_attrs"}
)


def host_and_port(listen: str) -> tuple[str, int]:
    match = _LISTEN.fullmatch(listen)
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise ValidationError("Must be HOST:PORT, such as 127.0.0.1:8443 or [::]:8443.")
    return match["address"] or match["host"], int(match["port"])


def _check_ledger_url(text: str) -> None:
    try:
        url = make_url(text)
    except ArgumentError:
        raise ValidationError(_LEDGER_URL) from None
    if url.drivername == "sqlite":
        if not url.database or url.query or url.host or url.username:
            raise ValidationError("Must be sqlite:///FILE, or sqlite:////FILE from the root.")
        return
    if url.drivername != "postgresql" or not url.database:
        raise ValidationError(_LEDGER_URL)
    if url.password is not None:
        raise ValidationError("Must hold no password: put it into passwordFile.")
    if unknown := sorted(set(url.query) - _LIBPQ):
        raise ValidationError(f"Has parameters that are not known here: {', '.join(unknown)}.")


def _check_log_key(vkey: str) -> None:
    try:
        NoteVerifier.from_vkey(vkey)
    except InvalidProof as fault:
        raise ValidationError(f"Is no public key of a log or witness (NAME+ID+KEY): {fault.message}") from None


def _check_origin(origin: str) -> None:
    if (problem := key_name_problem(origin)) is not None:
        raise ValidationError(f"Cannot name a log: {problem}")


def _check_list_lifetime(lifetime: timedelta) -> None:
    if lifetime < LIFETIME_MIN:
        raise ValidationError(
            f"Must be {format_duration(LIFETIME_MIN)} or more: readers must get the next list in time."
        )


def _check_unique_names(authorities: list[dict[str, str]]) -> None:
    names = [authority["name"] for authority in authorities]
    if len(set(names)) != len(names):
        raise ValidationError("Two have the same name; requesters are told apart by it.")


def _named(schema: type[StrictSchema]) -> "fields.List[Any]":
    return fields.List(fields.Nested(schema), load_default=list, validate=_check_unique_names)


def _name() -> Text:
    """Give the field of an authority's name. A colon in it would let two authorities meet in one identity."""
    return Text(required=True, validate=validate.Regexp(f"^(?:{TOKEN_NAME.pattern})\\Z"))


class _TlsSchema(StrictSchema):
    certificate_file = Text(data_key="certificateFile", required=True)
    key_file = Text(data_key="keyFile", required=True)


class _ServerSchema(StrictSchema):
    listen = Text(required=True, validate=host_and_port)
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
    name = _name()
    ca_file = Text(data_key="caFile", required=True)


class _OidcSchema(StrictSchema):
    """The shape alone: what may stand beside what is `kubemint.authentication.oidc.oidc_issuer_problems`."""

    name = _name()
    issuer = Text(required=True)
    audiences = fields.List(Text(), required=True)
    algorithms = fields.List(Text(), load_default=lambda: list(DEFAULT_ALGORITHMS))
    required_claims = NamedEntries(keys=Text(), values=ClaimValue(), data_key="requiredClaims", load_default=dict)
    identity_claim = Text(data_key="identityClaim", load_default=DEFAULT_IDENTITY_CLAIM)
    leeway = Duration(load_default=DEFAULT_LEEWAY)
    ca_file = Text(data_key="caFile")
    jwks_uri = Text(data_key="jwksUri")
    keys_file = Text(data_key="keysFile")
    max_stale = Duration(data_key="maxStale", load_default=DEFAULT_MAX_STALE)
    single_use = fields.Boolean(data_key="singleUse", load_default=False, truthy={True}, falsy={False})


class _KubernetesSchema(StrictSchema):
    name = _name()
    issuer = Text(required=True)
    audience = Text(required=True)
    kubeconfig = Text()
    in_cluster = fields.Boolean(data_key="inCluster", truthy={True}, falsy=set())
    keys_file = Text(data_key="keysFile")

    @validates_schema(skip_on_field_errors=True)
    def _one_way(self, body: Mapping[str, Any], **_: Any) -> None:
        if len(body.keys() & {"kubeconfig", "in_cluster", "keys_file"}) != 1:
            raise ValidationError("Must name one of: kubeconfig, inCluster: true, keysFile.")


class _AuthenticationSchema(StrictSchema):
    tokens_file = Text(data_key="tokensFile")
    certificates = _named(_ClientAuthoritySchema)
    oidc = _named(_OidcSchema)
    kubernetes = _named(_KubernetesSchema)


class _LedgerSchema(StrictSchema):
    url = Text(required=True, validate=_check_ledger_url)
    password_file = Text(data_key="passwordFile")
    lock_wait = Duration(data_key="lockWait", load_default=timedelta(seconds=2))
    statement_timeout = Duration(data_key="statementTimeout", load_default=timedelta(seconds=5))
    retention = Duration()
    archive = Text()

    @validates_schema(skip_on_field_errors=True)
    def _password(self, body: Mapping[str, Any], **_: Any) -> None:
        if "password_file" in body and body["url"].startswith("sqlite:"):
            raise ValidationError("A SQLite file has no password.", field_name="passwordFile")


class _WitnessSchema(StrictSchema):
    key = Text(required=True, validate=_check_log_key)
    url = Text(required=True, validate=_SERVICE_ADDRESS)
    ca_file = Text(data_key="caFile")
    required = fields.Boolean(load_default=False, truthy={True}, falsy={False})


class _AnchorSchema(StrictSchema):
    file = Text()
    url = Text(validate=_SERVICE_ADDRESS)
    ca_file = Text(data_key="caFile")

    @validates_schema(skip_on_field_errors=True)
    def _one_place(self, body: Mapping[str, Any], **_: Any) -> None:
        if ("file" in body) == ("url" in body):
            raise ValidationError("Must have a file or a url, and not both.")


class _LogSchema(StrictSchema):
    key = Text(required=True)
    passphrase_file = Text(data_key="passphraseFile")
    origin = Text(required=True, validate=_check_origin)
    former_keys = fields.List(Text(validate=_check_log_key), data_key="formerKeys", load_default=list)
    public = fields.Boolean(load_default=False, truthy={True}, falsy={False})
    witnesses = fields.List(fields.Nested(_WitnessSchema), load_default=list)
    anchors = fields.List(fields.Nested(_AnchorSchema), load_default=list)


class _ClusterSchema(StrictSchema):
    name = Text(required=True)
    server = Text(required=True, validate=SERVER_ADDRESS)
    certificate_authority_file = Text(data_key="certificateAuthorityFile")


class _WebhookSchema(StrictSchema):
    clients = fields.List(fields.Nested(RequesterSchema), load_default=list)
    unknown_credentials = fields.Enum(
        Unknown, by_value=True, data_key="unknownCredentials", load_default=Unknown.ALARM
    )

    @validates_schema(skip_on_field_errors=True)
    def _certificates(self, body: Mapping[str, Any], **_: Any) -> None:
        if not all(isinstance(rule, CertificateRule) for rule in body["clients"]):
            raise ValidationError(
                "Must be rules of certificates; tokens get the role webhook.", field_name="clients"
            )


class _CrlSchema(StrictSchema):
    lifetime = Duration(load_default=timedelta(hours=24), validate=_check_list_lifetime)
    url = Text(validate=_SERVICE_ADDRESS)


class ConfigSchema(StrictSchema):
    api_version = Text(data_key="apiVersion", required=True, validate=validate.Equal(API_VERSION))
    kind = Text(required=True, validate=validate.Equal("Configuration"))
    server = fields.Nested(_ServerSchema, required=True)
    issuer = fields.Nested(_IssuerSchema, required=True)
    policy_file = Text(data_key="policyFile", required=True)
    authentication = fields.Nested(_AuthenticationSchema, required=True)
    ledger = fields.Nested(_LedgerSchema, required=True)
    log = fields.Nested(_LogSchema, required=True)
    cluster = fields.Nested(_ClusterSchema)
    webhook = fields.Nested(_WebhookSchema, load_default=lambda: _WebhookSchema().load({}))
    crl = fields.Nested(_CrlSchema, load_default=lambda: _CrlSchema().load({}))
