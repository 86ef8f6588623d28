"""The workflow runs what anybody can run, with no more rights than reading."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def workflow(repository: Path) -> Any:
    """Give the parsed workflow."""
    return yaml.safe_load((repository / ".github/workflows/ci.yml").read_text())


def test_workflow_may_only_read(workflow: Any) -> None:
    """The token of each job reads the repository and does nothing else."""
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow["jobs"].values())


def test_workflow_runs_on_push_and_pull_request(workflow: Any) -> None:
    """Each push and pull request is checked, never with the secrets of `pull_request_target`."""
    assert set(workflow[True]) == {"push", "pull_request"}  # YAML 1.1 reads the key `on` as true


def test_workflow_runs_the_same_command_as_everybody(workflow: Any) -> None:
    """The checks are those of `.ci/run`, not a list of their own."""
    assert any(step.get("run") == ".ci/run" for step in workflow["jobs"]["check"]["steps"])


def test_actions_are_pinned_to_a_commit(workflow: Any) -> None:
    """An action is named by the commit it had when it was read, and leaves no credentials behind."""
    used = [step for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used
    assert all(re.fullmatch(r"actions/checkout@[0-9a-f]{40}", step["uses"]) for step in used)
    assert all(step["with"]["persist-credentials"] is False for step in used)
