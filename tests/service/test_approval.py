"""Approval as its users meet it over HTTP, with everything on record."""

import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from commands.cli import kubemint
from contract.contract_file import check_answer
from csrs import good_csr
from running_service import Answer, RunningService
from service.approving import OPERATORS, UNKNOWN, Desk, workspace_with_approval
from service.record import read_ledger

AS_PEM = {"Accept": "application/pem-certificate-chain"}
OTHER_DIGEST = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve with approval."""
    config = workspace_with_approval(tmp_path_factory.mktemp("home") / ".kubemint")
    with RunningService(config.parent, config=config) as running:
        yield running


@pytest.fixture
def desk(service: RunningService) -> Desk:
    """Give a desk at the running service."""
    return Desk(service)


def test_one_approval(desk: Desk, tmp_path: Path) -> None:
    """What was approved must be there for the requester, verify, and be on record with who approved."""
    asked = desk.ask()
    decided = desk.decide(asked, "ann")
    assert (decided.status, decided.json()["state"]) == (200, "issued")

    fetched = desk.see(asked, "requester")
    pem = desk.see(asked, "requester", AS_PEM)

    issued = fetched.json()["issued"]
    assert pem.text == issued["certificate"] + "".join(issued["chain"])
    (tmp_path / "jane.crt").write_text(pem.text)
    verify = ("openssl", "verify", "-CAfile", str(desk.service.ca_file), "-purpose", "sslclient", "jane.crt")
    subprocess.run(verify, cwd=tmp_path, check=True, capture_output=True)
    record = desk.service.call("GET", f"/v1/certificates/{issued['serialNumber']}", token="siem").json()
    assert (record["approvedBy"], record["request"]) == (["token:ann"], asked["request"])
    assert desk.kinds_of(asked) == ["requested", "approved", "issued"]


def test_decisions_are_told_as_they_are_recorded(desk: Desk) -> None:
    """Each entry must have its line on standard output, and no line the CSR or the certificate."""
    asked = desk.ask("owners")
    for operator in ("ann", "bob"):
        desk.decide(asked, operator)

    told = map(json.loads, desk.service.output_file.read_text().splitlines())
    lines = [line for line in told if line.get("request") == asked["request"]]
    assert [line["kind"] for line in lines] == ["requested", "approved", "approved", "issued"]
    assert [line["event"] for line in lines] == ["decision", "verdict", "verdict", "decision"]
    assert not any({"csr", "certificate"} & line.keys() for line in lines)


def test_two_approvals(desk: Desk) -> None:
    """The first of two must leave the request open, and one operator cannot give both."""
    asked = desk.ask("owners")

    first, again, second = (desk.decide(asked, operator) for operator in ("ann", "ann", "bob"))

    assert (first.json()["state"], [said["by"] for said in first.json()["approvals"]]) == (
        "pending",
        ["token:ann"],
    )
    assert (again.status, _codes(again)) == (409, {"approval-twice"})
    assert second.json()["state"] == "issued"
    assert desk.kinds_of(asked) == ["requested", "approved", "approved", "issued"]


def test_a_retry_learns_what_has_become_of_it(desk: Desk) -> None:
    """Under its Idempotency-Key a request is found again: waiting, denied, or as the certificate it led to."""
    csr = good_csr(groups=("admins",))
    for verdict, status, state in (("approve", 201, None), ("deny", 202, "denied")):
        first, second = (desk.ask_again(csr, key=verdict) for _ in range(2))
        assert (first.status, second.status) == (202, 202)
        assert (second.json(), second.headers["Idempotency-Replayed"]) == (first.json(), "true")
        desk.decide(first.json(), "ann", verdict)
        third = desk.ask_again(csr, key=verdict)
        assert (third.status, third.json().get("state"), third.headers["Idempotency-Replayed"]) == (
            status,
            state,
            "true",
        )
        assert desk.kinds_of(first.json())[0] == "requested"
        assert desk.kinds_of(first.json()).count("issued") == (verdict == "approve")


def test_denied(desk: Desk) -> None:
    """A denial must end the request and tell the requester why."""
    asked = desk.ask()
    assert desk.decide(asked, "bob", "deny", reason="not today").json()["state"] == "denied"

    late = desk.decide(asked, "ann")
    seen = desk.see(asked, "requester")

    assert (late.status, _codes(late)) == (409, {"approval-decided"})
    assert (seen.json()["denial"]["reason"], "issued" in seen.json()) == ("not today", False)
    assert desk.see(asked, "requester", AS_PEM).json()["state"] == "denied"
    assert desk.kinds_of(asked) == ["requested", "denied"]


def test_who_may_decide(desk: Desk) -> None:
    """Requester, auditor and stranger must not decide, nor an operator on its own request."""
    asked = desk.ask()
    own = desk.ask(token="ann")

    for token in ("requester", "siem", "stranger", "operator"):
        for verdict in ("approve", "deny"):
            answer = desk.decide(asked, token, verdict)
            assert (answer.status, answer.json()["code"]) == (403, "not-permitted")
    assert _codes(desk.decide(own, "ann")) == {"approval-own"}
    assert desk.decide(own, "bob").json()["state"] == "issued"


def test_another_token_of_the_same_identity(desk: Desk) -> None:
    """Who asked must not approve with a new token of its own name."""
    asked = desk.ask(token="ann")
    config = desk.service.directory / "kubemint.yaml"
    old = desk.service.token("ann")
    assert kubemint("token", "delete", "ann", "--config", config, cwd=config.parent).code == 0
    made = kubemint("token", "create", "ann", "--config", config, cwd=config.parent)
    (config.parent / "ann.token").write_text(made.output)
    assert made.output.strip() != old
    _wait_for_token(desk)

    assert _codes(desk.decide(asked, "ann")) == {"approval-own"}


def _wait_for_token(desk: Desk) -> None:
    """Wait until every worker knows the new token: each looks once a second."""
    known, end = 0, time.monotonic() + 15
    while known < 20:
        assert time.monotonic() < end
        known = known + 1 if desk.service.call("GET", "/v1/policy", token="ann").status == 200 else 0
        time.sleep(0.1)


def test_who_sees_what(desk: Desk) -> None:
    """Operators and auditors must see claims and the difference, the requester its own, others nothing."""
    desk.decide(desk.ask(user="kim"), "ann")
    asked = desk.ask(user="kim")

    for token in ("bob", "siem"):
        seen = desk.see(asked, token).json()
        assert seen["claims"] == {}
        previous = seen["previous"]
        assert (previous["lifetimeSeconds"], previous["sameKey"], previous["groupsAdded"]) == (1800, True, [])
    own = desk.see(asked, "requester").json()
    assert own.keys() & {"claims", "previous"} == set()
    assert (own["digest"], own["lifetimeSeconds"]) == (asked["digest"], 1800)
    assert (desk.see(asked, "stranger").status, desk.see(asked, "operator").status) == (404, 404)


def test_lists(desk: Desk) -> None:
    """Lists must go by state, page by page, and show others' requests to auditors and operators alone."""
    asked = [desk.ask(), desk.ask(), desk.ask(token="ann")]
    desk.decide(asked[0], "bob", "deny")

    def listed(token: str, query: str = "") -> list[str]:
        names, cursor = [], ""
        while cursor is not None:
            path = "/v1/requests?limit=2" + query + (f"&cursor={cursor}" if cursor else "")
            answer = desk.service.call("GET", path, token=token)
            check_answer(answer, "GET", "/v1/requests")
            names += [item["request"] for item in answer.json()["items"]]
            cursor = answer.json().get("nextCursor")
        return names

    everything = listed("siem")
    assert everything[:3] == [asked[2]["request"], asked[1]["request"], asked[0]["request"]]
    assert everything == listed("bob")
    assert listed("siem", "&state=pending")[:2] == [asked[2]["request"], asked[1]["request"]]
    assert asked[0]["request"] in listed("siem", "&state=denied")
    assert listed("siem", "&state=expired") == listed("stranger") == []
    assert asked[2]["request"] not in listed("requester")
    assert set(listed("requester")) | set(listed("ann", "&state=pending")) <= set(everything)


