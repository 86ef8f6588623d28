"""What the chart puts into the cluster: a pod without rights, around a CA key that stays in its Secret."""

from typing import Any

import pytest

from deploy.chart import Chart

VALUES = ("minimal", "certificates-only", "token-issuers", "full")
WITHOUT_RIGHTS = ("minimal", "certificates-only")  # the others show tokens to their own API server
SERVICE_UID = 65532
WRITABLE = {"ledger": "/var/lib/kubemint", "tmp": "/tmp"}
WRITABLE_ON_POSTGRES = {  # with the claims of `full`
    "tmp": "/tmp",
    "archive": "/var/lib/kubemint-archive",
    "anchor-1": "/var/lib/kubemint-anchors/1",
}
EXPECTED_PROBES = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


@pytest.mark.parametrize("values", VALUES)
def test_pod_obeys_the_restricted_standard(chart: Chart, values: str) -> None:
    """The pod meets the Pod Security Standard `restricted`, and fixes its user and group besides."""
    pod = chart.render(values).pod()
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": SERVICE_UID,
        "runAsGroup": SERVICE_UID,
        "fsGroup": SERVICE_UID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    allowed_volumes = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    assert {kind for volume in pod["volumes"] for kind in volume.keys() - {"name"}} <= allowed_volumes
    assert not any(pod[host] for host in ("hostNetwork", "hostPID", "hostIPC"))


@pytest.mark.parametrize("values", VALUES)
def test_container_has_no_rights(chart: Chart, values: str) -> None:
    """Each container is unprivileged, cannot gain privileges and cannot write to its image."""
    objects = chart.render(values)
    for container in (objects.container(), objects.migration()):
        assert container["securityContext"] == {
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }


@pytest.mark.parametrize("values", VALUES)
def test_only_the_record_and_tmp_are_writable(chart: Chart, values: str) -> None:
    """Each mount is read-only but /tmp and those that the record is written to, and each volume is mounted."""
    objects = chart.render(values)
    mounts = {mount["name"]: mount for mount in objects.container()["volumeMounts"]}
    expected = WRITABLE_ON_POSTGRES if values == "full" else WRITABLE
    assert {name: m["mountPath"] for name, m in mounts.items() if not m.get("readOnly")} == expected
    assert mounts.keys() == {volume["name"] for volume in objects.pod()["volumes"]}


