"""What the service reads and what the contract describes have the same members, bounds and defaults."""

from typing import Any

import pytest
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema

from contract.contract_file import operation, schema
from kubemint.kubernetes import access_review, signing_request
from kubemint.web import schemas, status, submissions
from kubemint.web.app import BODY_MAX_OCTETS
from kubemint.x509.request import CSR_MAX_OCTETS

COMPARED = ("type", "minimum", "maximum", "minLength", "maxLength", "minItems", "enum", "default", "required")
SUBMITTING = ("/v1/certificates", "/v1/decisions")


def shape_of(read_by: type[Schema]) -> dict[str, Any]:
    """Describe a marshmallow schema as JSON Schema does."""
    converter = OpenAPIConverter("3.1.0", schema_name_resolver=lambda _: None, spec=None)
    converter.map_to_openapi_type(schemas.Digits, "integer", None)
    converter.map_to_openapi_type(signing_request._Base64, "string", "byte")
    return normal(converter.schema2jsonschema(read_by()))


def normal(shape: dict[str, Any]) -> dict[str, Any]:
    """Reduce a JSON Schema to what both sides can say, in one way of saying it."""
    result = {key: shape[key] for key in COMPARED if key in shape}
    if "const" in shape:
        result["enum"] = [shape["const"]]
    if "enum" in result:
        result = {"enum": sorted(result["enum"])}
    if "required" in result:
        result["required"] = sorted(result["required"])
    if isinstance(shape.get("properties"), dict):
        result["properties"] = {name: normal(inner) for name, inner in shape["properties"].items()}
        result["closed"] = shape.get("additionalProperties") is False
    return result


def query_shape(method: str, path: str) -> dict[str, Any]:
    """Describe the query parameters of an operation as one object."""
    parameters = operation(method, path).parameters("query")
    properties = {name: parameter["schema"] for name, parameter in parameters.items()}
    return normal({"type": "object", "properties": properties, "additionalProperties": False})


def test_the_own_json_shape() -> None:
    """A JSON request must have the members and bounds that the contract gives it."""
    assert shape_of(schemas.CertificateRequestSchema) == normal(schema("CertificateRequest"))


def test_the_kubernetes_shape() -> None:
    """A CertificateSigningRequest must have the members and bounds that the contract gives it."""
    described = normal(schema("CertificateSigningRequest"))
    read = shape_of(signing_request._SigningRequestSchema)
    read["properties"]["metadata"] = described["properties"]["metadata"]  # anything, on both sides
    del read["properties"]["metadata"], described["properties"]["metadata"]

    assert read == described


def test_the_usages_of_the_kubernetes_shape() -> None:
    """The usages that are read must be those of the contract, `client auth` among them, and none twice."""
    usages = schema("CertificateSigningRequest")["properties"]["spec"]["properties"]["usages"]

    assert tuple(usages["items"]["enum"]) == signing_request._USAGES
    assert (usages["uniqueItems"], usages["contains"]) == (True, {"const": "client auth"})


@pytest.mark.parametrize("path", SUBMITTING)
def test_the_query_beside_a_csr(path: str) -> None:
    """The query beside a PEM or DER body must have the parameters and bounds that the contract gives it."""
    assert shape_of(schemas.CertificateQuerySchema) == query_shape("POST", path)


def test_the_query_beside_a_kubernetes_object() -> None:
    """The query beside a CertificateSigningRequest must be a part of the one beside a CSR."""
    read = shape_of(schemas.ProfileQuerySchema)["properties"].items()

    assert read <= query_shape("POST", "/v1/certificates")["properties"].items()


def test_the_query_of_the_list() -> None:
    """The filters of the list must have the names, bounds and defaults that the contract gives them."""
    read, described = shape_of(schemas.CertificateListSchema), query_shape("GET", "/v1/certificates")
    # A cursor is digits to the service and opaque to a client.
    assert (read["properties"].pop("cursor"), described["properties"].pop("cursor")) == (
        {"type": "integer"},
        {"type": "string"},
    )

    assert read == described


@pytest.mark.parametrize(
    ("path", "read_by"),
    [("/v1/requests", schemas.RequestListSchema), ("/v1/revocations", schemas.RevocationListSchema)],
)
def test_the_queries_of_other_lists(path: str, read_by: type[Schema]) -> None:
    """The query of a list must have the names, bounds and defaults that the contract gives them."""
    read, described = shape_of(read_by), query_shape("GET", path)
    del read["properties"]["cursor"], described["properties"]["cursor"]

    assert read == described


