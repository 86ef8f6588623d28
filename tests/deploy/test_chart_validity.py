"""The chart is a chart to helm, and its objects are objects to every supported Kubernetes."""

import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.chart import Chart, ChartRefusedError
from deploy.peers import kubernetes_schemas

VALUES = ("minimal", "certificates-only", "token-issuers", "full")
KUBERNETES_VERSIONS = ("1.29", "1.31", "1.33", "1.35", "1.37")


@pytest.mark.parametrize("values", VALUES)
def test_lint_is_strict_and_silent(chart: Chart, values: str) -> None:
    """`helm lint --strict` finds no error and no warning."""
    linted = chart.lint(values)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert not re.search(r"\[(WARNING|ERROR)\]|level=WARN", linted.stdout + linted.stderr)


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("values", VALUES)
def test_objects_are_valid_in_each_kubernetes(chart: Chart, values: str, version: str) -> None:
    """Each object obeys the strict schema of its kind, in which an unknown field is an error."""
    schemas = kubernetes_schemas()
    text = chart.text(values, "--kube-version", version)
    for document in filter(None, yaml.safe_load_all(text)):
        assert schemas.validate(document, version, strict=True) == version


def test_strict_schema_refuses_a_misspelt_field(chart: Chart) -> None:
    """The validation of the test above does refuse a field that Kubernetes does not know."""
    schemas = kubernetes_schemas()
    deployment = chart.render().one("Deployment")
    deployment["spec"]["template"]["spec"]["automountServiceAccountTokens"] = False
    with pytest.raises(schemas.ValidationError, match="automountServiceAccountTokens"):
        schemas.validate(deployment, "1.37", strict=True)


def test_older_kubernetes_is_refused(chart: Chart) -> None:
    """A cluster older than the oldest one tested is refused by name."""
    with pytest.raises(ChartRefusedError, match="kubeVersion"):
        chart.text("minimal", "--kube-version", "1.28.0")


def test_chart_carries_the_version_of_the_package(repository: Path) -> None:
    """The chart installs the image of the version that it is released with."""
    package = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((repository / "helm/kubemint/Chart.yaml").read_text())
    assert chart["appVersion"] == package


def test_schema_and_values_name_the_same_keys(repository: Path) -> None:
    """Each value has a schema and each key of the schema a value, but for what only a user gives."""
    schema = json.loads((repository / "helm/kubemint/values.schema.json").read_text())
    values = yaml.safe_load((repository / "helm/kubemint/values.yaml").read_text())
    only_in_schema = schema_paths(schema, schema) - value_paths(values, schema)
    assert value_paths(values, schema) <= schema_paths(schema, schema)
    assert only_in_schema == {"global", "policy.apiVersion", "policy.kind"}


def test_every_value_is_set_by_the_full_example(repository: Path) -> None:
    """The values file `full` sets all values, so that each of them is rendered and validated."""
    schema = json.loads((repository / "helm/kubemint/values.schema.json").read_text())
    full = yaml.safe_load((repository / "tests/deploy/values/full.yaml").read_text())
    assert schema_paths(schema, schema) - value_paths(full, schema) == {"global"}


def test_every_value_has_a_comment(repository: Path) -> None:
    """Above each key of values.yaml stands what it does and who is trusted by it."""
    lines = (repository / "helm/kubemint/values.yaml").read_text().splitlines()
    key = re.compile(r"^\s*[A-Za-z]+:")
    free = r"(requests|limits|cpu|memory|maxLifetime|keys):"  # named together in the comment above them
    bare = [line for above, line in pairwise(lines) if key.match(line) and "#" not in above]
    assert [line for line in bare if not re.match(rf"\s*{free}", line)] == []


def test_every_object_of_the_schema_is_closed(repository: Path) -> None:
    """An object whose keys the schema names accepts no other key."""
    schema = json.loads((repository / "helm/kubemint/values.schema.json").read_text())
    assert [path for path, part in objects(schema, "$") if part.get("additionalProperties") is not False] == []


def resolved(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference to the schema's definitions."""
    reference = part.get("$ref")
    return schema["definitions"][reference.rsplit("/", 1)[1]] if reference else part


def schema_paths(part: dict[str, Any], schema: dict[str, Any], prefix: str = "") -> set[str]:
    """Give the dotted paths of all values that the schema knows; what Kubernetes defines is one value."""
    paths: set[str] = set()
    for name, child in part.get("properties", {}).items():
        inner = resolved(child, schema)
        named = "properties" in inner and prefix + name != "resources"
        paths |= schema_paths(inner, schema, f"{prefix}{name}.") if named else {prefix + name}
    return paths


def value_paths(values: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    """Give the dotted paths of all values in a values file, as deep as the schema names them."""
    known = schema_paths(schema, schema)

    def walk(value: Any, path: str) -> set[str]:
        if path in known or not isinstance(value, dict):
            return {path}
        return set().union(*(walk(inner, f"{path}.{name}".lstrip(".")) for name, inner in value.items()))

    return walk(values, "")


def objects(part: Any, path: str) -> list[tuple[str, dict[str, Any]]]:
    """Give each part of a schema that names properties, with its path."""
    if isinstance(part, list):
        return [found for number, inner in enumerate(part) for found in objects(inner, f"{path}[{number}]")]
    if not isinstance(part, dict):
        return []
    own = [(path, part)] if isinstance(part.get("properties"), dict) and "type" in part else []
    return own + [found for name, inner in part.items() for found in objects(inner, f"{path}.{name}")]
