"""The Helm chart under test: rendered into Kubernetes objects, linted, or refused with a message."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class ChartRefusedError(Exception):
    """Helm refused to render the chart; the text is what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """What one rendering gave, by kind."""

    documents: tuple[dict[str, Any], ...]

    def one(self, kind: str) -> dict[str, Any]:
        """Give the only object of this kind."""
        (found,) = [document for document in self.documents if document["kind"] == kind]
        return found

    def kinds(self) -> list[str]:
        """Give the kinds of all objects, sorted."""
        return sorted(document["kind"] for document in self.documents)

    def pod(self) -> Any:
        """Give the pod's specification."""
        return self.one("Deployment")["spec"]["template"]["spec"]

    def container(self) -> Any:
        """Give the only container."""
        (container,) = self.pod()["containers"]
        return container

    def migration(self) -> Any:
        """Give the only init container: it brings the ledger's tables up to date."""
        (container,) = self.pod()["initContainers"]
        return container

    def volume(self, name: str) -> Any:
        """Give the volume of this name."""
        (volume,) = [volume for volume in self.pod()["volumes"] if volume["name"] == name]
        return volume

    def file(self, name: str) -> Any:
        """Give the parsed content of one file of the ConfigMap."""
        return yaml.safe_load(self.one("ConfigMap")["data"][name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The chart's folder and the helm that reads it."""

    helm: Path
    folder: Path
    values_folder: Path

    def render(self, values: str = "minimal", changes: Mapping[str, Any] | None = None) -> Objects:
        """Render a values file with changes over it, by dotted key; raises ChartRefusedError."""
        return Objects(documents=tuple(filter(None, yaml.safe_load_all(self.text(values, changes=changes)))))

    def text(self, values: str, *arguments: str, changes: Mapping[str, Any] | None = None) -> str:
        """Render like `render`, with further arguments of helm, and give the text."""
        ran = self._run("template", "mint", str(self.folder), *self._given(values, changes or {}), *arguments)
        if ran.returncode != 0:
            raise ChartRefusedError(ran.stderr)
        return ran.stdout

    def notes(self, values: str, changes: Mapping[str, Any] | None = None) -> str:
        """Give what helm would print after an installation; raises ChartRefusedError."""
        given = self._given(values, changes or {})
        ran = self._run("install", "mint", str(self.folder), "--dry-run=client", "--output", "json", *given)
        if ran.returncode != 0:
            raise ChartRefusedError(ran.stderr)
        notes: str = json.loads(ran.stdout)["info"]["notes"]
        return notes

    def lint(self, values: str) -> subprocess.CompletedProcess[str]:
        """Run `helm lint --strict` with a values file."""
        return self._run("lint", "--strict", str(self.folder), *self._given(values, {}))

    def _given(self, values: str, changes: Mapping[str, Any]) -> list[str]:
        given = ["--values", str(self.values_folder / f"{values}.yaml")]
        for key, value in changes.items():
            given += ["--set-json", f"{key}={json.dumps(value)}"]
        return given

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.helm), *arguments, "--namespace", "kubemint"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
