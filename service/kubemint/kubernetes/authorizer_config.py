"""What a cluster's administrator gives to kube-apiserver, so that it asks this service about certificates.

The text is written for its reader: each choice stands beside what it risks. Rules from KEP-3221 and
k8s.io/apiserver pkg/apis/apiserver/{v1/types.go,validation/validation.go}; flags from kube-apiserver(8).
"""

import base64
import json
import re
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, assert_never
from urllib.parse import urlsplit

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kubemint.errors import ConfigurationError
from kubemint.kubernetes.access_review import CREDENTIAL_ID_KEY, SERIAL_GROUP_PREFIX
from kubemint.x509.certificate import CREDENTIAL_ID_PREFIX

UNAUTHORIZED_TTL: Final = timedelta(seconds=10)
UNAUTHORIZED_TTL_MAX: Final = timedelta(minutes=5)  # ours: so long would a revoked certificate go on

# All must be true for the webhook to be asked. `has` because servers before 1.32 leave out what is empty,
# and a condition that fails to evaluate is decided by failurePolicy.
MATCH_CONDITIONS: Final = (
    "!(has(request.groups) && 'system:nodes' in request.groups)",
    "!(has(request.user) && request.user in ['system:kube-controller-manager', 'system:kube-scheduler'])",
    f"(has(request.extra) && '{CREDENTIAL_ID_KEY}' in request.extra"
    f" && request.extra['{CREDENTIAL_ID_KEY}'].exists(id, id.startsWith('{CREDENTIAL_ID_PREFIX}')))"
    f" || (has(request.groups) && request.groups.exists(group, group.startsWith('{SERIAL_GROUP_PREFIX}')))",
)

_ABSOLUTE_PATH: Final = re.compile(r"/[!-~]+( [!-~]+)*")
_ADDRESS: Final = re.compile(r"https://[!-~]+")


class FailurePolicy(StrEnum):
    """What the API server does when this service does not answer in time."""

    NO_OPINION = "NoOpinion"
    DENY = "Deny"


def authorization_configuration(
    *, kubeconfig_file: str, failure_policy: FailurePolicy, unauthorized_ttl: timedelta = UNAUTHORIZED_TTL
) -> str:
    """Write the YAML for `--authorization-config` of API servers from 1.32 on.

    `kubeconfig_file` is where the text of `webhook_kubeconfig` lies on the API server's machine. A revoked
    certificate goes on for at most `unauthorized_ttl`, of whole seconds.

    Raises:
        ConfigurationError: a value that the API server would refuse, or understand as another.
    """
    file = checked_path(kubeconfig_file, "kubeconfig file")
    seconds = _checked_seconds(unauthorized_ttl)
    risk = _wrapped(_risk_of(failure_policy))
    nodes, controllers, certificates = (json.dumps(condition) for condition in MATCH_CONDITIONS)
    return _CONFIGURATION.format(
        seconds=seconds,
        risk=risk,
        failure_policy=failure_policy.value,
        file=json.dumps(file),
        nodes=nodes,
        controllers=controllers,
        certificates=certificates,
    )


def legacy_flags(*, kubeconfig_file: str, unauthorized_ttl: timedelta = UNAUTHORIZED_TTL) -> tuple[str, ...]:
    """Give the flags for API servers before 1.32, which know no credential ids and no conditions.

    Certificates must carry the group `kubemint:serial:<hex>` there. Node comes first so that kubelets are
    allowed without a call; it has no opinion on anybody else. The webhook is then asked about every other
    request, the control plane's too, and when it does not answer the API server waits for up to 30 s and
    goes on to RBAC: an outage fails open, slowly, and cannot be made to fail closed.

    Raises:
        ConfigurationError: as `authorization_configuration`.
    """
    return (
        "--authorization-mode=Node,Webhook,RBAC",
        f"--authorization-webhook-config-file={checked_path(kubeconfig_file, 'kubeconfig file')}",
        "--authorization-webhook-version=v1",
        f"--authorization-webhook-cache-unauthorized-ttl={_checked_seconds(unauthorized_ttl)}s",
    )


def webhook_kubeconfig(
    *,
    server_url: str,
    ca_pem: bytes,
    token_file: str | None = None,
    client_certificate_file: str | None = None,
    client_key_file: str | None = None,
) -> str:
    """Write the kubeconfig with which an API server finds this service, and proves itself to it.

    `server_url` is the whole address that is posted to. The files are paths on the API server's machine:
    either a token, or a client certificate and its key.

    Raises:
        ConfigurationError: no HTTPS address, no certificate in `ca_pem`, a path that is not absolute, or
            no proof or two.
    """
    cluster = {
        "server": _checked_address(server_url),
        "certificate-authority-data": base64.b64encode(_checked_ca(ca_pem)).decode(),
    }
    user = _credentials(token_file, client_certificate_file, client_key_file)
    return kubeconfig_text(cluster, user, "kube-apiserver")


