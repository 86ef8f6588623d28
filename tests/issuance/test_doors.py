"""One request through every door: one verdict, in every detail that a client can see and the record keeps."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from csrs import bad_csr, good_csr
from issuance.doors import HTTP_DOORS, HttpDoor
from running_service import Answer, RunningService
from service.record import read_ledger
from service.workspaces import make_workspace

POLICY = """
apiVersion: kubemint/v1
kind: Policy
profiles:
  plain: &plain
    requesters: [{token: requester}]
    users: [jane]
    groups: [developers]
    required: [everybody]
    lifetime: {default: 1h, max: 2h}
  limited:
    <<: *plain
    quota: {certificates: 1, per: 1h}
  watched:
    <<: *plain
    approval: required
    approvals: 2
  secret:
    <<: *plain
    requesters: [{token: operator}]
"""
CSR = good_csr(groups=["developers"])
GREEDY = good_csr(user="eve", groups=["admins", "system:nodes"])
DOORS = pytest.mark.parametrize("door", HTTP_DOORS.values(), ids=HTTP_DOORS)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve three profiles to one requester, which has used up the quota of one of them."""
    config = make_workspace(tmp_path_factory.mktemp("doors") / "kubemint")
    config.with_name("policy.yaml").write_text(json.dumps(yaml.safe_load(POLICY)))
    with RunningService(config.parent, config=config) as running:
        assert send(running, HTTP_DOORS["DER"], CSR, "limited").status == 201
        yield running


def send(
    service: RunningService,
    door: HttpDoor,
    csr: bytes,
    profile: str | None = "plain",
    path: str = "/v1/certificates",
    token: str | None = "requester",
) -> Answer:
    """Send a CSR through a door; the profile goes where the door has a place for it."""
    body = door.body(csr)
    document = json.loads(body) if door.media_type == "application/json" else {}
    if profile is not None and "csr" in document:
        body = json.dumps(document | {"profile": profile}).encode()
    elif profile is not None:
        path += f"?profile={profile}"
    return service.call("POST", path, body=body, headers={"Content-Type": door.media_type}, token=token)


def told(answer: Answer, *but: str) -> dict[str, Any]:
    """Give the body without what is another one each time."""
    return {name: value for name, value in answer.json().items() if name not in {"requestId", *but}}


def recorded(service: RunningService) -> dict[str, Any]:
    """Give the last entry without what is another one each time."""
    own = {"time", "submissionSha256", "serialNumber", "credentialId", "certificate", "notBefore", "notAfter"}
    last = read_ledger(service.ledger_file).fields[-1]
    return {name: value for name, value in last.items() if name not in own | {"request", "expires"}}


def in_every_door(service: RunningService, csr: bytes, profile: str, *but: str) -> tuple[Answer, dict[str, Any]]:
    """Send a CSR through each door; fail unless answers and records are alike. Gives one of each."""
    answers, records = [], []
    for door in HTTP_DOORS.values():
        answers.append(send(service, door, csr, profile))
        records.append(recorded(service))
    assert len({answer.status for answer in answers}) == 1
    assert all(told(answer, *but) == told(answers[0], *but) for answer in answers)
    assert all(record == records[0] for record in records)
    return answers[0], records[0]


def test_granted(service: RunningService) -> None:
    """Each door gives a certificate of the same terms."""
    own = ("serialNumber", "credentialId", "certificate", "notBefore", "notAfter", "logIndex", "receipt")
    answer, record = in_every_door(service, CSR, "plain", *own)
    assert answer.status == 201
    assert (record["kind"], record["user"], record["groups"]) == ("issued", "jane", ["developers", "everybody"])


