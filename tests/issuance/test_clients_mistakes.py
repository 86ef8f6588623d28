"""Requests that are wrong where a parser lets them through: the client's mistake, never the service's fault."""

import json

import pytest

from csrs import good_csr, pem
from running_service import RunningService


def test_a_profile_that_is_no_unicode_is_the_clients_fault(service: RunningService) -> None:
    """A profile that no UTF-8 can say (a lone surrogate in JSON) is refused as the client's mistake."""
    body = json.dumps({"csr": pem(good_csr()).decode(), "profile": "\ud800"})
    headers = {"Content-Type": "application/json"}
    answer = service.call("POST", "/v1/certificates", body=body, headers=headers, token="requester")
    assert answer.status in {400, 403}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/certificates?expirationSeconds=600&expirationSeconds=700"),
        ("GET", "/v1/certificates?limit=1&limit=2"),
        ("GET", "/v1/certificates?state=valid&state=expired"),
    ],
)
def test_a_repeated_query_parameter_is_the_clients_fault(service: RunningService, method: str, path: str) -> None:
    """A query parameter that is given twice is refused with its name, whatever its type."""
    headers = {"Content-Type": "application/x-pem-file"}
    answer = service.call(method, path, body=pem(good_csr()), headers=headers, token="requester")
    assert answer.status == 400, answer.text