def kubeconfig_text(cluster: dict[str, str], user: dict[str, str], user_name: str) -> str:
    """Write a kubeconfig of one cluster, called kubemint, and one user."""
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kubemint", "cluster": cluster}],
        "users": [{"name": user_name, "user": user}],
        "contexts": [{"name": "kubemint", "context": {"cluster": "kubemint", "user": user_name}}],
        "current-context": "kubemint",
    }
    return yaml.safe_dump(document, sort_keys=False, width=2**20)


def checked_path(file: str, name: str) -> str:
    """Keep a path that means the same wherever it is read from.

    Raises:
        ConfigurationError: it is not absolute, or holds what YAML or a shell would have to escape.
    """
    if not _ABSOLUTE_PATH.fullmatch(file):
        raise ConfigurationError(name, ["must be an absolute path, in printable ASCII"])
    return file


def _risk_of(failure_policy: FailurePolicy) -> str:
    match failure_policy:
        case FailurePolicy.NO_OPINION:
            return (
                "What happens while kubemint does not answer. NoOpinion: RBAC decides, so the cluster goes on, and"
                " revoked certificates with it. Deny would refuse every holder of a certificate instead."
            )
        case FailurePolicy.DENY:
            return (
                "What happens while kubemint does not answer. Deny: every request with a certificate is refused,"
                " kubeadm's admin.conf too; a certificate in system:masters, such as super-admin.conf, is the way"
                " back in. NoOpinion would let revoked certificates in instead."
            )
    assert_never(failure_policy)


def _wrapped(comment: str) -> str:
    """Lay a comment out at the depth of the webhook's fields."""
    lines, line = [], ""
    for word in comment.split():
        if len(line) + len(word) > 100:
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\n".join(f"      #{text}" for text in [*lines, line])


def _credentials(token: str | None, certificate: str | None, key: str | None) -> dict[str, str]:
    if bool(certificate) != bool(key):
        raise ConfigurationError("webhook kubeconfig", ["client certificate and client key go together"])
    if bool(token) == bool(certificate):
        raise ConfigurationError("webhook kubeconfig", ["needs a token file, or a client certificate and its key"])
    files = {"tokenFile": token, "client-certificate": certificate, "client-key": key}
    return {name: checked_path(file, name) for name, file in files.items() if file}


def _checked_seconds(ttl: timedelta) -> int:
    if not timedelta(seconds=1) <= ttl <= UNAUTHORIZED_TTL_MAX or ttl % timedelta(seconds=1):
        raise ConfigurationError("unauthorized TTL", ["must be whole seconds, from 1s to 5m"])
    return int(ttl.total_seconds())


def _checked_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and parts.port != 0 and not (parts.username or parts.query or parts.fragment)
    except ValueError:
        sound = False
    if not sound or not _ADDRESS.fullmatch(url):
        raise ConfigurationError("server", ["must be https://HOST[:PORT]/PATH, in ASCII"])
    return url


def _checked_ca(pem: bytes) -> bytes:
    """Keep the certificates alone: a key that lies in the same file stays where it is."""
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ConfigurationError("certificate authority", ["holds no certificate in PEM"]) from None
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


_CONFIGURATION: Final = """\
# For kube-apiserver 1.32 and later: --authorization-config=THIS FILE, in place of --authorization-mode and of
# every --authorization-webhook flag. Give it to each API server; a change is read within a minute.
# Whoever is in system:masters is let through before any authorizer: those certificates cannot be revoked.
apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
  # First, because the first that allows has decided: after RBAC it would never be asked about a permission.
  - type: Webhook
    name: kubemint
    webhook:
      # Longer holds each request up for longer when kubemint is slow; at most 30s.
      timeout: 3s
      # Never used: kubemint answers "denied" or "no opinion", and allows nothing. The field must be there.
      authorizedTTL: {seconds}s
      # "No opinion" is cached for this long, so a revoked certificate goes on for this long at most. Shorter
      # asks more often. 0s would not mean 0: it would mean the default of 30s.
      unauthorizedTTL: {seconds}s
      subjectAccessReviewVersion: v1
      matchConditionSubjectAccessReviewVersion: v1
{risk}
      failurePolicy: {failure_policy}
      connectionInfo:
        type: KubeConfigFile
        kubeConfigFile: {file}
      # All must be true for kubemint to be asked; tokens and service accounts never wait for it.
      matchConditions:
        # Kubelets are left alone, so that no outage here stops the nodes. A certificate in system:nodes
        # can therefore not be revoked; the policy grants that group to nobody unless it is reserved by name.
        - expression: {nodes}
        # Nor does an outage stop the control plane, which has certificates too. The same holds for these names.
        - expression: {controllers}
        # A certificate, by the id that the API server gives it, or by the group with its serial number.
        - expression: {certificates}
  - type: Node
    name: node
  - type: RBAC
    name: rbac
"""
