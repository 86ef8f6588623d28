"""One real service for most tests of the contract, and those that need other settings."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from commands.authorities import kubeadm_ca
from commands.cli import kubemint
from running_service import RunningService, free_port


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Give a running service with a new CA, tokens and an empty ledger."""
    directory: Path = tmp_path_factory.mktemp("service") / "kubemint"
    with RunningService(directory) as running:
        yield running


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Give a service that publishes parts of its list, and in which others' tests revoke nothing."""
    directory: Path = tmp_path_factory.mktemp("listing") / "kubemint"
    assert kubemint("init", "--directory", directory, "--port", str(free_port()), cwd=directory.parent).code == 0
    config = directory / "kubemint.yaml"
    settings = yaml.safe_load(config.read_text()) | {"crl": {"url": "https://kubemint.example"}}
    config.write_text(yaml.safe_dump(settings))
    with RunningService(directory, config=config) as running:
        yield running


@pytest.fixture(scope="module")
def kubeadm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Give a service whose CA kubeadm made, for a cluster that is asked about groups."""
    directory: Path = tmp_path_factory.mktemp("kubeadm") / "kubemint"
    given = kubeadm_ca(directory.parent)
    files = ("--ca-certificate", given.certificate_file, "--ca-key", given.key_file)
    made = kubemint("init", "--directory", directory, "--port", str(free_port()), *files, cwd=directory.parent)
    assert made.code == 0, made.errors
    policy = yaml.safe_load((directory / "policy.yaml").read_text())
    policy["profiles"]["developers"]["credentialGroup"] = True
    (directory / "policy.yaml").write_text(yaml.safe_dump(policy))
    with RunningService(directory, config=directory / "kubemint.yaml") as running:
        yield running
