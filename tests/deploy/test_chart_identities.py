"""Token issuers and clusters that vouch for requesters: what each brings into the pod, and nothing without one."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.chart import Chart, Objects
from deploy.mounts import Mounted
from kubemint.authentication.oidc import DEFAULT_ALGORITHMS
from kubemint.config_schemas import ConfigSchema
from kubemint.wiring import load_policy_of

OIDC = {"name": "ci", "issuer": "https://ci.example", "audiences": ["kubemint"]}
CLUSTER = {"name": "other", "issuer": "https://other.example", "audience": "kubemint"}
KEYS = {"existingConfigMap": "the-keys"}
KUBECONFIG = {"existingSecret": "reviewer"}
DNS = [("UDP", 53), ("TCP", 53)]
# How the chart names the settings that name files: there a file comes from a ConfigMap or a Secret.
CHART_NAMES = {"caFile": "certificateAuthority", "keysFile": "keys"}


def test_values_reach_the_configuration(chart: Chart) -> None:
    """Each setting of a token issuer or cluster is in the configuration as it was given, files by their path."""
    authentication = chart.render("full").file("kubemint.yaml")["authentication"]
    assert authentication["oidc"][0] == {
        "name": "corp-idp",
        "issuer": "https://idp.example:8443/realms/corp",
        "audiences": ["kubemint", "minter"],
        "algorithms": ["ES256", "EdDSA"],
        "requiredClaims": {
            "groups": ["platform", "team-*"],
            "organization.id": 123456789012,
            "email_verified": True,
        },
        "identityClaim": "preferred_username",
        "leeway": "1m",
        "jwksUri": "https://keys.example:9443/corp?format=jwks",
        "maxStale": "6h",
        "singleUse": True,
        "caFile": "/run/kubemint/identities/oidc-corp-idp.crt",
    }
    assert authentication["oidc"][1]["keysFile"] == "/run/kubemint/identities/oidc-offline.jwks"
    own, staging, edge = authentication["kubernetes"]
    assert own == {
        "name": "own",
        "issuer": "https://kubernetes.default.svc.cluster.local",
        "audience": "kubemint",
        "inCluster": True,
    }
    assert staging["kubeconfig"] == "/run/kubemint/kubeconfigs/staging.yaml"
    assert edge["keysFile"] == "/run/kubemint/identities/kubernetes-edge.keys"


def test_service_means_what_the_values_say(chart: Chart, mounted: Mounted) -> None:
    """The service loads them, and its policy may name them."""
    loaded = mounted(chart.render("full"))
    idp, offline = loaded.oidc_issuers
    assert (idp.leeway, idp.max_stale, idp.single_use) == (timedelta(minutes=1), timedelta(hours=6), True)
    assert (idp.keys_file, offline.ca_file) == (None, None)
    own, staging, edge = loaded.kubernetes_clusters
    assert own.review is not None
    assert own.review.kubeconfig is None
    assert staging.review is not None
    assert staging.review.kubeconfig is not None
    assert (edge.review, edge.keys_file is None) == (None, False)
    assert len(load_policy_of(mounted(chart.render("token-issuers"))).profiles[0].requesters) == 2


@pytest.mark.parametrize("kind", ["oidc", "kubernetes"])
def test_chart_offers_what_the_service_does(repository: Path, kind: str) -> None:
    """Each setting of a token issuer or cluster can be given in the values, and no other."""
    fields: Any = ConfigSchema().fields["authentication"]
    known = {field.data_key or name for name, field in fields.schema.fields[kind].inner.schema.fields.items()}
    schema = json.loads((repository / "helm/kubemint/values.schema.json").read_text())
    offered = schema["properties"]["authentication"]["properties"][kind]["items"]["properties"]
    assert offered.keys() == {CHART_NAMES.get(name, name) for name in known}


def test_chart_offers_the_algorithms_that_the_service_does(repository: Path) -> None:
    """The signature algorithms in the schema are those of the service."""
    schema = json.loads((repository / "helm/kubemint/values.schema.json").read_text())
    issuer = schema["properties"]["authentication"]["properties"]["oidc"]["items"]["properties"]
    assert issuer["algorithms"]["items"]["enum"] == list(DEFAULT_ALGORITHMS)


def test_nothing_without_them(chart: Chart) -> None:
    """Without token issuers and clusters there is no volume, right, token or way out for them."""
    objects = chart.render()
    assert not {"identities", "kubeconfigs"} & {volume["name"] for volume in objects.pod()["volumes"]}
    assert objects.file("kubemint.yaml")["authentication"].keys() == {"tokensFile"}
    assert egress(objects) == []


def test_default_keys_of_config_maps_and_secrets(chart: Chart) -> None:
    """Where no key is given, it is the one that the file has elsewhere."""
    objects = chart.render(
        changes={
            "authentication.oidc": [
                {**OIDC, "certificateAuthority": {"existingConfigMap": "ci-ca"}},
                {**OIDC, "name": "offline", "keys": KEYS},
            ],
            "authentication.kubernetes": [
                {**CLUSTER, "keys": KEYS},
                {**CLUSTER, "name": "asked", "kubeconfig": KUBECONFIG},
            ],
        }
    )
    sources = objects.volume("identities")["projected"]["sources"]
    assert [(source["configMap"]["name"], source["configMap"]["items"]) for source in sources] == [
        ("ci-ca", [{"key": "ca.crt", "path": "oidc-ci.crt"}]),
        ("the-keys", [{"key": "jwks.json", "path": "oidc-offline.jwks"}]),
        ("the-keys", [{"key": "sa.pub", "path": "kubernetes-other.keys"}]),
    ]
    assert objects.volume("kubeconfigs")["projected"] == {
        "defaultMode": 0o440,
        "sources": [{"secret": {"name": "reviewer", "items": [{"key": "kubeconfig", "path": "asked.yaml"}]}}],
    }


def test_own_cluster_gives_one_right(chart: Chart) -> None:
    """With `inCluster` the pod has its token, and its account the right to review tokens and no other."""
    objects = chart.render("token-issuers")
    binding = objects.one("ClusterRoleBinding")
    assert binding["metadata"]["name"] == "mint-kubemint:kubemint:auth-delegator"
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "system:auth-delegator",
    }
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": objects.pod()["serviceAccountName"], "namespace": "kubemint"}
    ]
    assert objects.pod()["automountServiceAccountToken"] is True
    assert objects.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert not {"Secret", "Role", "RoleBinding", "ClusterRole"} & set(objects.kinds())


def test_right_can_come_from_elsewhere(chart: Chart) -> None:
    """With `rbac.create: false` the token is mounted and no right is given."""
    objects = chart.render("full")
    assert objects.pod()["automountServiceAccountToken"] is True
    assert "ClusterRoleBinding" not in objects.kinds()


@pytest.mark.parametrize("way", [{"keys": KEYS}, {"kubeconfig": KUBECONFIG}])
def test_other_clusters_give_no_right(chart: Chart, way: dict[str, Any]) -> None:
    """Only `inCluster` needs the pod's own token and a right in this cluster."""
    objects = chart.render(changes={"authentication.kubernetes": [{**CLUSTER, **way}]})
    assert objects.pod()["automountServiceAccountToken"] is False
    assert "ClusterRoleBinding" not in objects.kinds()


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"oidc": [OIDC]}, [DNS, [("TCP", 443)]]),
        ({"oidc": [{**OIDC, "issuer": "https://ci.example:8443/x"}]}, [DNS, [("TCP", 8443)]]),
        ({"oidc": [{**OIDC, "issuer": "https://[2001:db8::1]"}]}, [DNS, [("TCP", 443)]]),
        ({"oidc": [{**OIDC, "jwksUri": "https://keys.example:9443/k"}]}, [DNS, [("TCP", 9443)]]),
        (
            {"oidc": [OIDC, {**OIDC, "name": "b"}, {**OIDC, "name": "c", "issuer": "https://c.example:8443"}]},
            [DNS, [("TCP", 443), ("TCP", 8443)]],
        ),
        ({"oidc": [{**OIDC, "keys": KEYS}]}, []),
        ({"kubernetes": [{**CLUSTER, "keys": KEYS}]}, []),
        ({"kubernetes": [{**CLUSTER, "inCluster": True}]}, [[("TCP", 443), ("TCP", 6443)]]),
        ({"kubernetes": [{**CLUSTER, "kubeconfig": KUBECONFIG}]}, [DNS, [("TCP", 443), ("TCP", 6443)]]),
    ],
)
def test_way_out_is_open_as_far_as_needed(chart: Chart, changes: dict[str, Any], rules: list[Any]) -> None:
    """The pod may reach the ports of those that it asks, and DNS where they have names; files need nobody."""
    rendered = chart.render(changes={f"authentication.{kind}": given for kind, given in changes.items()})
    assert egress(rendered) == rules


