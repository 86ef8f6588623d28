"""Values that cannot be right are refused before anything reaches the cluster."""

from typing import Any

import pytest

from deploy.chart import Chart, ChartRefusedError

CERTIFICATE = {"name": "corp", "existingConfigMap": "corp-ca"}
OIDC = {"name": "ci", "issuer": "https://ci.example", "audiences": ["kubemint"]}
CLUSTER = {"name": "own", "issuer": "https://kubernetes.default.svc", "audience": "kubemint", "inCluster": True}
KEYS = {"existingConfigMap": "the-keys"}

MISTAKES: tuple[tuple[str, Any, str], ...] = (
    ("replicas", 0, "replicas must be 1 or more"),
    ("replicas", -1, "replicas must be 1 or more"),
    ("replicas", "1", "/replicas"),
    ("replicas", 65, "/replicas"),
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
    ("authentication.certificates", [CERTIFICATE, CERTIFICATE], "authentication.certificates: two are named corp"),
    # Token issuers that nobody could trust, or that say two things at once.
    ("authentication.oidc", [{**OIDC, "issuer": "http://ci.example"}], "/authentication/oidc/0/issuer"),
    ("authentication.oidc", [{**OIDC, "issuer": "https://ci.example?a=b"}], "/authentication/oidc/0/issuer"),
    ("authentication.oidc", [{**OIDC, "issuer": "https://ci@evil.example"}], "/authentication/oidc/0/issuer"),
    ("authentication.oidc", [{**OIDC, "issuer": "https://ci.example/\nevil: 1"}], "/authentication/oidc/0/issuer"),
    ("authentication.oidc", [{**OIDC, "jwksUri": "http://ci.example/keys"}], "/authentication/oidc/0/jwksUri"),
    ("authentication.oidc", [{**OIDC, "audiences": []}], "/authentication/oidc/0/audiences"),
    ("authentication.oidc", [{"name": "ci", "issuer": "https://ci.example"}], "audiences"),
    ("authentication.oidc", [{**OIDC, "name": "../ci"}], "/authentication/oidc/0/name"),
    ("authentication.oidc", [{**OIDC, "algorithms": ["HS256"]}], "/authentication/oidc/0/algorithms/0"),
    ("authentication.oidc", [{**OIDC, "algorithms": ["none"]}], "/authentication/oidc/0/algorithms/0"),
    ("authentication.oidc", [{**OIDC, "leeway": "30"}], "/authentication/oidc/0/leeway"),
    ("authentication.oidc", [{**OIDC, "requiredClaims": {"a": {}}}], "/authentication/oidc/0/requiredClaims/a"),
    ("authentication.oidc", [{**OIDC, "singleUse": "yes"}], "/authentication/oidc/0/singleUse"),
    ("authentication.oidc", [{**OIDC, "caFile": "/ca.crt"}], "'caFile' not allowed"),
    ("authentication.oidc", [{**OIDC, "keysFile": "/jwks.json"}], "'keysFile' not allowed"),
    ("authentication.oidc", [{**OIDC, "keys": {"keys": []}}], "/authentication/oidc/0/keys"),
    ("authentication.oidc", [{**OIDC, "keys": KEYS, "certificateAuthority": KEYS}], "ci has keys, so nothing"),
    (
        "authentication.oidc",
        [{**OIDC, "keys": KEYS, "jwksUri": "https://ci.example/keys"}],
        "ci has keys, so nothing",
    ),
    ("authentication.oidc", [OIDC, OIDC], "authentication.oidc: two are named ci"),
    ("authentication.kubernetes", [{**CLUSTER, "keys": KEYS}], "own must have one of"),
    (
        "authentication.kubernetes",
        [{**CLUSTER, "kubeconfig": {"existingSecret": "other"}}],
        "own must have one of",
    ),
    (
        "authentication.kubernetes",
        [{"name": "own", "issuer": "https://kubernetes.default.svc", "audience": "kubemint"}],
        "own must have one of",
    ),
    ("authentication.kubernetes", [{**CLUSTER, "inCluster": False}], "/authentication/kubernetes/0/inCluster"),
    ("authentication.kubernetes", [{**CLUSTER, "audience": ""}], "/authentication/kubernetes/0/audience"),
    ("authentication.kubernetes", [{**CLUSTER, "audiences": ["kubemint"]}], "'audiences' not allowed"),
    ("authentication.kubernetes", [{**CLUSTER, "kubeconfig": "/k"}], "/authentication/kubernetes/0/kubeconfig"),
    ("authentication.kubernetes", [{**CLUSTER, "token": "secret"}], "'token' not allowed"),
    ("authentication.kubernetes", [CLUSTER, CLUSTER], "authentication.kubernetes: two are named own"),
    ("rbac.rules", [], "'rules' not allowed"),
    ("networkPolicy.apiServerPorts", [0], "/networkPolicy/apiServerPorts/0"),
    ("networkPolicy.allowTokenIssuers", "yes", "/networkPolicy/allowTokenIssuers"),
    ("cluster.server", "http://203.0.113.10:6443", "/cluster/server"),
    ("cluster.server", "https://203.0.113.10:6443\nevil: true", "/cluster/server"),
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


def test_default_account_gets_no_rights(chart: Chart) -> None:
    """The right to review tokens is not given to the account of every pod of the namespace."""
    changes = {"authentication.kubernetes": [CLUSTER], "serviceAccount.create": False}
    with pytest.raises(ChartRefusedError, match="is every pod's"):
        chart.render(changes=changes)
    named = chart.render(changes={**changes, "serviceAccount.name": "minter"})
    assert named.one("ClusterRoleBinding")["subjects"][0]["name"] == "minter"
    assert "ClusterRoleBinding" not in chart.render(changes={**changes, "rbac.create": False}).kinds()
