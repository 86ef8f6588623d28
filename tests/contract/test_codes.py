"""Codes are the part of an error that programs read: none is undescribed, none is only described."""

import re

import pytest

from contract.codes_in_source import problem_codes, raised_names, reason_codes
from contract.contract_file import REPOSITORY, operations, schema
from kubemint import errors
from kubemint.kubernetes.signing_request import SIGNER_NAME
from kubemint.ledger.reader import State
from kubemint.policy.rules import Roles
from kubemint.register import CurrentState
from kubemint.requester import Method
from kubemint.web import problems
from kubemint.x509.keys import KEY_TYPES
from kubemint.x509.revocation import RevocationReason

NEVER_OVER_HTTP = {
    "ServiceRefused",
    "ServiceUnavailable",
    "ConfigurationError",
    "InvalidProof",
    "ExchangeFailed",
    "AnchorFault",
    "NotCosigned",
}  # the command line's, and what is between the service and those who watch the log
FALLBACK = "bad-request"  # for what werkzeug refuses and nobody named
GUIDE = (REPOSITORY / "docs/errors.md").read_text()


def described(name: str) -> set[str]:
    """Give the values of an enumeration of the contract."""
    return set(schema(name)["enum"])


def given() -> set[tuple[int | None, str]]:
    """Give each status with its code, as the map from exceptions to HTTP and the views have them."""
    ours = {(status, error.code) for error, status in problems._STATUS.items()}
    return ours | set(problems._HTTP_CODES.items()) | problem_codes()


def test_every_exception_has_its_status() -> None:
    """Each exception that a request can end in must be in the map to HTTP, and the others must not reach it."""
    concrete = {error.__name__ for error in _concrete(errors.KubemintError)}

    assert concrete - {error.__name__ for error in problems._STATUS} == NEVER_OVER_HTTP


def test_configuration_errors_are_not_raised_by_the_web() -> None:
    """A wrong configuration must stop the start; no view raises it."""
    raising = {file.as_posix() for file in raised_names("ConfigurationError")}

    assert {file for file in raising if file.startswith("web/")} <= {"web/gunicorn.py"}


def test_problem_codes_are_those_of_the_contract() -> None:
    """The contract must list every problem code that the service can give, and no other."""
    assert {code for _, code in given()} == described("ProblemCode")


def test_statuses_of_problem_codes_are_those_of_the_contract() -> None:
    """The contract must show each code under the status that the service gives it, and no other."""
    shown = {
        (int(status), code)
        for operation in operations()
        for status, response in operation.document["responses"].items()
        if int(status) >= 400
        for code in _codes(response["content"]["application/problem+json"]["schema"])
        if code != FALLBACK
    }

    assert shown == {(status, code) for status, code in given() if code != FALLBACK}


def test_reason_codes_are_those_of_the_contract() -> None:
    """The contract must list every reason code that the source makes, and no other."""
    assert reason_codes() == described("ReasonCode")


@pytest.mark.parametrize("enumeration", ["ProblemCode", "ReasonCode"])
def test_codes_are_explained(enumeration: str) -> None:
    """docs/errors.md must say of each code what it means and what to do."""
    assert described(enumeration) - set(_explained()) == set()


def test_nothing_else_is_explained() -> None:
    """docs/errors.md must explain no code that does not exist, and none twice."""
    assert sorted(_explained()) == sorted(described("ProblemCode") | described("ReasonCode"))


@pytest.mark.parametrize(
    ("enumeration", "values"),
    [
        ("State", set(State)),
        ("RequestState", set(CurrentState)),
        ("Method", set(Method)),
        ("KeyType", set(KEY_TYPES)),
        ("RevocationReason", set(RevocationReason)),
    ],
)
def test_enumerations_of_answers(enumeration: str, values: set[str]) -> None:
    """The values that an answer can hold must be those that the contract lists."""
    assert {str(value) for value in values} == described(enumeration)


def test_roles_are_those_of_the_contract() -> None:
    """The contract must list the roles that a policy can give."""
    listed = schema("PermittedPolicy")["properties"]["roles"]["items"]["enum"]

    assert {f"{role}s" for role in listed} == set(Roles.__dataclass_fields__)


def test_the_signer_is_that_of_the_contract() -> None:
    """The contract must name the one signer that a CertificateSigningRequest may be for."""
    spec = schema("CertificateSigningRequest")["properties"]["spec"]

    assert spec["properties"]["signerName"]["const"] == SIGNER_NAME


def _concrete(error: type[errors.KubemintError]) -> list[type[errors.KubemintError]]:
    """Give those that are raised: the leaves, and what has a code of its own though others derive from it."""
    inner = [found for child in error.__subclasses__() for found in _concrete(child)]
    is_root = error is errors.KubemintError
    return inner if inner and (is_root or "code" not in vars(error)) else [error, *inner]


def _codes(schema: dict) -> set[str]:
    """Give the codes that a problem's schema allows: of alternatives all, of parts the narrowest."""
    if "oneOf" in schema:
        return {code for inner in schema["oneOf"] for code in _codes(inner)}
    sets = [_codes(inner) for inner in schema.get("allOf", [])]
    if "code" in schema.get("properties", {}):
        sets.append(set(schema["properties"]["code"]["enum"]))
    return set.intersection(*filter(None, sets)) if any(sets) else set()


def _explained() -> list[str]:
    """Give the codes of the tables: rows of a code, what it means, and what to do."""
    return [code for code, means, do in re.findall(r"^\| `([a-z-]+)` [^|]*\| ([^|]+) \| ([^|]+) \|$", GUIDE, re.M)]
