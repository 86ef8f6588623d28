"""What is installed is what was tested: the wheel holds the contract and the page, as they are here."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from contract.contract_file import CONTRACT_FILE, REPOSITORY
from running_service import RunningService


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """Build the wheel of this checkout."""
    folder: Path = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return zipfile.Path(file)


def test_the_wheel_holds_the_contract(wheel: zipfile.Path) -> None:
    """The contract in the wheel must be the file at the top of the repository, not a link to it."""
    assert (wheel / "kubemint/web/openapi.yaml").read_bytes() == CONTRACT_FILE.read_bytes()


def test_the_wheel_holds_the_page(wheel: zipfile.Path) -> None:
    """Each file of the page must be in the wheel, unchanged."""
    here = {file.name: file.read_bytes() for file in (REPOSITORY / "service/kubemint/web/static").iterdir()}

    assert {file.name: file.read_bytes() for file in (wheel / "kubemint/web/static").iterdir()} == here


def test_the_service_gives_the_contract(service: RunningService) -> None:
    """GET /openapi.yaml must give the file at the top of the repository."""
    assert service.call("GET", "/openapi.yaml").body == CONTRACT_FILE.read_bytes()
