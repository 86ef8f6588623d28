"""The files that the chart writes for the service are those that the service reads."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from deploy.chart import Chart
from deploy.mounts import Mounted, mounted_files, named_files
from kubemint.errors import ConfigurationError
from kubemint.wiring import load_policy_of

VALUES = ("minimal", "certificates-only", "token-issuers", "full")


def test_minimal_configuration_is_complete(chart: Chart) -> None:
    """The least values give the whole configuration, and nothing that was not asked for."""
    assert chart.render().file("kubemint.yaml") == {
        "apiVersion": "kubemint/v1",
        "kind": "Configuration",
        "server": {
            "listen": "0.0.0.0:8443",
            "tls": {
                "certificateFile": "/run/kubemint/tls/tls.crt",
                "keyFile": "/run/kubemint/tls/tls.key",
            },
            "workers": 2,
            "threads": 16,
            "pinWorkers": True,
        },
        "issuer": {
            "certificateFile": "/run/kubemint/ca/ca.crt",
            "key": "file:/run/kubemint/ca/ca.key",
        },
        "policyFile": "policy.yaml",
        "authentication": {"tokensFile": "/run/kubemint/tokens/tokens.yaml"},
        "ledger": {
            "url": "sqlite:////var/lib/kubemint/ledger.db",
            "lockWait": "2s",
            "statementTimeout": "5s",
        },
        "log": {"key": "file:/run/kubemint/log/log.key", "origin": "mint.example/log", "public": False},
        "webhook": {"unknownCredentials": "alarm"},
        "crl": {"lifetime": "24h"},
    }


def test_values_reach_the_configuration(chart: Chart) -> None:
    """What the values say of server, passphrase, requesters and cluster is in the configuration."""
    configuration = chart.render("full").file("kubemint.yaml")
    assert (configuration["server"]["workers"], configuration["server"]["threads"]) == (4, 8)
    assert configuration["issuer"]["passphraseFile"] == "/run/kubemint/ca/passphrase"
    assert configuration["authentication"]["certificates"] == [
        {"name": "corp", "caFile": "/run/kubemint/requesters/corp.crt"}
    ]
    assert configuration["cluster"] == {
        "name": "production",
        "server": "https://203.0.113.10:6443",
        "certificateAuthorityFile": "/run/kubemint/cluster/ca.crt",
    }


def test_default_policy_allows_nothing(chart: Chart) -> None:
    """Without a policy in the values there is no profile and no role: nobody may have anything."""
    policy = chart.render().file("policy.yaml")
    assert (policy["apiVersion"], policy["kind"]) == ("kubemint/v1", "Policy")
    assert (policy["profiles"], policy["roles"]) == ({}, {})
    assert policy["limits"]["maxLifetime"] == "24h"


def test_policy_arrives_as_it_was_given(chart: Chart) -> None:
    """The policy in the ConfigMap is the policy in the values, no more and no less."""
    given = yaml.safe_load((chart.values_folder / "full.yaml").read_text())["policy"]
    assert chart.render("full").file("policy.yaml") == given


@pytest.mark.parametrize("values", VALUES)
def test_every_path_in_the_configuration_is_mounted(chart: Chart, values: str) -> None:
    """Each file that the configuration names is a file that a volume brings, and no volume brings another."""
    objects = chart.render(values)
    assert named_files(objects.file("kubemint.yaml")) == mounted_files(objects)


def test_policy_file_lies_beside_the_configuration(chart: Chart) -> None:
    """The relative path of the policy leads to the other file of the same ConfigMap."""
    objects = chart.render()
    assert objects.file("kubemint.yaml")["policyFile"] in objects.one("ConfigMap")["data"]
    assert objects.container()["args"] == ["serve", "--config", "/etc/kubemint/kubemint.yaml"]
    (mount,) = [mount for mount in objects.container()["volumeMounts"] if mount["name"] == "configuration"]
    assert mount["mountPath"] == "/etc/kubemint"


@pytest.mark.parametrize("values", VALUES)
def test_service_loads_what_the_chart_writes(chart: Chart, mounted: Mounted, values: str) -> None:
    """Each configuration and policy that the chart renders loads, and says what the chart meant."""
    objects = chart.render(values)
    loaded = mounted(objects)
    profiles = load_policy_of(loaded).profiles
    assert loaded.server.tls is not None
    assert [profile.name for profile in profiles] == list(objects.file("policy.yaml")["profiles"])
    assert (loaded.tokens_file is None) == (values in {"certificates-only", "token-issuers"})
    assert len(loaded.client_authorities) == {"certificates-only": 2, "full": 1}.get(values, 0)
    assert (loaded.cluster is None) == (values != "full")


def test_documented_values_load(chart: Chart, repository: Path, mounted: Mounted, tmp_path: Path) -> None:
    """The values in the installation guide, and those that it puts in their place, render and load."""
    guide = (repository / "docs/install-kubernetes.md").read_text()
    known = yaml.safe_load((chart.folder / "values.yaml").read_text()).keys()
    blocks = map(yaml.safe_load, re.findall(r"^```yaml\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL))
    first, *others = [block for block in blocks if block.keys() <= known]
    assert len(others) == 6
    documented = replace(chart, values_folder=tmp_path)
    for number, block in enumerate([{}, *others]):
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(first | block))
        assert load_policy_of(mounted(documented.render(str(number)))).profiles


def test_pod_ends_later_than_the_service(chart: Chart, mounted: Mounted) -> None:
    """Kubernetes waits longer for the pod to end than the service takes to finish what it began."""
    objects = chart.render()
    assert mounted(objects).server.shutdown_grace.total_seconds() < objects.pod()["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("key", ["workers", "threads"])
def test_chart_and_service_draw_the_same_line(chart: Chart, mounted: Mounted, key: str) -> None:
    """The greatest number that the chart accepts is one that the service accepts too."""
    assert getattr(mounted(chart.render(changes={f"server.{key}": 64})).server, key) == 64


def test_service_judges_the_policy(chart: Chart, mounted: Mounted) -> None:
    """The chart passes a policy with `system:masters` on, and the service does not load it."""
    profile = {
        "requesters": [{"token": "requester"}],
        "users": ["*"],
        "groups": ["system:masters"],
        "lifetime": {"default": "1h", "max": "1h"},
    }
    loaded = mounted(chart.render(changes={"policy.profiles.evil": profile}))
    with pytest.raises(ConfigurationError, match="system:masters"):
        load_policy_of(loaded)
