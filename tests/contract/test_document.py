"""The contract as a document: valid, complete, and with examples that are what they say."""

import tomllib

import pytest
from openapi_spec_validator import validate

from contract.contract_file import OCTETS, REPOSITORY, contract, examples, faults, operations, raw_contract
from kubemint.transparency.checkpoint import note_text, parse_checkpoint
from kubemint.transparency.notation import decode_hash
from kubemint.transparency.receipt import parse_receipt
from kubemint.transparency.tree import leaf_hash, verify_consistency, verify_inclusion

WITHOUT_EXAMPLE = {
    *OCTETS,
    "application/pkcs10",
    "application/ocsp-request",
    "text/css",
    "text/html",
    "text/markdown",
    "*/*",
}  # octets; files
TOLERANT = {"authorize"}  # API servers of later versions send more than is described
EXAMPLES = list(examples())


def test_the_file_is_valid_openapi() -> None:
    """openapi.yaml must be an OpenAPI 3.1 document without a mistake."""
    validate(raw_contract())


def test_the_version_is_that_of_the_package() -> None:
    """The contract must carry the version of the package that it comes with."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

    assert contract()["info"]["version"] == project["version"]


@pytest.mark.parametrize(("place", "value", "schema"), EXAMPLES, ids=[place for place, _, _ in EXAMPLES])
def test_an_example_fits_its_schema(place: str, value: object, schema: object) -> None:
    """What the contract shows must be what it describes."""
    assert faults(value, schema) == []


def test_the_examples_of_proofs_hold() -> None:
    """The receipt and the proofs that the contract shows must prove what they say."""
    receipt = parse_receipt(contract()["components"]["examples"]["Certificate"]["value"]["receipt"])
    inclusion, consistency = _json_example("/v1/log/inclusion"), _json_example("/v1/log/consistency")
    tree = parse_checkpoint(note_text(receipt.checkpoint))
    hashes = [decode_hash(text) for text in inclusion["hashes"]]
    sizes_and_roots = [(inclusion["size"], inclusion["rootHash"])]
    sizes_and_roots += [(consistency[end]["size"], consistency[end]["rootHash"]) for end in ("to", "from")]
    proven, new, old = [(size, decode_hash(text)) for size, text in sizes_and_roots]

    assert inclusion["checkpoint"] == consistency["checkpoint"] == receipt.checkpoint
    assert proven == new == (tree.size, tree.root)
    assert (receipt.index, hashes) == (inclusion["logIndex"], list(receipt.proof))
    assert leaf_hash(receipt.extra) == decode_hash(inclusion["leafHash"])
    verify_inclusion(receipt.index, tree.size, leaf_hash(receipt.extra), receipt.proof, tree.root)
    verify_consistency(*old, *new, [decode_hash(text) for text in consistency["hashes"]])


@pytest.mark.parametrize("operation", operations(), ids=str)
def test_requests_and_answers_have_examples(operation) -> None:
    """Each body of a request and of an answer must be shown, but for octets and files."""
    bodies = [operation.document.get("requestBody", {}), *operation.document["responses"].values()]
    without = [
        media_type
        for body in bodies
        for media_type, content in body.get("content", {}).items()
        if not content.get("examples")
    ]

    assert set(without) <= WITHOUT_EXAMPLE


@pytest.mark.parametrize("operation", operations(), ids=str)
def test_parameters_have_examples(operation) -> None:
    """Each parameter must be described and shown."""
    without = [
        parameter["name"]
        for parameter in operation.document.get("parameters", [])
        if not parameter.get("description") or not ("example" in parameter or "examples" in parameter)
    ]

    assert without == []


@pytest.mark.parametrize("operation", operations(), ids=str)
def test_every_answer_has_a_request_id(operation) -> None:
    """Each answer must promise X-Request-Id, and each error must be a problem document."""
    for status, response in operation.document["responses"].items():
        assert "X-Request-Id" in response["headers"]
        if int(status) >= 400:
            assert set(response["content"]) == {"application/problem+json"}


def test_request_schemas_are_closed_and_answers_are_open() -> None:
    """A request must not hold what is not described; an answer may gain members in a later version."""
    for operation in operations():
        is_closed = operation.document["operationId"] not in TOLERANT
        for content in operation.document.get("requestBody", {}).get("content", {}).values():
            assert {_is_closed(schema) for schema in _objects(content["schema"])} <= {is_closed}
        for response in operation.document["responses"].values():
            for content in response.get("content", {}).values():
                assert not any(_is_closed(schema) for schema in _objects(content["schema"]))


def _json_example(path: str) -> dict:
    response = contract()["paths"][path]["get"]["responses"]["200"]
    return response["content"]["application/json"]["examples"]["newest"]["value"]


def _is_closed(schema: dict) -> bool:
    return schema.get("additionalProperties") is False


def _objects(node: object):
    """Give every schema with described members below a schema."""
    if isinstance(node, list):
        for inner in node:
            yield from _objects(inner)
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict):
            yield node
        for inner in node.values():
            yield from _objects(inner)