@pytest.mark.parametrize("name", [UNKNOWN, "1", "F" * 32, "%00", "x" * 500, "0" * 31 + "%C3%A9"])
def test_names_of_nothing(desk: Desk, name: str) -> None:
    """What is not the name of a request must be 404, whatever it is."""
    nothing = {"request": name, "digest": OTHER_DIGEST}

    for answer in (desk.see(nothing, "ann"), desk.decide(nothing, "ann")):
        assert (answer.status, answer.json()["code"]) == (404, "not-found")


WRONG = {
    "no digest": {"digest": None},
    "another digest's name": {"digest": "sha512:00"},
    "a digest with a line": {"digest": OTHER_DIGEST + "\n"},
    "an unknown verdict": {"verdict": "maybe"},
    "a number": {"verdict": 1},
    "a list": {"digest": [OTHER_DIGEST]},
    "an empty reason": {"reason": ""},
    "a long reason": {"reason": "x" * 1001},
    "NUL": {"reason": "a\x00b"},
    "an unknown member": {"force": True},
}


@pytest.mark.parametrize("members", WRONG.values(), ids=WRONG)
def test_wrong_members(desk: Desk, members: dict[str, Any]) -> None:
    """A verdict of another shape must be 400, and change nothing."""
    asked = desk.ask()

    answer = desk.decide(asked, "ann", **members)

    assert (answer.status, answer.json()["code"]) == (400, "invalid-fields")
    assert desk.kinds_of(asked) == ["requested"]


