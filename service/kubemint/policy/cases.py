"""Requests that are written down, to try a policy with: who asks, for what, and what should come of it.

A case stands in for what a token or a CSR would prove, so it decides nothing but itself: the service never
reads one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from kubemint.errors import ConfigurationError
from kubemint.fields import Duration, StrictSchema, Text, problem_lines
from kubemint.policy.loader import API_VERSION
from kubemint.requester import Method, Requester
from kubemint.x509.generate import generate_key
from kubemint.x509.issuer import IssuerLimits
from kubemint.x509.keys import KEY_TYPES
from kubemint.x509.request import EXPIRATION_MAX_SECONDS, SigningRequest

# A CA that is not known sets no bound: every certificate begins after it, ends before it and has another key.
UNBOUND_ISSUER: Final = IssuerLimits(
    not_before=datetime(1, 1, 1, tzinfo=UTC), not_after=datetime(9999, 12, 31, tzinfo=UTC), spki_der=b""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What should come of a case; None where it does not matter."""

    granted: bool
    reasons: frozenset[str] | None = None
    groups: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request and its verdict."""

    name: str
    requester: Requester
    request: SigningRequest
    expected: Expected


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTest:
    """The cases of a file, and the policy that they are for, as the file names it."""

    policy_file: str
    cases: tuple[Case, ...]


def load_cases(document: Any, source: str) -> PolicyTest:
    """Read a file of cases that is parsed already.

    Raises:
        ConfigurationError: with every mistake in it.
    """
    loaded: PolicyTest = _load(_PolicyTestSchema(), document, source)
    return loaded


def load_requester(document: Any, source: str) -> Requester:
    """Read a requester as cases have it; raises as `load_cases` does."""
    loaded: Requester = _load(_RequesterSchema(), document, source)
    return loaded


def written_request(
    *,
    user: str,
    groups: tuple[str, ...] = (),
    key_type: str = "ecdsa-p256",
    expiration_seconds: int | None = None,
    profile: str | None = None,
) -> SigningRequest:
    """Make the request that a CSR of this subject would be, with a key that stands in for any.

    A verdict looks at the key's type, and whether it is the CA's own.
    """
    return SigningRequest(
        csr_der=b"",
        user=user,
        groups=groups,
        public_key=_any_key(),
        spki_der=_any_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        key_type=key_type,
        expiration_seconds=expiration_seconds,
        profile=profile,
    )


@cache
def _any_key() -> CertificatePublicKeyTypes:
    return generate_key("ecdsa-p256").public_key()


def _load(schema: StrictSchema, document: Any, source: str) -> Any:
    try:
        return schema.load(document)
    except ValidationError as fault:
        lines = [f"{path}: {message}" if path else message for path, message in problem_lines(fault.messages)]
        raise ConfigurationError(source, lines) from None


_CLAIMS: Final[Mapping[str, Mapping[str, str]]] = {
    "token": {},
    "certificate": {
        "common_name": "commonName",
        "organizations": "organizations",
        "uris": "uris",
        "dns_names": "dnsNames",
    },
    "oidc": {"claims": ""},
    "kubernetes": {"namespace": "namespace", "service_account": "name"},
}


class _RequesterSchema(StrictSchema):
    token = Text()
    certificate = Text()
    common_name = Text(data_key="commonName")
    organizations = fields.List(Text())
    uris = fields.List(Text())
    dns_names = fields.List(Text(), data_key="dnsNames")
    oidc = Text()
    claims = fields.Dict(keys=Text())
    kubernetes = Text()
    namespace = Text()
    service_account = Text(data_key="serviceAccount")

    @validates_schema
    def _one_kind(self, body: Mapping[str, Any], **_: Any) -> None:
        kinds = body.keys() & _CLAIMS.keys()
        if len(kinds) != 1:
            raise ValidationError(f"Must name one of: {', '.join(_CLAIMS)}.")
        (kind,) = kinds
        for name in body.keys() - {kind, *_CLAIMS[kind]}:
            raise ValidationError(f"Does not belong to {kind}.", field_name=self.fields[name].data_key or name)
        if kind == "kubernetes" and body.keys() != {"kubernetes", "namespace", "service_account"}:
            raise ValidationError("Must have namespace and serviceAccount, as every service account has.")

    @post_load
    def _make(self, body: Mapping[str, Any], **_: Any) -> Requester:
        (kind,) = body.keys() & _CLAIMS.keys()
        claims = {claim: body[name] for name, claim in _CLAIMS[kind].items() if name in body and claim}
        return Requester(
            method=Method(kind),
            authority=body[kind],
            identity=f"{kind}:{body[kind]}",
            evidence="a case",
            claims=body.get("claims", claims),
        )


class _SubjectSchema(StrictSchema):
    user = Text(required=True)
    groups = fields.List(Text(), load_default=list)


class _CaseSchema(StrictSchema):
    name = Text(required=True)
    requester = fields.Nested(_RequesterSchema, required=True)
    subject = fields.Nested(_SubjectSchema, required=True)
    profile = Text()
    expires = Duration(
        validate=validate.Range(
            max=timedelta(seconds=EXPIRATION_MAX_SECONDS), error="Must be at most 2147483647 s."
        )
    )
    key_type = Text(data_key="keyType", load_default="ecdsa-p256", validate=validate.OneOf(KEY_TYPES))
    expect = Text(required=True, validate=validate.OneOf(["granted", "refused"]))
    reasons = fields.List(Text(), validate=validate.Length(min=1))
    groups = fields.List(Text())

    @validates_schema
    def _belongs(self, body: Mapping[str, Any], **_: Any) -> None:
        for name, verdict in (("reasons", "refused"), ("groups", "granted")):
            if name in body and body.get("expect") != verdict:
                raise ValidationError(f"Means nothing without expect: {verdict}.", field_name=name)

    @post_load
    def _make(self, body: Mapping[str, Any], **_: Any) -> Case:
        expires: timedelta | None = body.get("expires")
        return Case(
            name=body["name"],
            requester=body["requester"],
            request=written_request(
                user=body["subject"]["user"],
                groups=tuple(body["subject"]["groups"]),
                key_type=body["key_type"],
                expiration_seconds=None if expires is None else int(expires.total_seconds()),
                profile=body.get("profile"),
            ),
            expected=Expected(
                granted=body["expect"] == "granted",
                reasons=frozenset(body["reasons"]) if "reasons" in body else None,
                groups=frozenset(body["groups"]) if "groups" in body else None,
            ),
        )


class _PolicyTestSchema(StrictSchema):
    api_version = Text(data_key="apiVersion", required=True, validate=validate.Equal(API_VERSION))
    kind = Text(required=True, validate=validate.Equal("PolicyTest"))
    policy = Text(required=True)
    cases = fields.List(fields.Nested(_CaseSchema), required=True, validate=validate.Length(min=1))

    @post_load
    def _make(self, body: Mapping[str, Any], **_: Any) -> PolicyTest:
        return PolicyTest(policy_file=body["policy"], cases=tuple(body["cases"]))
