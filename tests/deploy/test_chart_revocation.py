"""API servers that ask what is revoked, and lists for others: what the chart writes, lets in, says and refuses."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.chart import Chart, ChartRefusedError
from deploy.mounts import Mounted
from kubemint.config_schemas import ConfigSchema
from kubemint.kubernetes.access_review import Unknown
from kubemint.policy.rules import CertificateRule

CA = {"name": "corp", "existingConfigMap": "corp-ca"}
CLIENT = {"certificate": "corp", "commonName": "kube-apiserver-*"}
FROM_API_SERVERS = {"ipBlock": {"cidr": "10.0.0.0/28"}}
FROM_PODS = {"namespaceSelector": {}}

MISTAKES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"webhook.clients": [CLIENT]}, "corp is none of authentication.certificates"),
    ({"webhook.clients": [{"commonName": "x"}]}, "certificate"),
    ({"webhook.clients": [{"token": "webhook"}]}, "'token' not allowed"),
    ({"webhook.clients": [{**CLIENT, "commonName": ""}]}, "/webhook/clients/0/commonName"),
    ({"webhook.clients": [{**CLIENT, "certificate": "../x"}]}, "/webhook/clients/0/certificate"),
    ({"webhook.unknownCredentials": "perhaps"}, "/webhook/unknownCredentials"),
    ({"webhook.token": "secret"}, "'token' not allowed"),
    ({"crl.lifetime": "24"}, "/crl/lifetime"),
    ({"crl.lifetime": ""}, "/crl/lifetime"),
    ({"crl.url": "http://mint.example"}, "/crl/url"),
    ({"crl.url": "https://mint.example/\nevil: true"}, "/crl/url"),
    ({"networkPolicy.apiServers": ["10.0.0.1"]}, "/networkPolicy/apiServers/0"),
    ({"networkPolicy.apiServers": [FROM_API_SERVERS]}, "/networkPolicy/apiServers/0"),
)


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_mistake_is_refused_by_name(chart: Chart, changes: dict[str, Any], message: str) -> None:
    """Nothing is rendered, and the message names what is wrong."""
    with pytest.raises(ChartRefusedError) as refusal:
        chart.render(changes=changes)
    assert message in str(refusal.value)


def test_service_means_what_the_values_say(chart: Chart, mounted: Mounted) -> None:
    """Clients, what of unknown credentials, and lists are the service's as they were given."""
    loaded = mounted(chart.render("full"))
    (client,) = loaded.webhook.clients
    patterns = (client.common_name, client.organization, client.uri, client.dns_name)
    assert [pattern.text for pattern in patterns if pattern] == [
        "kube-apiserver-*",
        "control-plane",
        "spiffe://corp.example/*",
        "*.corp.example",
    ]
    assert loaded.webhook.unknown is Unknown.DENY
    assert (loaded.crl.lifetime, loaded.crl.url) == (timedelta(hours=12), "https://mint.example:8443")


def test_least_values_are_the_defaults_of_the_service(chart: Chart, mounted: Mounted) -> None:
    """Where nothing was said, the service does what it does without the chart."""
    loaded, defaults = mounted(chart.render()), {name: ConfigSchema().fields[name] for name in ("webhook", "crl")}
    webhook, crl = (default.load_default() for default in defaults.values())
    assert (list(loaded.webhook.clients), loaded.webhook.unknown) == (
        webhook["clients"],
        webhook["unknown_credentials"],
    )
    assert (loaded.crl.lifetime, loaded.crl.url) == (crl["lifetime"], crl.get("url"))


@pytest.mark.parametrize("section", ["webhook", "crl"])
def test_chart_offers_what_the_service_does(repository: Path, section: str) -> None:
    """Each setting can be given in the values, and no other."""
    fields: Any = ConfigSchema().fields[section]
    known = {field.data_key or name for name, field in fields.schema.fields.items()}
    schema = json.loads((repository / "helm/kubemint/values.schema.json").read_text())
    assert schema["properties"][section]["properties"].keys() == known


def test_chart_offers_the_patterns_of_certificates(repository: Path) -> None:
    """A rule of a client can have what a rule of a certificate has in the policy."""
    schema = json.loads((repository / "helm/kubemint/values.schema.json").read_text())
    offered = schema["properties"]["webhook"]["properties"]["clients"]["items"]["properties"]
    fields = [field for field in CertificateRule.__dataclass_fields__ if not field.startswith("_")]
    assert [name.lower() for name in offered] == [field.replace("_", "") for field in fields]


@pytest.mark.parametrize(
    ("changes", "peers"),
    [
        ({}, [FROM_PODS]),
        ({"networkPolicy.apiServers": ["10.0.0.0/28"]}, [FROM_PODS, FROM_API_SERVERS]),
        ({"networkPolicy.from": [], "networkPolicy.apiServers": ["10.0.0.0/28"]}, [FROM_API_SERVERS]),
    ],
)
def test_api_servers_are_let_in(chart: Chart, changes: dict[str, Any], peers: list[Any]) -> None:
    """The ranges of API servers may reach the service's port beside the peers, or alone; nobody else may."""
    (rule,) = chart.render(changes=changes).one("NetworkPolicy")["spec"]["ingress"]
    assert rule == {"from": peers, "ports": [{"port": "https", "protocol": "TCP"}]}


def test_notes_say_how_an_api_server_is_connected(chart: Chart) -> None:
    """After the installation helm says what makes an API server ask, and what keeps it from asking."""
    role = {"policy.roles.webhook": [{"token": "webhook"}]}
    command = "kubemint kubernetes authorizer-config --ca tls.crt"
    assert command in chart.notes("full")
    assert "get service/mint-kubemint --output jsonpath={.spec.clusterIP}):443" in chart.notes("minimal", role)
    assert "`networkPolicy.apiServers` is empty" in chart.notes("minimal", role)
    assert "`networkPolicy.apiServers` is empty" not in chart.notes("full")
    by_certificate = {"authentication.certificates": [CA], "webhook.clients": [CLIENT]}
    assert command in chart.notes("minimal", by_certificate)
    assert command not in chart.notes("minimal")
    assert "API servers may not ask" in chart.notes("minimal")