def test_other_bodies(desk: Desk) -> None:
    """A denial without its reason, a body that is no JSON, another type and a query must be refused."""
    asked = desk.ask()
    path = f"/v1/requests/{asked['request']}/approval"
    silent = {"verdict": "deny", "digest": asked["digest"]}
    approval = silent | {"verdict": "approve"}
    json_type = {"Content-Type": "application/json"}
    calls = [
        ({"json_body": silent}, "", 400, "invalid-fields"),
        ({"json_body": approval}, "?force=1", 400, "invalid-fields"),
        ({"json_body": []}, "", 400, "invalid-fields"),
        ({"body": "{", "headers": json_type}, "", 400, "invalid-document"),
        ({"body": '{"digest": "", "digest": ""}', "headers": json_type}, "", 400, "invalid-document"),
        (
            {"body": json.dumps(approval), "headers": {"Content-Type": "text/plain"}},
            "",
            415,
            "unsupported-media-type",
        ),
        ({"body": " " * 70_000, "headers": json_type}, "", 413, "body-too-large"),
    ]
    for sent, query, status, code in calls:
        answer = desk.service.call("POST", path + query, token="ann", **sent)
        assert (answer.status, answer.json()["code"]) == (status, code)
        check_answer(answer, "POST", path)
    assert desk.kinds_of(asked) == ["requested"]


def test_another_digest(desk: Desk) -> None:
    """An approval of other terms must be a conflict."""
    answer = desk.decide(desk.ask(), "ann", digest=OTHER_DIGEST)

    assert (answer.status, _codes(answer)) == (409, {"approval-digest"})


def test_racing_operators(desk: Desk) -> None:
    """Whatever many operators send at once to many workers, there must be one certificate."""
    for _ in range(5):
        asked = desk.ask("owners")
        with ThreadPoolExecutor(9) as threads:
            answers = list(threads.map(lambda token, asked=asked: desk.decide(asked, token), OPERATORS * 3))

        assert sorted(answer.status for answer in answers) == [200, 200, *[409] * 7]
        assert desk.kinds_of(asked) == ["requested", "approved", "approved", "issued"]
    read_ledger(desk.service.ledger_file).check()


def _codes(answer: Answer) -> set[str]:
    return {reason["code"] for reason in answer.json()["reasons"]}
