"""The files that the chart writes for the service are those that the service reads."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from deploy.chart import Chart, Objects
from kubemint import config
from kubemint.errors import ConfigurationError

Mounted = Callable[[Objects], config.Config]

VALUES = ("minimal", "certificates-only", "full")


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
        "ledger": {"url": "sqlite:////var/lib/kubemint/ledger.db"},
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
    assert loaded.server.tls is not None
    assert [profile.name for profile in loaded.policy.profiles] == list(objects.file("policy.yaml")["profiles"])
    assert (loaded.tokens_file is None) == (values == "certificates-only")
    assert len(loaded.client_authorities) == {"minimal": 0, "certificates-only": 2, "full": 1}[values]
    assert (loaded.cluster is None) == (values != "full")


def test_ledger_is_on_the_volume(chart: Chart, mounted: Mounted) -> None:
    """The service keeps its ledger on the mounted volume."""
    assert mounted(chart.render()).ledger_file == Path("/var/lib/kubemint/ledger.db")


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
    with pytest.raises(ConfigurationError, match="system:masters"):
        mounted(chart.render(changes={"policy.profiles.evil": profile}))


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    """Give a function that lays out the ConfigMap's files, with CAs to read, and loads them."""

    def load(objects: Objects) -> config.Config:
        for path in named_files(objects.file("kubemint.yaml")):
            file = tmp_path / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(ca_certificate())
        for name, text in objects.one("ConfigMap")["data"].items():
            (tmp_path / name).write_text(text.replace("/run/kubemint/", f"{tmp_path}/run/kubemint/"))
        return config.load(tmp_path / "kubemint.yaml")

    return load


def ca_certificate() -> bytes:
    """Make a CA certificate, in PEM, that is valid now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a CA")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def named_files(part: Any) -> set[str]:
    """Give all absolute paths under /run/kubemint in a configuration."""
    if isinstance(part, dict):
        return set().union(*map(named_files, part.values()))
    if isinstance(part, list):
        return set().union(*map(named_files, part))
    path = str(part).removeprefix("file:")
    return {path} if path.startswith("/run/kubemint/") else set()


def mounted_files(objects: Objects) -> set[str]:
    """Give the paths of all files that Secrets and ConfigMaps bring under /run/kubemint."""
    mounts = {mount["name"]: PurePosixPath(mount["mountPath"]) for mount in objects.container()["volumeMounts"]}
    return {
        str(mounts[volume["name"]] / item["path"])
        for volume in objects.pod()["volumes"]
        for source in sources(volume)
        for item in source.get("items", ())
    }


def sources(volume: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the Secrets and ConfigMaps that a volume is made of."""
    projected = volume.get("projected", {}).get("sources", [volume])
    return [source[kind] for source in projected for kind in ("secret", "configMap") if kind in source]
