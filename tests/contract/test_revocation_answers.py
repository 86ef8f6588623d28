"""What the running service answers to orders of revocation is what the contract says, and so are its refusals."""

import pytest

from contract.contract_file import check_answer, operation
from contract.csrs import csr_pem, key_pem
from contract.revoking import BY_KEY, JSON, REVOKE, STATEMENT, call, issue, state, statement_of
from running_service import RunningService

NOBODY = "0" * 32
CONFLICT = "revocation-conflict"

# what is wrong: path, who asks, what is sent, status, code
REFUSALS = {
    "everything": (REVOKE, "operator", {"json_body": {"select": {}}}, 409, CONFLICT),
    "a suspension of nobody": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"profile": "x"}, "suspendUntil": "2100-01-01T00:00:00Z"}},
        409,
        CONFLICT,
    ),
    "a suspension of more than is selected": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"user": "x", "group": "y"}, "suspendUntil": "2100-01-01T00:00:00Z"}},
        409,
        CONFLICT,
    ),
    "a suspension in the past": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"user": "x"}, "suspendUntil": "2000-01-01T00:00:00Z"}},
        409,
        CONFLICT,
    ),
    "nothing selected": (REVOKE, "operator", {"json_body": {}}, 400, "invalid-fields"),
    "an unknown selection": (REVOKE, "operator", {"json_body": {"select": {"name": "x"}}}, 400, "invalid-fields"),
    "an unknown reason": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"user": "x"}, "reason": "removeFromCRL"}},
        400,
        "invalid-fields",
    ),
    "a preview of 1": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"user": "x"}, "preview": 1}},
        400,
        "invalid-fields",
    ),
    "an empty note": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"user": "x"}, "note": ""}},
        400,
        "invalid-fields",
    ),
    "a moment before the first year": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"issuedSince": "0001-01-01T00:00:00+01:00"}}},
        400,
        "invalid-fields",
    ),
    "a moment after the last year": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"user": "x"}, "suspendUntil": "9999-12-31T23:59:59-01:00"}},
        400,
        "invalid-fields",
    ),
    "a query": (
        f"{REVOKE}?preview=true",
        "operator",
        {"json_body": {"select": {"user": "x"}}},
        400,
        "invalid-fields",
    ),
    "no JSON": (REVOKE, "operator", {"headers": JSON, "body": "{"}, 400, "invalid-document"),
    "no media type": (REVOKE, "operator", {"body": b"{}"}, 415, "unsupported-media-type"),
    "64 KiB and 1": (REVOKE, "operator", {"headers": JSON, "body": "x" * 65537}, 413, "body-too-large"),
    "what others asked for": (
        REVOKE,
        "requester",
        {"json_body": {"select": {"requester": "token:operator"}}},
        403,
        "not-permitted",
    ),
    "nothing of one's own": (REVOKE, "requester", {"json_body": {"select": {"user": "x"}}}, 404, "not-found"),
    "a date": (
        REVOKE,
        "operator",
        {"json_body": {"select": {"issuedSince": "2026-01-01"}}},
        422,
        "unacceptable-request",
    ),
    "a suspension by a requester": (
        REVOKE,
        "requester",
        {"json_body": {"select": {"user": "x"}, "suspendUntil": "2100-01-01T00:00:00Z"}},
        403,
        "not-permitted",
    ),
    "a stranger": (REVOKE, None, {"json_body": {"select": {"user": "x"}}}, 401, "not-authenticated"),
    "lifting by a requester": (f"{REVOKE}/{NOBODY}/lift", "requester", {"json_body": {}}, 403, "not-permitted"),
    "lifting nothing": (f"{REVOKE}/{NOBODY}/lift", "operator", {"json_body": {}}, 404, "not-found"),
    "lifting no name": (f"{REVOKE}/ann/lift", "operator", {"json_body": {}}, 404, "no-such-path"),
    "lifting with a word more": (
        f"{REVOKE}/{NOBODY}/lift",
        "operator",
        {"json_body": {"x": 1}},
        400,
        "invalid-fields",
    ),
}
# what is wrong with the word of a key: what is sent, status, code
BAD_STATEMENTS = {
    "another subject": ({"json_body": {"csr": csr_pem("jane")}}, 422, "unacceptable-request"),
    "a group": ({"json_body": {"csr": csr_pem(STATEMENT, "x")}}, 422, "unacceptable-request"),
    "the key itself": ({"json_body": {"csr": key_pem()}}, 400, "malformed-request"),
    "no CSR": ({"json_body": {"note": "x"}}, 400, "invalid-fields"),
    "no JSON": ({"headers": JSON, "body": "{"}, 400, "invalid-document"),
    "a CSR in PEM": (
        {"headers": {"Content-Type": "application/x-pem-file"}, "body": "x"},
        415,
        "unsupported-media-type",
    ),
    "64 KiB and 1": ({"headers": JSON, "body": "x" * 65537}, 413, "body-too-large"),
    "a key of nobody": ({"json_body": {"csr": csr_pem(STATEMENT)}}, 404, "not-found"),
}


