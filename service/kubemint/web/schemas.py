"""The shapes of what comes in over HTTP. What goes out is built by the views; tests hold it to openapi.yaml."""

import re
from collections.abc import Mapping
from datetime import UTC
from enum import StrEnum
from typing import Any, Final

from marshmallow import ValidationError, fields, validate, validates_schema

from kubemint.fields import StrictSchema, Text
from kubemint.ledger.reader import State
from kubemint.register import CurrentState
from kubemint.x509.request import EXPIRATION_MAX_SECONDS
from kubemint.x509.revocation import RevocationReason

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 500
_NAME_MAX: Final = 256
_REASON_MAX: Final = 1000
_DIGITS: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_SERIAL_NUMBER: Final = r"[0-9A-Fa-f:]{1,59}\Z"
_NO_SERIAL_NUMBER: Final = "Must be a serial number in hex."
_CREDENTIAL_ID: Final = r"X509SHA256=[0-9a-f]{64}\Z"
_NO_CREDENTIAL_ID: Final = "Must be X509SHA256= and 64 hex digits."

_seconds: Final = validate.Range(1, EXPIRATION_MAX_SECONDS)


class Digits(fields.Field[int]):
    """A whole number in a query string: ASCII digits and nothing else."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        if not isinstance(value, str) or not _DIGITS.fullmatch(value):
            raise ValidationError("Must be a whole number in digits.")
        return int(value)


class Flag(fields.Boolean):
    """`true` or `false`: to marshmallow alone, 1 and 1.0 are `true` as well."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class CertificateRequestSchema(StrictSchema):
    """The JSON body of POST /v1/certificates and POST /v1/decisions."""

    csr = Text(required=True)
    expiration_seconds = fields.Integer(data_key="expirationSeconds", strict=True, validate=_seconds)
    profile = Text(validate=validate.Length(max=_NAME_MAX))


class CertificateQuerySchema(StrictSchema):
    """What a PEM or DER body cannot say, as query parameters."""

    expiration_seconds = Digits(data_key="expirationSeconds", validate=_seconds)
    profile = Text(validate=validate.Length(max=_NAME_MAX))


class ProfileQuerySchema(StrictSchema):
    """What a CertificateSigningRequest object cannot say."""

    profile = Text(validate=validate.Length(max=_NAME_MAX))


class NothingSchema(StrictSchema):
    """No query parameters."""


class CertificateListSchema(StrictSchema):
    """The query of GET /v1/certificates."""

    user = Text()
    group = Text()
    requester = Text()
    profile = Text()
    state = fields.Enum(State, by_value=True)
    since = fields.AwareDateTime(format="iso", default_timezone=UTC)
    until = fields.AwareDateTime(format="iso", default_timezone=UTC)
    limit = Digits(load_default=PAGE_DEFAULT, validate=validate.Range(1, PAGE_MAX))
    cursor = Digits()


class RequestListSchema(StrictSchema):
    """The query of GET /v1/requests."""

    state = fields.Enum(CurrentState, by_value=True)
    limit = Digits(load_default=PAGE_DEFAULT, validate=validate.Range(1, PAGE_MAX))
    cursor = Digits()


class InclusionQuerySchema(StrictSchema):
    """The query of GET /v1/log/inclusion."""

    index = Digits()
    serial_number = Text(
        data_key="serialNumber", validate=validate.Regexp(_SERIAL_NUMBER, error=_NO_SERIAL_NUMBER)
    )
    credential_id = Text(
        data_key="credentialId", validate=validate.Regexp(_CREDENTIAL_ID, error=_NO_CREDENTIAL_ID)
    )
    size = Digits(validate=validate.Range(1))

    @validates_schema(skip_on_field_errors=True)
    def _one_entry(self, query: Mapping[str, Any], **_: Any) -> None:
        if len(query.keys() - {"size"}) != 1:
            raise ValidationError("Name the entry by one of index, serialNumber and credentialId.")


class ConsistencyQuerySchema(StrictSchema):
    """The query of GET /v1/log/consistency."""

    old_size = Digits(data_key="from", required=True)
    new_size = Digits(data_key="to")

    @validates_schema(skip_on_field_errors=True)
    def _grows(self, query: Mapping[str, Any], **_: Any) -> None:
        if query["old_size"] > query.get("new_size", query["old_size"]):
            raise ValidationError("Must not be more than to.", field_name="from")


class SelectorSchema(StrictSchema):
    """Which certificates are meant: all that are given must fit."""

    serial_number = Text(data_key="serialNumber", validate=validate.Regexp(r"^[0-9a-f]{1,40}\Z"))
    credential_id = Text(data_key="credentialId", validate=validate.Regexp(r"^X509SHA256=[0-9a-f]{64}\Z"))
    user = Text(validate=validate.Length(max=_NAME_MAX))
    group = Text(validate=validate.Length(max=_NAME_MAX))
    public_key_sha256 = Text(data_key="publicKeySha256", validate=validate.Regexp(r"^[0-9a-f]{64}\Z"))
    requester = Text(validate=validate.Length(max=_REASON_MAX))
    profile = Text(validate=validate.Length(max=_NAME_MAX))
    # Taken without a zone, too, and refused with the reason: a guess may be hours wide of what is meant.
    issued_since = fields.DateTime(data_key="issuedSince", format="iso")
    issued_until = fields.DateTime(data_key="issuedUntil", format="iso")


class RevocationSchema(StrictSchema):
    """The JSON body of POST /v1/revocations."""

    select = fields.Nested(SelectorSchema, required=True)
    reason = fields.Enum(RevocationReason, by_value=True, load_default=RevocationReason.UNSPECIFIED)
    note = Text(validate=validate.Length(max=_REASON_MAX), load_default="")
    suspend_until = fields.DateTime(data_key="suspendUntil", format="iso")  # with its zone, as those above
    preview = Flag(load_default=False)


class KeyRevocationSchema(StrictSchema):
    """The JSON body of POST /v1/revocations/by-key."""

    csr = Text(required=True)
    note = Text(validate=validate.Length(max=_REASON_MAX), load_default="")


class LiftSchema(StrictSchema):
    """The JSON body of POST /v1/revocations/{identifier}/lift."""

    note = Text(validate=validate.Length(max=_REASON_MAX), load_default="")


class RevocationListSchema(StrictSchema):
    """The query of GET /v1/revocations."""

    limit = Digits(load_default=PAGE_DEFAULT, validate=validate.Range(1, PAGE_MAX))
    cursor = Digits()


class VerdictKind(StrEnum):
    """What an operator may say of a request."""

    APPROVE = "approve"
    DENY = "deny"


class VerdictSchema(StrictSchema):
    """The JSON body of POST /v1/requests/{identifier}/approval."""

    verdict = fields.Enum(VerdictKind, by_value=True, required=True)
    digest = Text(required=True, validate=validate.Regexp(r"^sha256:[0-9a-f]{64}\Z", error="Must be a digest."))
    reason = Text(validate=validate.Length(max=_REASON_MAX))

    @validates_schema(skip_on_field_errors=True)
    def _denied_for_a_reason(self, body: Mapping[str, Any], **_: Any) -> None:
        if body["verdict"] is VerdictKind.DENY and "reason" not in body:
            raise ValidationError("Is needed to deny.", field_name="reason")
