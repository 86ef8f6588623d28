"""From the policy file to a `Policy`: every mistake at once, each with its path.

What would make the file mean more than it says does not load: an unknown key, a pattern that could
hand out a reserved name, `system:masters` anywhere (promises P2 and P6).
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from kubemint.errors import ConfigurationError
from kubemint.fields import Duration, NamedEntries, StrictSchema, Text, problem_lines
from kubemint.policy.claims import ClaimRule, Pattern, template_problem
from kubemint.policy.rules import (
    FORBIDDEN_NAMES,
    CertificateRule,
    KubernetesRule,
    Limits,
    OidcRule,
    Policy,
    Profile,
    ProfileApproval,
    ProfileQuota,
    RequesterRule,
    Roles,
    TokenRule,
    is_own,
    is_reserved,
)
from kubemint.x509.keys import KEY_TYPES
from kubemint.x509.names import name_reasons

API_VERSION: Final = "kubemint/v1"
DEFAULT_MAX_LIFETIME: Final = timedelta(hours=24)
DEFAULT_APPROVAL_WITHIN: Final = timedelta(hours=24)
APPROVALS_MAX: Final = 5
QUOTA_MAX: Final = 1_000_000

_PROFILE_NAME: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"  # a DNS label, as Kubernetes names things


def load_policy(document: Any, text: bytes, source: str) -> Policy:
    """Make a policy from a parsed file; `text` is the file's bytes, which its version is the digest of.

    Raises:
        ConfigurationError: with every mistake in the file.
    """
    try:
        loaded: dict[str, Any] = _PolicySchema().load(document)
    except ValidationError as fault:
        lines = [f"{path}: {message}" if path else message for path, message in problem_lines(fault.messages)]
        raise ConfigurationError(source, lines) from None
    limits: Limits = loaded["limits"]
    profiles = tuple(_profile(name, body, limits) for name, body in loaded["profiles"].items())
    if problems := [problem for profile in profiles for problem in _reserved_problems(profile)]:
        raise ConfigurationError(source, problems)
    version = "sha256:" + hashlib.sha256(text).hexdigest()
    return Policy(version=version, limits=limits, profiles=profiles, roles=loaded["roles"])


_TEXT: Final = Text()


def _read_name(value: Any) -> str:
    """Read a name or a pattern of names: Unicode text, and never what nobody may have."""
    if not isinstance(value, str) or not value:
        raise ValidationError("Must be a name, in which '*' stands for anything.")
    name: str = _TEXT.deserialize(value)
    if name.strip().casefold() in FORBIDDEN_NAMES:
        raise ValidationError(f"{name!r} is never given to anybody; take it out.")
    if is_own(name):
        raise ValidationError(f"{name!r} begins like the names that this service gives by itself; take it out.")
    return name


def _check_reserved(name: str) -> None:
    """One exact name."""
    _read_name(name)
    if any(character in "*{}" for character in name):
        raise ValidationError(f"{name!r} must be an exact name, without '*', '{{' or '}}'.")
    _check_signable(name)


def _check_signable(name: str) -> None:
    """What no CSR may hold no certificate gets, and a name that nobody can have is a mistake."""
    for reason in name_reasons(name, "the name"):
        raise ValidationError(f"{name!r} is never signed: {reason.message}.")


class _Pattern(fields.Field[Pattern]):
    """A name with `*`, without placeholders: what a requester must be, not what it may be called."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Pattern:
        text = _read_name(value)
        if "{" in text or "}" in text:
            raise ValidationError(f"{text!r} has a brace; placeholders belong into users, groups and required.")
        return Pattern(text)