def test_the_request_examples_work(listing: RunningService) -> None:
    """Each order that the contract shows must be served as it stands there, and be told as it describes."""
    issue(listing, "ann")
    examples = operation("POST", REVOKE).document["requestBody"]["content"]["application/json"]["examples"]
    answers = [call(listing, REVOKE, "operator", json_body=example["value"]) for example in examples.values()]
    shown = listing.call("GET", answers[2].headers["Location"], token="operator")
    page = listing.call("GET", f"{REVOKE}?limit=1", token="operator")

    assert [answer.status for answer in answers] == [201, 200, 201]
    check_answer(shown, "GET", answers[2].headers["Location"])
    check_answer(page, "GET", REVOKE)
    assert (page.json()["items"], "nextCursor" in page.json()) == ([answers[2].json()], True)
    assert shown.json() == answers[2].json()
    path = f"{answers[2].headers['Location']}/lift"
    lifted = call(listing, path, "operator", json_body={"note": "new laptop"})
    again = call(listing, path, "operator", json_body={})
    assert (lifted.json()["state"], lifted.json()["lifted"]["note"]) == ("lifted", "new laptop")
    assert (again.status, again.json()["code"]) == (409, CONFLICT)


def test_a_revoked_certificate_is_shown_as_such(listing: RunningService) -> None:
    """Its record must say by which revocation, alone and in lists; who may not see that one learns of none."""
    path = f"/v1/certificates/{issue(listing, 'bea')}"
    revoked = call(listing, REVOKE, "operator", json_body={"select": {"user": "bea"}}).json()
    record = listing.call("GET", path, token="requester")
    page = listing.call("GET", "/v1/certificates?state=revoked&user=bea", token="operator")
    hidden = listing.call("GET", f"{REVOKE}/{revoked['revocation']}", token="requester")

    check_answer(record, "GET", path)
    check_answer(page, "GET", "/v1/certificates")
    check_answer(hidden, "GET", f"{REVOKE}/{revoked['revocation']}")
    assert (record.json()["state"], record.json()["revocation"]["revocation"]) == (
        "revoked",
        revoked["revocation"],
    )
    assert page.json()["items"] == [record.json()]
    assert hidden.status == 404


def test_a_key_is_taken_back_by_whoever_has_it(listing: RunningService) -> None:
    """The key's word must be enough, twice be the same, and be told to operators as what it is."""
    issue(listing, "cleo")
    answers = [state(listing, json_body={"csr": statement_of("cleo"), "note": "found"}) for _ in range(2)]
    path = f"{REVOKE}/{answers[0].json()['revocation']}"
    shown = listing.call("GET", path, token="operator")

    check_answer(shown, "GET", path)
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert (shown.json()["method"], shown.json()["requester"].partition(":")[0]) == ("key", "key")
    assert shown.json()["blocksKeys"]
    refused = listing.call(
        "POST",
        "/v1/certificates",
        headers={"Content-Type": "application/x-pem-file"},
        body=csr_pem("cleo"),
        token="requester",
    )
    check_answer(refused, "POST", "/v1/certificates")
    assert [reason["code"] for reason in refused.json()["reasons"]] == ["key-revoked"]


@pytest.mark.parametrize(("sent", "status", "code"), BAD_STATEMENTS.values(), ids=BAD_STATEMENTS)
def test_a_word_of_a_key_that_does_not_count(listing: RunningService, sent: dict, status: int, code: str) -> None:
    """A CSR that does not say it, and a key that is in no certificate, must be told apart as the contract does."""
    answer = state(listing, **sent)

    assert (answer.status, answer.json()["code"]) == (status, code)


def test_strangers_are_paced(listing: RunningService) -> None:
    """Who asks too often must be told so, and when to come again."""
    answers = [call(listing, BY_KEY, None, json_body={}) for _ in range(40)]
    paced = [answer for answer in answers if answer.status == 429]

    assert {answer.status for answer in answers} == {400, 429}
    assert [reason["code"] for reason in paced[0].json()["reasons"]] == ["calls-too-many"]


def test_requesters_are_paced(listing: RunningService) -> None:
    """Who is no operator and orders too often must be told so, and when to come again."""
    body = {"select": {"user": "nobody"}, "preview": True}
    answers = [call(listing, REVOKE, "webhook", json_body=body) for _ in range(60)]  # nobody else orders by it

    assert {answer.status for answer in answers} == {200, 429}
    assert int(answers[-1].headers["Retry-After"]) <= 2


@pytest.mark.parametrize(("path", "token", "sent", "status", "code"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal(
    listing: RunningService, path: str, token: str | None, sent: dict, status: int, code: str
) -> None:
    """Each way of asking wrongly must get the status, code and document that the contract says."""
    answer = call(listing, path, token, **sent)

    assert (answer.status, answer.json()["code"]) == (status, code)