def test_tmp_is_small(chart: Chart) -> None:
    """The writable /tmp has a limit, so that it cannot fill the node."""
    assert chart.render().volume("tmp")["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}


@pytest.mark.parametrize("values", WITHOUT_RIGHTS)
def test_no_service_account_token_is_mounted(chart: Chart, values: str) -> None:
    """The pod cannot speak to the API server in its own name."""
    objects = chart.render(values)
    assert objects.pod()["automountServiceAccountToken"] is False
    assert objects.pod()["enableServiceLinks"] is False
    if "ServiceAccount" in objects.kinds():
        assert objects.one("ServiceAccount")["automountServiceAccountToken"] is False


def test_service_account_can_be_another(chart: Chart) -> None:
    """The pod runs under the account that the chart made, under its given name, or under the default one."""
    assert chart.render().pod()["serviceAccountName"] == "mint-kubemint"
    assert chart.render("full").pod()["serviceAccountName"] == "minter"
    assert chart.render("certificates-only").pod()["serviceAccountName"] == "default"


def test_a_slow_ledger_restarts_no_pod(chart: Chart) -> None:
    """A pod is started again only if it has answered nothing for longer than any thread waits for the ledger."""
    probe = chart.render().container()["livenessProbe"]
    assert probe["timeoutSeconds"] >= 10
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


@pytest.mark.parametrize("probe", EXPECTED_PROBES)
def test_probes_ask_the_service(chart: Chart, probe: str) -> None:
    """Each probe asks the endpoint that means it, over TLS, by the name of the port."""
    asked = chart.render().container()[probe]["httpGet"]
    assert asked == {"path": EXPECTED_PROBES[probe], "port": "https", "scheme": "HTTPS"}


def test_ca_comes_from_its_secret(chart: Chart) -> None:
    """Of the CA's Secret only the named keys are mounted, and only the service's group may read them."""
    secret = chart.render("full").volume("issuer")["secret"]
    assert secret["secretName"] == "cluster-ca"
    assert secret["defaultMode"] == 0o440
    assert {item["key"]: item["path"] for item in secret["items"]} == {
        "ca.pem": "ca.crt",
        "ca-key.pem": "ca.key",
        "ca-passphrase": "passphrase",
    }


@pytest.mark.parametrize("volume", ["issuer", "tls", "tokens", "log"])
def test_secrets_are_readable_by_the_service_only(chart: Chart, volume: str) -> None:
    """A mounted Secret is open to root and the service's group, and names the keys it takes."""
    secret = chart.render().volume(volume)["secret"]
    assert secret["secretName"].startswith("kubemint-")
    assert secret["defaultMode"] == 0o440
    assert secret["items"]


@pytest.mark.parametrize("values", WITHOUT_RIGHTS)
def test_chart_makes_no_secret_and_grants_nothing(chart: Chart, values: str) -> None:
    """No Secret is rendered and no right in the cluster is given."""
    kinds = set(chart.render(values).kinds())
    assert not kinds & {"Secret", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def test_changed_policy_starts_a_new_pod(chart: Chart) -> None:
    """A changed policy or configuration changes the pod's annotations, an unchanged one does not."""

    def annotations(changes: dict[str, Any]) -> Any:
        return chart.render(changes=changes).one("Deployment")["spec"]["template"]["metadata"]["annotations"]

    before = annotations({})
    policy = annotations({"policy.limits.maxLifetime": "1h"})
    configuration = annotations({"server.threads": 5})
    assert annotations({}) == before
    assert policy["checksum/policy"] != before["checksum/policy"]
    assert policy["checksum/configuration"] == before["checksum/configuration"]
    assert configuration["checksum/configuration"] != before["checksum/configuration"]


def test_network_policy_opens_one_port_to_the_peers(chart: Chart) -> None:
    """The named peers may reach the service's port; the pod may reach nobody."""
    specification = chart.render(changes={"networkPolicy.from": [{"podSelector": {}}]}).one("NetworkPolicy")[
        "spec"
    ]
    assert specification["policyTypes"] == ["Ingress", "Egress"]
    assert specification["ingress"] == [
        {"from": [{"podSelector": {}}], "ports": [{"port": "https", "protocol": "TCP"}]}
    ]
    assert specification["egress"] == []


def test_empty_list_of_peers_lets_nobody_in(chart: Chart) -> None:
    """An empty list allows nothing, although Kubernetes reads an empty `from` as everybody."""
    specification = chart.render(changes={"networkPolicy.from": []}).one("NetworkPolicy")["spec"]
    assert specification["ingress"] == []


def test_dns_is_allowed_only_when_asked_for(chart: Chart) -> None:
    """With `allowDNS` the pod may ask the cluster's DNS on port 53, and nothing else."""
    (rule,) = chart.render(changes={"networkPolicy.allowDNS": True}).one("NetworkPolicy")["spec"]["egress"]
    assert [port["port"] for port in rule["ports"]] == [53, 53]
    assert rule["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]


def test_network_policy_and_service_select_the_pod(chart: Chart) -> None:
    """The selectors of Service, NetworkPolicy and Deployment match the pod's labels, renamed or not."""
    for values in ("minimal", "full"):
        objects = chart.render(values)
        deployment = objects.one("Deployment")["spec"]
        labels = deployment["template"]["metadata"]["labels"]
        for selector in (
            objects.one("Service")["spec"]["selector"],
            objects.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
            deployment["selector"]["matchLabels"],
        ):
            assert selector
            assert selector.items() <= labels.items()


def test_service_leads_to_the_container_port(chart: Chart) -> None:
    """The Service's port is the container's, which is the one that the configuration listens on."""
    objects = chart.render("full")
    (port,) = objects.one("Service")["spec"]["ports"]
    (container_port,) = objects.container()["ports"]
    assert (port["port"], port["targetPort"]) == (8443, container_port["name"])
    assert objects.file("kubemint.yaml")["server"]["listen"] == f"0.0.0.0:{container_port['containerPort']}"


def test_image_is_named_by_tag_or_digest(chart: Chart) -> None:
    """The image is the chart's version, the given tag, or the given digest, which goes before the tag."""
    digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    assert chart.render().container()["image"] == "registry.example/kubemint:0.1.0"
    assert chart.render("certificates-only").container()["image"] == "registry.example/kubemint:1.2.3"
    assert chart.render("full").container()["image"] == f"registry.example:5000/security/kubemint@{digest}"
