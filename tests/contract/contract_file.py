"""openapi.yaml as the tests read it: references resolved, operations listed, answers held to it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, FormatChecker

from running_service import Answer

REPOSITORY = Path(__file__).parents[2]
CONTRACT_FILE = REPOSITORY / "openapi.yaml"
OCTETS = {"application/octet-stream", "application/pkix-crl", "application/ocsp-response"}
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

Json = Any


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path; `document` has no references left."""

    method: str
    path: str
    document: Json

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_open(self) -> bool:
        """Tell whether it asks for no identity."""
        return self.document.get("security") == []

    @property
    def sample_path(self) -> str:
        """Give a path that it is for, made of the examples of its parameters."""
        values = {name: next(_values_shown(found)) for name, found in self.parameters("path").items()}
        return self.path.format(**values)

    def fits(self, path: str) -> bool:
        """Tell whether a path is one of its; in `place` and `encoded`, and there alone, slashes may be."""
        open_ended = re.sub(r"\\{(place|encoded)\\}", ".+", re.escape(self.path))
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", open_ended)
        return re.fullmatch(pattern, path) is not None

    def parameters(self, place: str) -> dict[str, Json]:
        """Give the parameters in a place (`query`, `header`, `path`) by name."""
        found = self.document.get("parameters", [])
        return {parameter["name"]: parameter for parameter in found if parameter["in"] == place}


@cache
def contract() -> Json:
    """Give the contract with every reference replaced by what it names; there are no circles."""
    document = yaml.safe_load(CONTRACT_FILE.read_bytes())
    return _resolve(document, document)


def raw_contract() -> Json:
    """Give the contract as it is written."""
    return yaml.safe_load(CONTRACT_FILE.read_bytes())


def operations() -> list[Operation]:
    """Give every operation."""
    return [
        Operation(method=method.upper(), path=path, document=item[method])
        for path, item in contract()["paths"].items()
        for method in METHODS
        if method in item
    ]


def operation(method: str, path: str) -> Operation:
    """Give the operation that a request is for."""
    fitting = [
        found for found in operations() if found.method == method and (found.path == path or found.fits(path))
    ]
    return min(fitting, key=lambda found: found.path.count("{"))


def schema(name: str) -> Json:
    """Give a schema out of the components."""
    return contract()["components"]["schemas"][name]


def faults(instance: Json, described_by: Json) -> list[str]:
    """Say how a value differs from its schema; formats count."""
    validator = Draft202012Validator(described_by, format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message}"[:300] for error in validator.iter_errors(instance)]


def closed(described_by: Json, *, part_of_all: bool = False) -> Json:
    """Give a schema that also refuses what it does not describe: answers must not outgrow the contract."""
    if isinstance(described_by, list):
        return [closed(inner) for inner in described_by]
    if not isinstance(described_by, dict):
        return described_by
    result = {
        key: [closed(inner, part_of_all=True) for inner in value] if key == "allOf" else closed(value)
        for key, value in described_by.items()
    }
    describes_members = "allOf" in result or isinstance(result.get("properties"), dict)
    if describes_members and not part_of_all and "additionalProperties" not in result:
        result["unevaluatedProperties"] = False
    return result


def check_answer(answer: Answer, method: str, path: str) -> None:
    """Hold an answer to the contract: status, headers, media type and every member of the body."""
    responses = operation(method, path).document["responses"]
    assert str(answer.status) in responses, f"{answer.status} is not in the contract: {answer.body[:500]!r}"
    check_response(answer, responses[str(answer.status)])


def check_response(answer: Answer, response: Json) -> None:
    """Hold an answer to one response of the contract."""
    assert header_faults(answer.headers, response["headers"]) == []
    described_by = response["content"][answer.headers.get_content_type()]["schema"]
    assert faults(_body(answer), closed(described_by)) == []


def header_faults(sent: Message, described: Json) -> list[str]:
    """Say which headers are missing or are not what the contract says."""
    missing = [name for name, header in described.items() if header.get("required") and name not in sent]
    wrong = [
        f"{name}: {fault}"
        for name, header in described.items()
        for fault in (faults(sent[name], header["schema"]) if name in sent else ())
    ]
    return missing + wrong


def examples() -> Iterator[tuple[str, Json, Json]]:
    """Give every example of the contract: where it stands, its value, and its schema."""
    yield from _examples_in(contract(), "")


def _values_shown(parameter: Json) -> Iterator[str]:
    yield from [parameter["example"]] if "example" in parameter else ()
    yield from (example["value"] for example in parameter.get("examples", {}).values())


def _examples_in(node: Json, path: str) -> Iterator[tuple[str, Json, Json]]:
    if isinstance(node, list):
        for number, inner in enumerate(node):
            yield from _examples_in(inner, f"{path}/{number}")
    if not isinstance(node, dict):
        return
    if "schema" in node:
        if "example" in node:
            yield f"{path}/example", node["example"], node["schema"]
        for name, example in node.get("examples", {}).items():
            yield f"{path}/examples/{name}", example["value"], node["schema"]
    for key, inner in node.items():
        if key not in {"example", "examples", "schema", "schemas"}:
            yield from _examples_in(inner, f"{path}/{key}")


def _resolve(node: Json, document: Json) -> Json:
    if isinstance(node, list):
        return [_resolve(inner, document) for inner in node]
    if not isinstance(node, dict):
        return node
    beside = {key: _resolve(value, document) for key, value in node.items() if key != "$ref"}
    if "$ref" not in node:
        return beside
    target = document
    for step in node["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return _resolve(target, document) | beside


def _body(answer: Answer) -> Json:
    media_type = answer.headers.get_content_type()
    if media_type in OCTETS:
        return answer.body
    if media_type.endswith("json"):
        return json.loads(answer.body)
    if media_type == "application/yaml":
        return yaml.safe_load(answer.body)
    return answer.text
