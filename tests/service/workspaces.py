"""Folders to serve from whose settings are not those of `kubemint dev`, and services that must not start."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from running_service import RunningService, free_port


def make_workspace(directory: Path) -> Path:
    """Let `kubemint init` make a folder; give its configuration file."""
    command = (sys.executable, "-m", "kubemint", "init", "--directory", str(directory), "--port", str(free_port()))
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return directory / "kubemint.yaml"


def change_yaml(file: Path, change: Callable[[Any], object]) -> None:
    """Change a document in place, as `change` does with what is in it."""
    document = yaml.safe_load(file.read_text())
    change(document)
    file.write_text(yaml.safe_dump(document))


def refusal_to_start(service: RunningService) -> str:
    """Start what must not start; give what it says, which is one line. Exit code 1, and no traceback."""
    try:
        with pytest.raises(RuntimeError, match=r"^kubemint ended with 1:"):
            service.start()
    finally:
        service.stop()
    said = service.log_file.read_text()
    lines = [line for line in said.splitlines() if not line.startswith("kubemint: warning: ")]
    assert len(lines) == 1, said
    assert lines[0].startswith("kubemint: "), said
    return lines[0]
