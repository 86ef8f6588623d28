"""The paths of the contract and the routes of the application are the same."""

import re

import pytest

from contract.contract_file import operations
from contract.csrs import csr_pem
from kubemint import config
from kubemint.web.app import create_app
from kubemint.wiring import open_service
from running_service import RunningService

AUTOMATIC = {"HEAD", "OPTIONS"}  # Flask adds them to every route; info.description says so


@pytest.fixture(scope="module")
def routes(service: RunningService) -> set[tuple[str, str]]:
    """Give the routes of an application over the configuration of the running service."""
    opened = open_service(config.load(service.directory / "kubemint.yaml"))
    app = create_app(opened)
    opened.close()
    return {
        (method, re.sub(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - AUTOMATIC
    }


def test_every_route_is_described(routes) -> None:
    """A route that the contract does not have must not exist."""
    assert routes - {(operation.method, operation.path) for operation in operations()} == set()


def test_every_operation_exists(routes) -> None:
    """An operation of the contract must have its route."""
    assert {(operation.method, operation.path) for operation in operations()} - routes == set()


@pytest.mark.parametrize("operation", operations(), ids=str)
def test_only_open_operations_answer_a_stranger(service: RunningService, operation) -> None:
    """Without identity, exactly the operations that the contract opens must answer other than 401."""
    body = csr_pem() if operation.method == "POST" else None
    headers = {"Content-Type": "application/x-pem-file"} if body else None

    answer = service.call(operation.method, operation.sample_path, body=body, headers=headers)

    assert (answer.status != 401) == operation.is_open


@pytest.mark.parametrize("path", sorted({operation.sample_path for operation in operations()}))
def test_allow_names_the_methods_of_the_contract(service: RunningService, path: str) -> None:
    """The Allow header of a 405 must name exactly the methods that the contract has, HEAD and OPTIONS aside."""
    answer = service.call("DELETE", path)

    allowed = set(answer.headers["Allow"].split(", ")) - AUTOMATIC
    assert (answer.status, allowed) == (405, {found.method for found in operations() if found.sample_path == path})
