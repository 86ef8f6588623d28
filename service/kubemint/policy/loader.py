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
from kubemint.policy.rules import (
    FORBIDDEN_NAMES,
    CertificateRule,
    Limits,
    Pattern,
    Policy,
    Profile,
    RequesterRule,
    Roles,
    TokenRule,
    is_reserved,
)
from kubemint.x509.keys import KEY_TYPES

API_VERSION: Final = "kubemint/v1"
DEFAULT_MAX_LIFETIME: Final = timedelta(hours=24)

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


def policy_warnings(policy: Policy) -> Iterator[str]:
    """Yield what loads, and what a reviewer should know."""
    for profile in policy.profiles:
        if any("*" in pattern.text for pattern in profile.users):
            yield f"{profile.path}.users: a requester may choose the user name; nothing binds it to who asks"
        if profile.max_lifetime > policy.limits.max_lifetime:
            yield f"{profile.path}.lifetime.max: above limits.maxLifetime, which is what counts"
        if not profile.requesters:
            yield f"{profile.path}.requesters: empty, so that nobody can use the profile"


def _check_name(name: str) -> None:
    """One exact name."""
    if name.strip().casefold() in FORBIDDEN_NAMES:
        raise ValidationError(f"{name!r} is never given to anybody; take it out.")
    if any(character in "*{}" for character in name):
        raise ValidationError(f"{name!r} must be an exact name, without '*', '{{' or '}}'.")


class _Pattern(fields.Field[Pattern]):
    """A name with `*`. Braces are kept for templates and refused until they mean something."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Pattern:
        if not isinstance(value, str) or not value:
            raise ValidationError("Must be a name, in which '*' stands for anything.")
        if value.strip().casefold() in FORBIDDEN_NAMES:
            raise ValidationError(f"{value!r} is never given to anybody; take it out.")
        if "{" in value or "}" in value:
            raise ValidationError(f"{value!r} has a brace; templates are not supported.")
        if "*" in value and is_reserved(value):
            raise ValidationError(f"{value!r} is a pattern over reserved names; list each name exactly.")
        return Pattern(value)


class _RequesterSchema(StrictSchema):
    token = Text()
    certificate = Text()
    common_name = _Pattern(data_key="commonName")
    organization = _Pattern()

    @validates_schema
    def _one_kind(self, body: Mapping[str, Any], **_: Any) -> None:
        if ("token" in body) == ("certificate" in body):
            raise ValidationError("Must name one of: token, certificate.")
        if "token" in body and len(body) > 1:
            raise ValidationError("A token has no commonName and no organization.")

    @post_load
    def _make(self, body: Mapping[str, Any], **_: Any) -> RequesterRule:
        if "token" in body:
            return TokenRule(token=body["token"])
        return CertificateRule(
            certificate=body["certificate"],
            common_name=body.get("common_name"),
            organization=body.get("organization"),
        )


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
    requesters = fields.List(fields.Nested(_RequesterSchema), required=True)
    users = fields.List(_Pattern(), required=True)
    groups = fields.List(_Pattern(), load_default=list)
    reserved = fields.List(Text(validate=_check_name), load_default=list)
    lifetime = fields.Nested(_LifetimeSchema, required=True)
    keys = _keys()


class _RolesSchema(StrictSchema):
    auditor = fields.List(fields.Nested(_RequesterSchema), load_default=list)
    operator = fields.List(fields.Nested(_RequesterSchema), load_default=list)

    @post_load
    def _make(self, body: Mapping[str, Any], **_: Any) -> Roles:
        return Roles(auditors=tuple(body["auditor"]), operators=tuple(body["operator"]))


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
    return Profile(
        name=name,
        requesters=tuple(body["requesters"]),
        users=tuple(body["users"]),
        groups=tuple(body["groups"]),
        reserved=frozenset(body["reserved"]),
        default_lifetime=body["lifetime"]["default"],
        max_lifetime=body["lifetime"]["max"],
        keys=frozenset(body.get("keys", limits.keys)),
    )


def _reserved_problems(profile: Profile) -> Iterator[str]:
    """A reserved name is given only if a pattern allows it and `reserved` lists it: both, or the file is wrong."""
    patterns = (*profile.users, *profile.groups)
    for pattern in patterns:
        if is_reserved(pattern.text) and pattern.text not in profile.reserved:
            yield f"{profile.path}: {pattern.text!r} is a reserved name; list it under reserved too"
    for name in sorted(profile.reserved):
        if not any(pattern.matches(name) for pattern in patterns):
            yield f"{profile.path}.reserved: {name!r} is allowed by none of users and groups"
