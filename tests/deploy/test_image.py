"""The Dockerfile keeps what the README says of the image. That it builds is shown by the workflow."""

import re
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def stages(repository: Path) -> list[str]:
    """Give the stages of the Dockerfile, continued lines joined, comments left out."""
    lines = (repository / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    return re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]


def test_each_dependency_is_hashed(stages: list[str]) -> None:
    """What pip fetches is checked against a hash, and the wheel is installed without fetching."""
    installs = re.findall(r"pip [^&\n]*install [^&\n]*", stages[0])
    assert len(installs) == 3
    assert all("--require-hashes" in install or "--no-deps --no-index" in install for install in installs)
    assert "--no-deps --no-build-isolation" in stages[0]


def test_final_stage_installs_nothing(stages: list[str]) -> None:
    """The image gets the finished environment and no tool that made it."""
    assert len(stages) == 2
    assert re.findall(r"^COPY .*$", stages[1], re.MULTILINE) == ["COPY --from=build /opt/kubemint /opt/kubemint"]
    assert not re.search(r"\bpip\b|apt-get|curl|wget", stages[1])
    assert "venv --without-pip /opt/kubemint" in stages[0]


def test_image_runs_the_service_without_rights(stages: list[str]) -> None:
    """The user is a number that Kubernetes can tell from root, and the command is `kubemint serve`."""
    assert re.findall(r"^USER (.*)$", stages[1], re.MULTILINE) == ["65532:65532"]
    assert stages[1].rstrip().endswith('ENTRYPOINT ["kubemint"]\nCMD ["serve"]')


def test_image_needs_no_writable_root(stages: list[str]) -> None:
    """Python writes no bytecode, and the configuration has its place."""
    assert "PYTHONDONTWRITEBYTECODE=1" in stages[1]
    assert "KUBEMINT_CONFIG=/etc/kubemint/kubemint.yaml" in stages[1]


def test_build_context_holds_what_is_copied_and_no_more(repository: Path, stages: list[str]) -> None:
    """The ignore file shuts out everything and lets in the very paths that the Dockerfile copies."""
    lines = (repository / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    copied = [
        path for copy in re.findall(r"^COPY (?!--from)(.*) \S+$", stages[0], re.MULTILINE) for path in copy.split()
    ]
    assert patterns[0] == "*"
    assert sorted(pattern[1:] for pattern in patterns if pattern.startswith("!")) == sorted(copied)
    assert all((repository / path).exists() for path in copied)
