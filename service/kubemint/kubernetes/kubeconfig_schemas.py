"""What may stand in a kubeconfig (client-go tools/clientcmd/api/v1, types.go), and what stops the start.

Only the current context, cluster and user are held to these: other entries are somebody else's.
"""

from typing import Any

from marshmallow import ValidationError, fields, validate

from kubemint.fields import StrictSchema, Text


class KubeconfigSchema(StrictSchema):
    """The file: its entries are not looked into."""

    api_version = fields.Raw(data_key="apiVersion")
    kind = fields.Raw(allow_none=True)
    preferences = fields.Raw(allow_none=True)
    extensions = fields.Raw(allow_none=True)
    current_context = Text(data_key="current-context", required=True)
    contexts = fields.List(fields.Dict(), required=True)
    clusters = fields.List(fields.Dict(), required=True)
    users = fields.List(fields.Dict(), required=True)


class ContextSchema(StrictSchema):
    """A context: which user of which cluster."""

    cluster = Text(required=True)
    user = Text(required=True)
    namespace = fields.Raw(allow_none=True)
    extensions = fields.Raw(allow_none=True)


def _never(message: str) -> fields.Field[Any]:
    def refuse(value: Any) -> None:
        if value not in (None, False, "", [], {}):
            raise ValidationError(message)

    return fields.Raw(allow_none=True, validate=refuse)


# Kubernetes' names have hyphens, so they are no attributes.
ClusterSchema = StrictSchema.from_dict(
    {
        "server": Text(required=True),
        "certificate-authority": Text(),
        "certificate-authority-data": Text(),
        "tls-server-name": Text(),
        "disable-compression": fields.Raw(allow_none=True),
        "extensions": fields.Raw(allow_none=True),
        "insecure-skip-tls-verify": _never("The API server must be verified."),
        "proxy-url": _never("A proxy is not supported."),
    },
    name="ClusterSchema",
)
UserSchema = StrictSchema.from_dict(
    {
        "client-certificate": Text(),
        "client-certificate-data": Text(),
        "client-key": Text(),
        "client-key-data": Text(),
        "token": Text(validate=validate.Regexp(r"^[!-~]+\Z", error="Must be printable ASCII.")),
        "tokenFile": Text(),
        "extensions": fields.Raw(allow_none=True),
        "exec": _never("No program is run to get a credential: use a client certificate, token or tokenFile."),
        "auth-provider": _never("Is not supported: use a client certificate, token or tokenFile."),
        **{name: _never("Is not supported.") for name in ("username", "password", "as", "as-uid", "as-groups")},
        "as-user-extra": _never("Is not supported."),
    },
    name="UserSchema",
)
