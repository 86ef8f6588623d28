"""What the running service answers about its log is what the contract says, to those who may ask and to others."""

import pytest

from contract.contract_file import check_answer
from contract.csrs import csr_pem
from running_service import RunningService

INCLUSION = "/v1/log/inclusion"
CONSISTENCY = "/v1/log/consistency"

# what is wrong: path, who asks, status, code
REFUSALS = {
    "an unknown receipt": ("/v1/certificates/00ff/receipt", "requester", 404, "not-found"),
    "a proof of nothing": (INCLUSION, "requester", 400, "invalid-fields"),
    "a proof of two": (f"{INCLUSION}?index=0&serialNumber=01", "requester", 400, "invalid-fields"),
    "a proof of half a serial": (f"{INCLUSION}?serialNumber=0g", "requester", 400, "invalid-fields"),
    "a proof of no credential": (f"{INCLUSION}?credentialId=X509SHA256=00", "requester", 400, "invalid-fields"),
    "a proof of an unknown": (f"{INCLUSION}?serialNumber=00ff", "requester", 404, "not-found"),
    "a proof by its index": (f"{INCLUSION}?index=0", "requester", 403, "not-permitted"),
    "a proof in no tree": (f"{INCLUSION}?index=0&size=0", "operator", 400, "invalid-fields"),
    "a proof in a coming tree": (f"{INCLUSION}?index=0&size=999999", "operator", 404, "not-found"),
    "a proof of a coming entry": (f"{INCLUSION}?index=999999", "operator", 404, "not-found"),
    "growth from nowhere": (CONSISTENCY, "operator", 400, "invalid-fields"),
    "growth to fewer": (f"{CONSISTENCY}?from=2&to=1", "operator", 400, "invalid-fields"),
    "growth that is coming": (f"{CONSISTENCY}?from=1&to=999999", "operator", 404, "not-found"),
    "growth from later": (f"{CONSISTENCY}?from=999999", "operator", 404, "not-found"),
    "growth by another word": (f"{CONSISTENCY}?old=1", "operator", 400, "invalid-fields"),
    "a tile to come": ("/v1/log/tile/0/001", "operator", 404, "not-found"),
    "entries to come": ("/v1/log/tile/entries/001", "operator", 404, "not-found"),
    "no such level": ("/v1/log/tile/64/000", "operator", 404, "no-such-path"),
}


def test_a_receipt_is_given_with_the_certificate_and_later(service: RunningService) -> None:
    """The answer and the path of the receipt must both give one, as the contract describes it."""
    issued = service.call(
        "POST",
        "/v1/certificates",
        headers={"Content-Type": "application/x-pem-file"},
        body=csr_pem(),
        token="requester",
    )
    path = f"{issued.headers['Location']}/receipt"

    for token in ("requester", "operator"):
        answer = service.call("GET", path, token=token)
        check_answer(answer, "GET", path)
        assert answer.text.partition("index")[0] == issued.json()["receipt"].partition("index")[0]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/log/checkpoint",
        "/v1/log/tile/0/000.p/1",
        "/v1/log/tile/entries/000.p/1",
        "/v1/log/inclusion?index=0",
        "/v1/log/inclusion?index=0&size=1",
        "/v1/log/consistency?from=1",
        "/v1/log/consistency?from=0&to=1",
    ],
)
@pytest.mark.parametrize(("token", "status"), [("operator", 200), ("requester", 403), (None, 401)])
def test_the_log(service: RunningService, path: str, token: str | None, status: int) -> None:
    """Each part of the log must be what the contract says, and be refused to others as it says."""
    answer = service.call("GET", path, token=token)

    assert answer.status == status
    check_answer(answer, "GET", path.partition("?")[0])


@pytest.mark.parametrize(("path", "token", "status", "code"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal(service: RunningService, path: str, token: str, status: int, code: str) -> None:
    """Each way of asking wrongly must get the status, code and document that the contract says."""
    answer = service.call("GET", path, token=token)

    assert (answer.status, answer.json()["code"]) == (status, code)
    check_answer(answer, "GET", path.partition("?")[0])