def test_way_out_can_be_narrowed(chart: Chart) -> None:
    """With both switched off, only what `egress` names is open, and DNS where it was asked for."""
    closed = {"networkPolicy.allowTokenIssuers": False, "networkPolicy.apiServerPorts": []}
    assert egress(chart.render("token-issuers", changes=closed)) == []
    unwatched = {"networkPolicy.allowDatabase": False, "networkPolicy.allowWitnesses": False}
    assert egress(chart.render("full", changes=unwatched)) == [DNS, [("TCP", 16443)], [("TCP", 443)]]
    specification = chart.render("full").one("NetworkPolicy")["spec"]
    assert specification["egress"][-1]["to"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]


@pytest.mark.parametrize("kind", ["oidc", "kubernetes"])
def test_either_is_enough(chart: Chart, mounted: Mounted, kind: str) -> None:
    """No bearer tokens and no certificates are needed where a token issuer or a cluster vouches."""
    given = OIDC if kind == "oidc" else {**CLUSTER, "inCluster": True}
    changes = {"authentication.tokens.existingSecret": "", f"authentication.{kind}": [given]}
    loaded = mounted(chart.render(changes=changes))
    assert len(loaded.oidc_issuers) + len(loaded.kubernetes_clusters) == 1
    assert loaded.tokens_file is None


def test_notes_say_who_vouches(chart: Chart) -> None:
    """After the installation helm lists how requesters prove who they are, and what is left to do."""
    notes = chart.notes("full")
    assert "bearer tokens, hashed in Secret minter-tokens" in notes
    assert "client certificates of corp, whose CA is in ConfigMap corp-ca" in notes
    assert "tokens of corp-idp (https://idp.example:8443/realms/corp) for kubemint, minter" in notes
    assert "tokens of own for kubemint, verified by this cluster's API server" in notes
    assert "tokens of staging for minter, verified by its API server" in notes
    assert "tokens of edge for minter, verified with its keys" in notes
    assert "`rbac.create` is false" in notes
    without = chart.notes("minimal")
    assert "bearer tokens" in without
    assert "service account" not in without


def egress(objects: Objects) -> list[list[tuple[str, int]]]:
    """Give the protocols and ports of each egress rule."""
    rules = objects.one("NetworkPolicy")["spec"]["egress"]
    return [[(port["protocol"], port["port"]) for port in rule["ports"]] for rule in rules]