@pytest.mark.parametrize(
    ("path", "read_by"),
    [
        ("/v1/log/inclusion", schemas.InclusionQuerySchema),
        ("/v1/log/consistency", schemas.ConsistencyQuerySchema),
    ],
)
def test_the_queries_of_proofs(path: str, read_by: type[Schema]) -> None:
    """The query of a proof must have the names and bounds of the contract; a number in digits is 0 or more."""
    parameters = operation("GET", path).parameters("query").items()
    required = sorted(name for name, parameter in parameters if parameter.get("required"))
    read, described = shape_of(read_by), query_shape("GET", path)
    for property_read in read["properties"].values():
        if property_read["type"] == "integer":
            property_read.setdefault("minimum", 0)

    assert read.pop("required", []) == required
    assert read == described


def test_the_verdict() -> None:
    """Both verdicts must have the members and bounds that the contract gives them; a denial needs its reason."""
    approve, deny = (normal(kind) for kind in schema("Verdict")["oneOf"])
    read = shape_of(schemas.VerdictSchema)

    verdicts = [kind["properties"].pop("verdict")["enum"] for kind in (approve, deny)]
    assert read["properties"].pop("verdict")["enum"] == [*verdicts[0], *verdicts[1]] == ["approve", "deny"]
    assert read == approve
    assert (read["properties"], [*read["required"], "reason"]) == (
        deny["properties"],
        ["digest", "verdict", "reason"],
    )
    assert sorted(deny["required"]) == ["digest", "reason", "verdict"]


@pytest.mark.parametrize(
    ("name", "read_by"),
    [
        ("RevocationOrder", schemas.RevocationSchema),
        ("KeyStatement", schemas.KeyRevocationSchema),
        ("LiftOrder", schemas.LiftSchema),
    ],
)
def test_the_orders_of_revocation(name: str, read_by: type[Schema]) -> None:
    """What revokes, or lifts, must have the members and bounds of the contract; no note is an empty one."""
    read, described = shape_of(read_by), normal(schema(name))
    assert read["properties"]["note"].pop("default") == ""

    assert read == described


def test_the_object_of_an_api_server() -> None:
    """The words by which an API server's question is known must be those that are read."""
    review = schema("SubjectAccessReview")
    extra = review["properties"]["spec"]["properties"]["extra"]["properties"]

    assert tuple(review["properties"]["apiVersion"]["enum"]) == access_review.API_VERSIONS
    assert review["properties"]["kind"]["const"] == access_review.KIND
    assert list(extra) == [access_review.CREDENTIAL_ID_KEY]


def test_the_media_types_of_lists_and_status() -> None:
    """Lists and answers about status must be of the types that the contract lists."""
    lists, asked = (operation(*call).document for call in (("GET", "/v1/crl"), ("POST", "/v1/ocsp")))

    assert set(lists["responses"]["200"]["content"]) == {status.CRL, status.PEM}
    assert set(asked["requestBody"]["content"]) == {status.OCSP_REQUEST}
    assert set(asked["responses"]["200"]["content"]) == {status.OCSP_RESPONSE}


def test_the_times_of_the_list_are_date_times() -> None:
    """The bounds in time must be described as RFC 3339."""
    parameters = operation("GET", "/v1/certificates").parameters("query")

    assert {parameters[name]["schema"]["format"] for name in ("since", "until")} == {"date-time"}


@pytest.mark.parametrize("path", SUBMITTING)
def test_the_media_types(path: str) -> None:
    """The bodies that are read must be those that the contract lists."""
    assert set(submissions._READERS) == set(operation("POST", path).document["requestBody"]["content"])


@pytest.mark.parametrize(("octets", "text"), [(BODY_MAX_OCTETS, "64 KiB"), (CSR_MAX_OCTETS, "16 KiB")])
def test_the_sizes(octets: int, text: str) -> None:
    """The sizes that the contract names must be those that count."""
    from contract.contract_file import CONTRACT_FILE

    assert f"{octets // 1024} KiB" == text
    assert text in CONTRACT_FILE.read_text()
