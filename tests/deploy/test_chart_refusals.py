"""Values that cannot be right are refused before anything reaches the cluster."""

from typing import Any

import pytest

from deploy.chart import Chart, ChartRefusedError

CERTIFICATE = {"name": "corp", "existingConfigMap": "corp-ca"}

MISTAKES: tuple[tuple[str, Any, str], ...] = (
    # More than one writer of the ledger.
    ("replicas", 2, "replicas must be 1"),
    ("replicas", 0, "replicas must be 1"),
    ("replicas", "1", "/replicas"),
    # What has no default.
    ("image.repository", "", "image.repository: name the image"),
    ("issuer.existingSecret", "", "issuer.existingSecret: name the Secret"),
    ("tls.existingSecret", "", "tls.existingSecret: name the Secret"),
    ("authentication.tokens.existingSecret", "", "nobody can prove who they are"),
    # A key in the values, where every reader of the release would find it.
    ("issuer.key", "-----BEGIN PRIVATE KEY-----", "'key' not allowed"),
    ("issuer.certificate", "-----BEGIN CERTIFICATE-----", "'certificate' not allowed"),
    ("tls.key", "-----BEGIN PRIVATE KEY-----", "'key' not allowed"),
    ("authentication.tokens.token", "secret", "'token' not allowed"),
    # Less protection than the chart gives.
    ("tls.enabled", False, "'enabled' not allowed"),
    ("server.plainHttp", True, "'plainHttp' not allowed"),
    ("securityContext", {"runAsUser": 0}, "'securityContext' not allowed"),
    ("podSecurityContext", {"runAsUser": 0}, "'podSecurityContext' not allowed"),
    ("hostNetwork", True, "'hostNetwork' not allowed"),
    ("serviceAccount.automountServiceAccountToken", True, "'automountServiceAccountToken' not allowed"),
    # Wrong names, kinds and ranges.
    ("polices", {}, "'polices' not allowed"),
    ("policy.profile", {}, "'profile' not allowed"),
    ("policy.profiles", ["developers"], "/policy/profiles"),
    ("policy.kind", "Configuration", "/policy/kind"),
    ("policy.apiVersion", "kubemint/v2", "/policy/apiVersion"),
    ("image.repository", "registry.example/kubemint:1.0", "/image/repository"),
    ("image.digest", "sha256:abc", "/image/digest"),
    ("image.tag", "not a tag", "/image/tag"),
    ("image.pullPolicy", "Sometimes", "/image/pullPolicy"),
    ("imagePullSecrets", ["login"], "/imagePullSecrets/0"),
    ("nameOverride", "Mint_1", "/nameOverride"),
    ("server.workers", 0, "/server/workers"),
    ("server.workers", 65, "/server/workers"),
    ("server.threads", 1.5, "/server/threads"),
    ("server.threads", 65, "/server/threads"),
    ("issuer.existingSecret", "ca\n  evil: true", "/issuer/existingSecret"),
    ("issuer.privateKeyKey", "../ca.key", "/issuer/privateKeyKey"),
    ("authentication.certificates", [{"name": "corp"}], "existingConfigMap"),
    (
        "authentication.certificates",
        [{**CERTIFICATE, "name": "../ca"}],
        "/authentication/certificates/0/name",
    ),
    ("authentication.certificates", [{**CERTIFICATE, "caFile": "/ca.crt"}], "'caFile' not allowed"),
    ("cluster.server", "http://203.0.113.10:6443", "/cluster/server"),
    ("cluster.server", "https://203.0.113.10:6443\nevil: true", "/cluster/server"),
    ("ledger.url", "postgresql://db/kubemint", "'url' not allowed"),
    ("ledger.size", "one gigabyte", "/ledger/size"),
    ("ledger.accessModes", ["ReadWriteMany"], "/ledger/accessModes/0"),
    ("service.type", "ExternalName", "/service/type"),
    ("service.port", 0, "/service/port"),
    ("networkPolicy.enabled", "yes", "/networkPolicy/enabled"),
    ("networkPolicy.from", [{}], "/networkPolicy/from/0"),
    ("networkPolicy.from", [{"namespaceSelectors": {}}], "'namespaceSelectors' not allowed"),
    ("networkPolicy.egress", [{}], "/networkPolicy/egress/0"),
    ("networkPolicy.egress", [{"ports": [{"port": 443}]}], "/networkPolicy/egress/0"),
    ("resources", {"limit": {"memory": "1Gi"}}, "'limit' not allowed"),
    ("podLabels", {"app.kubernetes.io/name": "other"}, "/podLabels"),
    ("podAnnotations", {"checksum/policy": "0"}, "/podAnnotations"),
)


@pytest.mark.parametrize(("key", "value", "message"), MISTAKES)
def test_mistake_is_refused_by_name(chart: Chart, key: str, value: Any, message: str) -> None:
    """Nothing is rendered, and the message names what is wrong."""
    with pytest.raises(ChartRefusedError) as refusal:
        chart.render(changes={key: value})
    assert message in str(refusal.value)


def test_minimal_values_are_accepted(chart: Chart) -> None:
    """The values that the mistakes above change render all objects."""
    assert chart.render().kinds() == [
        "ConfigMap",
        "Deployment",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "Service",
        "ServiceAccount",
    ]