class _Template(fields.Field[Pattern]):
    """A name that may be handed out, with `*` (unless it is exact) and `{claims.NAME}`."""

    def __init__(self, *, exact: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._exact = exact

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Pattern:
        text = _read_name(value)
        if problem := template_problem(text):
            raise ValidationError(problem)
        pattern = Pattern(text)
        if self._exact and "*" in text:
            raise ValidationError(f"{text!r} must be an exact name, without '*'.")
        if is_reserved(text) and ("*" in text or pattern.placeholders):
            raise ValidationError(f"{text!r} is a pattern over reserved names; list each name exactly.")
        if "*" not in text and not pattern.placeholders:
            _check_signable(text)
        return pattern


class ClaimValue(fields.Field[tuple[Pattern | bool | int, ...]]):
    """What a claim must be: text with `*`, true or false, a whole number, or a list of these."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[Pattern | bool | int, ...]:
        wanted = value if isinstance(value, list) else [value]
        if not wanted or not all(isinstance(item, str | bool | int) and item != "" for item in wanted):
            raise ValidationError("Must be text, true or false, a whole number, or a list of these.")
        return tuple(self._pattern(item) if isinstance(item, str) else item for item in wanted)

    @staticmethod
    def _pattern(text: str) -> Pattern:
        pattern = Pattern(_read_name(text))
        if pattern.placeholders:
            raise ValidationError(f"{text!r} has a placeholder; these belong into users, groups and required.")
        return pattern


_KINDS: Final = {
    "token": (),
    "certificate": ("common_name", "organization", "uri", "dns_name"),
    "oidc": ("claims",),
    "kubernetes": ("namespace", "service_account"),
}


class RequesterSchema(StrictSchema):
    """Who is meant, in a policy and wherever else a requester is told apart."""

    token = Text()
    certificate = Text()
    common_name = _Pattern(data_key="commonName")
    organization = _Pattern()
    uri = _Pattern()
    dns_name = _Pattern(data_key="dnsName")
    oidc = Text()
    claims = NamedEntries(keys=Text(), values=ClaimValue())
    kubernetes = Text()
    namespace = _Pattern()
    service_account = _Pattern(data_key="serviceAccount")

    @validates_schema
    def _one_kind(self, body: Mapping[str, Any], **_: Any) -> None:
        kinds = body.keys() & _KINDS.keys()
        if len(kinds) != 1:
            raise ValidationError(f"Must name one of: {', '.join(_KINDS)}.")
        (kind,) = kinds
        for name in body.keys() - {kind, *_KINDS[kind]}:
            raise ValidationError(f"Does not belong to {kind}.", field_name=self.fields[name].data_key or name)

    @post_load
    def _make(self, body: Mapping[str, Any], **_: Any) -> RequesterRule:
        if "token" in body:
            return TokenRule(**body)
        if "certificate" in body:
            return CertificateRule(**body)
        if "kubernetes" in body:
            return KubernetesRule(**body)
        claims = tuple(ClaimRule(path=path, wanted=wanted) for path, wanted in body.get("claims", {}).items())
        return OidcRule(oidc=body["oidc"], claims=claims)


class _RenewalSchema(StrictSchema):
    duration = Duration(data_key="for", required=True)


class _QuotaSchema(StrictSchema):
    certificates = fields.Integer(strict=True, required=True, validate=validate.Range(1, QUOTA_MAX))
    per = Duration(required=True)

    @post_load
    def _make(self, body: Mapping[str, Any], **_: Any) -> ProfileQuota:
        return ProfileQuota(**body)


class _LifetimeSchema(StrictSchema):
    default = Duration(required=True)
    max = Duration(required=True)

    @validates_schema(skip_on_field_errors=True)
    def _ordered(self, body: Mapping[str, timedelta], **_: Any) -> None:
        if body["default"] > body["max"]:
            raise ValidationError("Must not be longer than max.", field_name="default")


def _keys(**options: Any) -> fields.List[str]:
    return fields.List(Text(validate=validate.OneOf(KEY_TYPES)), **options)


class _LimitsSchema(StrictSchema):
    max_lifetime = Duration(data_key="maxLifetime", load_default=DEFAULT_MAX_LIFETIME)
    keys = _keys(load_default=list(KEY_TYPES))

    @post_load
    def _make(self, body: Mapping[str, Any], **_: Any) -> Limits:
        return Limits(max_lifetime=body["max_lifetime"], keys=frozenset(body["keys"]))


class _ProfileSchema(StrictSchema):
    requesters = fields.List(fields.Nested(RequesterSchema), required=True)
    users = fields.List(_Template(), required=True)
    groups = fields.List(_Template(), load_default=list)
    required = fields.List(_Template(exact=True), load_default=list)
    reserved = fields.List(Text(validate=_check_reserved), load_default=list)
    lifetime = fields.Nested(_LifetimeSchema, required=True)
    keys = _keys()
    renewal = fields.Nested(_RenewalSchema)
    quota = fields.Nested(_QuotaSchema)
    approval = Text(validate=validate.Equal("required", error="Must be: required."))
    approvals = fields.Integer(strict=True, validate=validate.Range(1, APPROVALS_MAX))
    approval_within = Duration(data_key="approvalWithin")
    credential_group = fields.Boolean(data_key="credentialGroup", load_default=False, truthy={True}, falsy={False})

    @validates_schema
    def _approval(self, body: Mapping[str, Any], **_: Any) -> None:
        for name, data_key in (("approvals", "approvals"), ("approval_within", "approvalWithin")):
            if name in body and "approval" not in body:
                raise ValidationError("Means nothing without approval: required.", field_name=data_key)


class _RolesSchema(StrictSchema):
    auditor = fields.List(fields.Nested(RequesterSchema), load_default=list)
    operator = fields.List(fields.Nested(RequesterSchema), load_default=list)
    webhook = fields.List(fields.Nested(RequesterSchema), load_default=list)

    @post_load
    def _make(self, body: Mapping[str, Any], **_: Any) -> Roles:
        return Roles(
            auditors=tuple(body["auditor"]), operators=tuple(body["operator"]), webhooks=tuple(body["webhook"])
        )


class _PolicySchema(StrictSchema):
    api_version = Text(data_key="apiVersion", required=True, validate=validate.Equal(API_VERSION))
    kind = Text(required=True, validate=validate.Equal("Policy"))
    limits = fields.Nested(_LimitsSchema, load_default=lambda: _LimitsSchema().load({}))
    profiles = NamedEntries(
        keys=Text(
            validate=validate.Regexp(f"^{_PROFILE_NAME}\\Z", error="Must be lower-case letters, digits and '-'.")
        ),
        values=fields.Nested(_ProfileSchema),
        required=True,
    )
    roles = fields.Nested(_RolesSchema, load_default=Roles)


def _profile(name: str, body: Mapping[str, Any], limits: Limits) -> Profile:
    renewal = body.get("renewal")
    return Profile(
        name=name,
        requesters=tuple(body["requesters"]),
        users=tuple(body["users"]),
        groups=tuple(body["groups"]),
        required=tuple(body["required"]),
        reserved=frozenset(body["reserved"]),
        default_lifetime=body["lifetime"]["default"],
        max_lifetime=body["lifetime"]["max"],
        keys=frozenset(body.get("keys", limits.keys)),
        renewal=renewal["duration"] if renewal else None,
        quota=body.get("quota"),
        approval=_approval(body),
        credential_group=body["credential_group"],
    )


def _approval(body: Mapping[str, Any]) -> ProfileApproval | None:
    if "approval" not in body:
        return None
    within = body.get("approval_within", DEFAULT_APPROVAL_WITHIN)
    return ProfileApproval(approvals=body.get("approvals", 1), within=within)


def _reserved_problems(profile: Profile) -> Iterator[str]:
    """A reserved name is given only if a pattern allows it and `reserved` lists it: both, or the file is wrong."""
    patterns = (*profile.users, *profile.groups, *profile.required)
    for pattern in patterns:
        if is_reserved(pattern.text) and pattern.text not in profile.reserved:
            yield f"{profile.path}: {pattern.text!r} is a reserved name; list it under reserved too"
    for name in sorted(profile.reserved):
        if not any(pattern.matches(name) for pattern in patterns):
            yield f"{profile.path}.reserved: {name!r} is allowed by none of users, groups and required"
