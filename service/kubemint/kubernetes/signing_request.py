"""The `certificates.k8s.io/v1` CertificateSigningRequest object, checked as Kubernetes checks it.

Rules from k8s.io/kubernetes pkg/apis/certificates/validation and, for the one signer that there is,
pkg/controller/certificates/signer: usages unique and known, `client auth` among them, and beside it at
most what an API server's client needs; `expirationSeconds` at least 600.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

from marshmallow import INCLUDE, Schema, ValidationError, fields, validate

from kubemint.fields import StrictSchema, Text
from kubemint.x509.request import EXPIRATION_MAX_SECONDS, CsrEncoding, Submission

SIGNER_NAME: Final = "kubernetes.io/kube-apiserver-client"
EXPIRATION_MIN_SECONDS: Final = 600  # certificates.k8s.io/v1, spec.expirationSeconds

_USAGES: Final = ("client auth", "digital signature", "key encipherment")


def is_signing_request(document: object) -> bool:
    """Tell a Kubernetes object from our own JSON."""
    return isinstance(document, Mapping) and ("kind" in document or "apiVersion" in document)


def read_signing_request(document: Any, profile: str | None) -> Submission:
    """Read the object; the CSR in it is left for `kubemint.x509.request` to judge.

    Raises:
        marshmallow.ValidationError: with the path of each mistake.
    """
    spec = _SigningRequestSchema().load(document)["spec"]
    return Submission(
        csr=spec["request"],
        encoding=CsrEncoding.PEM,
        expiration_seconds=spec.get("expiration_seconds"),
        profile=profile,
    )


class _Base64(fields.Field[bytes]):
    """Octets as Kubernetes' JSON has them."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bytes:
        if not isinstance(value, str):
            raise ValidationError("Must be a string in base64.")
        try:
            return base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            raise ValidationError("Must be base64 of a CSR in PEM.") from None


def _check_usages(usages: Sequence[str]) -> None:
    if len(set(usages)) != len(usages):
        raise ValidationError("Must not repeat a usage.")
    if "client auth" not in usages:
        raise ValidationError("Must include 'client auth'.")
    if unknown := [usage for usage in usages if usage not in _USAGES]:
        raise ValidationError(f"{SIGNER_NAME} does not allow {', '.join(map(repr, unknown))}.")


class _MetadataSchema(Schema):
    """Names, labels and annotations: the requester's own, read by nobody here."""

    class Meta:
        """marshmallow's options."""

        unknown = INCLUDE


class _SpecSchema(StrictSchema):
    request = _Base64(required=True)
    signer_name = Text(data_key="signerName", required=True, validate=validate.Equal(SIGNER_NAME))
    usages = fields.List(Text(), required=True, validate=[validate.Length(min=1), _check_usages])
    expiration_seconds = fields.Integer(
        data_key="expirationSeconds",
        strict=True,
        validate=validate.Range(EXPIRATION_MIN_SECONDS, EXPIRATION_MAX_SECONDS),
    )


class _SigningRequestSchema(StrictSchema):
    api_version = Text(data_key="apiVersion", required=True, validate=validate.Equal("certificates.k8s.io/v1"))
    kind = Text(required=True, validate=validate.Equal("CertificateSigningRequest"))
    metadata = fields.Nested(_MetadataSchema)
    spec = fields.Nested(_SpecSchema, required=True)
