"""The shapes of what comes in over HTTP. What goes out is built by the views; tests hold it to openapi.yaml."""

import re
from datetime import UTC
from typing import Any, Final

from marshmallow import ValidationError, fields, validate

from kubemint.fields import StrictSchema, Text
from kubemint.ledger.reader import State
from kubemint.x509.request import EXPIRATION_MAX_SECONDS

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 500
_NAME_MAX: Final = 256
_DIGITS: Final = re.compile(r"[0-9]{1,18}", re.ASCII)

_seconds: Final = validate.Range(1, EXPIRATION_MAX_SECONDS)


class Digits(fields.Field[int]):
    """A whole number in a query string: ASCII digits and nothing else."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        if not isinstance(value, str) or not _DIGITS.fullmatch(value):
            raise ValidationError("Must be a whole number in digits.")
        return int(value)


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
