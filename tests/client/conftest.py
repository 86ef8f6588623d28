"""One running service for the tests of the client, whose folder names the API server of a cluster too."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from kubemint.commands.workspace import CaSource, ClusterAddress, Listen, create_workspace
from running_service import RunningService, free_port


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Give a running service whose client.yaml is in `.kubemint`, as in a folder of `kubemint dev`."""
    directory = tmp_path_factory.mktemp("home") / ".kubemint"
    cluster = ClusterAddress(name="prod", server="https://10.0.0.1:6443")
    create_workspace(directory, CaSource(), Listen(port=free_port()), cluster, datetime.now(UTC))
    with RunningService(directory, config=directory / "kubemint.yaml") as running:
        yield running
