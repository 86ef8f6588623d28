"""The checkout, the chart in it with the helm that reads it, and the service that reads what helm writes."""

from functools import partial
from pathlib import Path

import pytest

from deploy.chart import Chart
from deploy.mounts import Mounted, load_mounted
from deploy.peers import find_helm


@pytest.fixture(scope="session")
def repository() -> Path:
    """Give the root of the checkout."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def chart(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Chart:
    """Give the chart, to be rendered and linted."""
    return Chart(
        helm=find_helm(tmp_path_factory.mktemp("helm")),
        folder=repository / "helm/kubemint",
        values_folder=repository / "tests/deploy/values",
    )


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    """Give a function that loads the rendered configuration as the pod would."""
    return partial(load_mounted, folder=tmp_path)