def test_refused(service: RunningService) -> None:
    """Each door refuses for all reasons at once, and says what would be allowed."""
    answer, record = in_every_door(service, GREEDY, "plain")
    assert (answer.status, answer.json()["code"]) == (403, "refused")
    reasons = ["user-not-allowed", "group-not-allowed", "group-reserved", "group-not-allowed"]
    assert [reason["code"] for reason in answer.json()["reasons"]] == reasons
    assert all(reason["path"] and reason["message"] for reason in answer.json()["reasons"])
    assert record["reasons"] == answer.json()["reasons"]
    assert [allowed["name"] for allowed in answer.json()["allowed"]] == ["plain", "limited", "watched"]
    assert answer.json()["allowed"][0] | {"keys": None} == {
        "name": "plain",
        "users": ["jane"],
        "groups": ["developers"],
        "requiredGroups": ["everybody"],
        "reserved": [],
        "keys": None,
        "defaultExpirationSeconds": 3600,
        "maxExpirationSeconds": 7200,
        "problems": [],
    }


def test_over_the_quota(service: RunningService) -> None:
    """Each door says that there are enough, and when to come again."""
    answer, record = in_every_door(service, CSR, "limited")
    assert (answer.status, answer.json()["code"]) == (429, "quota-exceeded")
    assert 3500 < int(answer.headers["Retry-After"]) <= 3601
    assert record["reasons"] == answer.json()["reasons"]
    assert "limited" in [allowed["name"] for allowed in answer.json()["allowed"]]


def test_to_be_approved(service: RunningService) -> None:
    """Each door says that the request waits for the same number of approvals of the same terms."""
    answer, record = in_every_door(service, CSR, "watched", "request", "expires", "logIndex")
    assert (answer.status, answer.json()["state"], answer.json()["approvalsNeeded"]) == (202, "pending", 2)
    assert (record["kind"], record["digest"]) == ("requested", answer.json()["digest"])


def test_unfit(service: RunningService) -> None:
    """Each door refuses a CSR that asks for what cannot be given."""
    answer, _ = in_every_door(service, bad_csr("OU"), "plain")
    assert answer.status == 422


@DOORS
def test_the_dry_run(service: RunningService, door: HttpDoor) -> None:
    """A dry run says through each door what the request would get, and leaves no trace."""
    size = read_ledger(service.ledger_file).size
    granted, limited, watched, refused = (
        send(service, door, csr, profile, "/v1/decisions").json()
        for csr, profile in ((CSR, "plain"), (CSR, "limited"), (CSR, "watched"), (GREEDY, "plain"))
    )
    assert [body["verdict"] for body in (granted, limited, watched, refused)] == ["granted"] * 3 + ["refused"]
    assert (granted["user"], granted["groups"]) == ("jane", ["developers", "everybody"])
    assert granted.keys().isdisjoint({"quota", "approvalsNeeded"})
    assert limited["quota"] == {"certificates": 1, "perSeconds": 3600}
    assert watched["approvalsNeeded"] == 2
    assert refused["reasons"] == send(service, door, GREEDY).json()["reasons"]
    assert read_ledger(service.ledger_file).size == size + 1  # that of the refusal to compare with
    assert send(service, door, bad_csr("OU"), "plain", "/v1/decisions").status == 422


@DOORS
@pytest.mark.parametrize("path", ["/v1/certificates", "/v1/decisions"])
def test_nobody_learns_anything(service: RunningService, door: HttpDoor, path: str) -> None:
    """Who does not prove who it is learns no profile, rule, name or policy, and leaves no record."""
    size = read_ledger(service.ledger_file).size
    for csr, profile in ((CSR, "plain"), (CSR, "nowhere"), (GREEDY, None), (b"no CSR", None)):
        answer = send(service, door, csr, profile, path, token=None)
        assert answer.status == 401
        assert answer.json().keys() == {"type", "title", "status", "detail", "code", "requestId"}
        assert not [word for word in ("plain", "limited", "developers", "jane", "sha256") if word in answer.text]
    assert read_ledger(service.ledger_file).size == size


def test_a_profile_of_others(service: RunningService) -> None:
    """A profile that is for others is refused in the words for one that is not there, and is not shown."""
    answers = {name: send(service, HTTP_DOORS["PEM"], CSR, name) for name in ("secret", "nowhere")}
    assert {answer.status for answer in answers.values()} == {403}
    assert len({json.dumps(told(answer)).replace(name, "…") for name, answer in answers.items()}) == 1
