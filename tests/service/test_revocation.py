"""Revocation over HTTP: what is taken back, by whom, what of it is told to whom, and what is refused."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from csrs import good_csr, pem, private_key
from issuance.doors import HTTP_DOORS
from running_service import Answer, RunningService
from service.record import read_ledger
from service.revoking import Office, make_office

STATEMENT = "kubemint:revoke-this-key"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Serve developers, an operator and an auditor."""
    config = make_office(tmp_path_factory.mktemp("revocation") / "kubemint")
    with RunningService(config.parent, config=config) as service:
        yield Office(service=service)


def _codes(answer: Answer) -> list[str]:
    return [reason["code"] for reason in answer.json().get("reasons", [])]


def _size(office: Office) -> int:
    return read_ledger(office.service.ledger_file).size


def _state_key(office: Office, key: Any, user: str = STATEMENT, **said: Any) -> Answer:
    body = {"csr": pem(good_csr(key, user, ())).decode(), **said}
    return office.service.call("POST", "/v1/revocations/by-key", json_body=body)


def test_the_way_of_a_revocation(office: Office) -> None:
    """What was previewed is revoked, found under its name, in lists, and with the certificate that it hit."""
    body = office.issue("ann", "developers")
    counted = office.revoke(user="ann", preview=True)
    assert (counted.status, counted.json()) == (200, {"certificates": 1})
    answer = office.revoke(user="ann", reason="superseded", note="ticket 7")
    assert answer.status == 201, answer.text
    told = answer.json()
    assert {
        name: told[name] for name in ("certificates", "state", "reason", "note", "requester", "blocksKeys")
    } == {
        "certificates": 1,
        "state": "revoked",
        "reason": "superseded",
        "note": "ticket 7",
        "requester": "token:operator",
        "blocksKeys": False,
    }
    assert answer.headers["Location"] == f"/v1/revocations/{told['revocation']}"
    call = office.service.call
    assert call("GET", answer.headers["Location"], token="siem").json() == told
    assert call("GET", "/v1/revocations", token="operator").json()["items"][0] == told
    record = call("GET", f"/v1/certificates/{body['serialNumber']}", token="siem").json()
    assert record["state"] == "revoked"
    assert record["revocation"]["revocation"] == told["revocation"]
    found = call("GET", "/v1/certificates?user=ann&state=revoked", token="siem").json()["items"]
    assert [item["serialNumber"] for item in found] == [body["serialNumber"]]
    assert call("GET", "/v1/certificates?user=ann&state=valid", token="siem").json()["items"] == []
    lines = [json.loads(line) for line in office.service.output_file.read_bytes().splitlines()]
    named = [(line["event"], line["kind"]) for line in lines if line.get("revocation") == told["revocation"]]
    assert named == [("revocation", "revoked")]


def test_a_list_in_pages(office: Office) -> None:
    """Every revocation is on one page of the list, newest first."""
    names = [office.revoked(user=f"nobody-{number}")["revocation"] for number in range(5)]
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = "limit=2" + (f"&cursor={cursor}" if cursor else "")
        page = office.service.call("GET", f"/v1/revocations?{query}", token="siem").json()
        assert 0 < len(page["items"]) <= 2
        found += [item["revocation"] for item in page["items"]]
        cursor = page.get("nextCursor")
    assert found[:5] == names[::-1]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"select": []},
        {"select": {"users": "jane"}},
        {"select": {"user": ""}},
        {"select": {"user": "a\0b"}},
        {"select": {"user": "\ud800"}},
        {"select": {"user": ["jane"]}},
        {"select": {"user": "j" * 257}},
        {"select": {"serialNumber": "7G"}},
        {"select": {"serialNumber": "7f\n"}},
        {"select": {"serialNumber": "f" * 41}},
        {"select": {"credentialId": "sha256:" + "0" * 64}},
        {"select": {"publicKeySha256": "0" * 63}},
        {"select": {"issuedSince": "yesterday"}},
        {"select": {"user": "jane"}, "reason": "removeFromCRL"},
        {"select": {"user": "jane"}, "reason": "KeyCompromise"},
        {"select": {"user": "jane"}, "preview": "yes"},
        {"select": {"user": "jane"}, "note": "n" * 1001},
        {"select": {"user": "jane"}, "until": "2027-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_bodies_that_are_none(office: Office, body: dict[str, Any]) -> None:
    """A body that does not say exactly what is meant is 400, and nothing is recorded."""
    size = _size(office)
    answer = office.service.call("POST", "/v1/revocations", json_body=body, token="operator")
    assert answer.status == 400, answer.text
    assert _size(office) == size


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
@pytest.mark.parametrize("name", ["issuedSince", "issuedUntil", "suspendUntil"])
def test_the_ends_of_time(office: Office, name: str, moment: str) -> None:
    """A moment that is none in UTC is refused, and never an error of the service."""
    answer = office.revoke(user="nobody", **{name: moment})
    assert answer.status in {400, 409}, answer.text


@pytest.mark.parametrize("moment", ["2026-01-01", "2026-01-01T00:00:00", "20260101T000000", "2999-01-01T00:00"])
@pytest.mark.parametrize("name", ["issuedSince", "issuedUntil", "suspendUntil"])
def test_times_without_a_zone(office: Office, name: str, moment: str) -> None:
    """A date, or a time that does not say its zone, is refused with the reason; the service guesses none."""
    size = _size(office)
    for beside in ({}, {"preview": True}):
        answer = office.revoke(user="nobody", **{name: moment}, **beside)
        assert (answer.status, answer.json()["code"]) == (422, "unacceptable-request")
        (reason,) = answer.json()["reasons"]
        path = name if name == "suspendUntil" else f"select.{name}"
        assert (reason["code"], reason["path"]) == ("time-without-zone", path)
        assert "with its zone" in reason["message"]
    assert _size(office) == size


def test_times_with_a_zone(office: Office) -> None:
    """An offset is one, and the record has the moment in UTC."""
    told = office.revoked(user="nobody", issuedSince="2026-01-01T00:00:00+02:00")
    assert told["select"]["issuedSince"] == "2025-12-31T22:00:00Z"


def test_what_hits_nothing(office: Office) -> None:
    """Of a requester it is 404 in the same words, whether it is another's or nobody's, and nothing is recorded."""
    others = office.issue("nan", token="other")
    size = _size(office)
    answers = [
        office.revoke(token="requester", **selector)
        for selector in (
            {"serialNumber": others["serialNumber"]},
            {"serialNumber": "7f"},
            {"credentialId": others["credentialId"]},
            {"user": "nan"},
            {"user": "nobody-at-all"},
        )
    ]
    assert {answer.status for answer in answers} == {404}
    assert len({(answer.json()["code"], answer.json()["detail"]) for answer in answers}) == 1
    assert _size(office) == size
    assert office.revoked(user="nobody-at-all")["certificates"] == 0
    assert _size(office) == size + 1


def test_requesters_are_paced_each_by_itself(office: Office) -> None:
    """Who sends too many orders is told when to come again; others and operators are not held up."""
    answers = [office.revoke(token="siem", user="nobody", preview=True) for _ in range(60)]
    paced = [answer for answer in answers if answer.status == 429]
    assert {answer.status for answer in answers} == {200, 429}
    assert len(paced) >= 10  # of each of the two processes no more than twenty come through, and a few since
    assert _codes(paced[0]) == ["calls-too-many"]
    assert 1 <= int(paced[0].headers["Retry-After"]) <= 2
    assert office.revoke(token="siem", user="nobody").status == 429
    assert office.revoke(token="other", user="nobody", preview=True).status == 200
    assert {office.revoke(user="nobody", preview=True).status for _ in range(60)} == {200}


def test_what_cannot_be_meant(office: Office) -> None:
    """Everything, and suspensions of nobody, of more than is selected or in the past, are 409 with the reason."""
    size = _size(office)
    late, early = "2999-01-01T00:00:00Z", "2001-01-01T00:00:00Z"
    for answer, code in (
        (office.revoke(), "selector-empty"),
        (office.revoke(profile="developers", suspendUntil=late), "suspension-of-nobody"),
        (office.revoke(user="tim", group="viewers", suspendUntil=late), "suspension-too-wide"),
        (office.revoke(user="tim", group="viewers", suspendUntil=late, preview=True), "suspension-too-wide"),
        (office.revoke(user="jane", suspendUntil=early), "suspension-over"),
    ):
        assert (answer.status, answer.json()["code"]) == (409, "revocation-conflict")
        assert _codes(answer) == [code]
    assert _size(office) == size


def test_who_may(office: Office) -> None:
    """Strangers get 401; requesters revoke their own, see no other's, and lift nothing; auditors see all."""
    own, others = office.issue("eve"), office.issue("eve", token="other")
    assert office.revoke(token=None, user="eve").status == 401
    assert office.service.call("GET", "/v1/revocations").status == 401
    assert office.revoke(token="requester", requester="token:other").status == 403
    assert office.revoke(token="requester", user="eve", suspendUntil="2999-01-01T00:00:00Z").status == 403
    made = office.revoke(token="requester", user="eve", reason="certificateHold").json()
    assert made["certificates"] == 1
    path = f"/v1/revocations/{made['revocation']}"
    seen = {name: office.service.call("GET", path, token=name).status for name in ("requester", "siem", "other")}
    assert seen == {"requester": 200, "siem": 200, "other": 404}
    assert office.service.call("GET", "/v1/revocations", token="other").json()["items"] == []
    assert [office.lift(made["revocation"], who).status for who in ("requester", "siem", "operator")] == [
        403,
        403,
        200,
    ]
    state = {
        body["serialNumber"]: office.service.call(
            "GET", f"/v1/certificates/{body['serialNumber']}", token="operator"
        ).json()["state"]
        for body in (own, others)
    }
    assert set(state.values()) == {"valid"}


def test_holds(office: Office) -> None:
    """A hold is lifted once; what is no hold, never; what is not there, is 404."""
    office.issue("hal")
    held = office.revoked(user="hal", reason="certificateHold")["revocation"]
    lifted = office.lift(held)
    assert (lifted.status, lifted.json()["state"]) == (200, "lifted")
    assert lifted.json()["lifted"]["by"] == "token:operator"
    assert (office.lift(held).status, _codes(office.lift(held))) == (409, ["not-on-hold"])
    assert office.lift(office.revoked(user="hal")["revocation"]).status == 409
    for name in ("0" * 32, "0" * 31, "..%2f", "A" * 32, "ü"):
        assert office.lift(name.encode("ascii", "ignore").decode() or "x").status == 404


def test_a_suspended_user(office: Office) -> None:
    """A suspended user is refused with the reason, and others are not."""
    office.revoked(user="sus", suspendUntil="2999-01-01T00:00:00Z")
    answer = office.ask("sus")
    assert (answer.status, _codes(answer)) == (403, ["user-suspended"])
    assert office.ask("suse").status == 201


@pytest.mark.parametrize("door", HTTP_DOORS.values(), ids=HTTP_DOORS)
def test_a_revoked_key_through_every_door(office: Office, door: Any) -> None:
    """A CSR with a revoked key is refused through every door, and the refusal is on record."""
    key = private_key("ecdsa-p256", "doors")
    if office.ask("dora", key="doors").status == 201:
        assert _state_key(office, key).status == 201
    csr = good_csr(key, "dora", ())
    answer = office.service.call(
        "POST", "/v1/certificates", body=door.body(csr), headers={"Content-Type": door.media_type}, token="other"
    )
    assert (answer.status, _codes(answer)) == (403, ["key-revoked"])
    assert read_ledger(office.service.ledger_file).fields[-1]["reasons"] == answer.json()["reasons"]


def test_a_holder_and_its_certificate(office: Office) -> None:
    """The holder of a certificate revokes exactly that one with it, over TLS, and is nobody from then on."""
    body, spared = office.issue("hugo"), office.issue("hugo")
    directory = office.service.directory
    files = directory / "hugo.crt", directory / "hugo.key"
    files[0].write_text(body["certificate"])
    key = private_key("ecdsa-p256", "client")
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def call(method: str, path: str, **options: Any) -> Answer:
        return office.service.call(method, path, client_certificate=files, **options)

    assert call("GET", "/v1/policy").status == 200
    asked = call("POST", "/v1/revocations", json_body={"select": {"serialNumber": spared["serialNumber"]}})
    assert asked.status == 404
    asked = call("POST", "/v1/revocations", json_body={"select": {"credentialId": body["credentialId"]}})
    assert (asked.status, asked.json()["certificates"]) == (201, 1)
    assert call("GET", "/v1/policy").status == 401
    renewal = call(
        "POST", "/v1/certificates", body=good_csr(key, "hugo", ()), headers={"Content-Type": "application/pkcs10"}
    )
    assert renewal.status == 401
    assert renewal.json().keys() == {"type", "title", "status", "detail", "code", "requestId"}


def test_the_list_and_answers(office: Office) -> None:
    """The list is given in DER and in PEM, to anybody, and has what was revoked a moment ago."""
    body = office.issue("lea")
    office.revoked(user="lea")
    der = office.service.call("GET", "/v1/crl")
    assert (der.status, der.headers["Content-Type"]) == (200, "application/pkix-crl")
    found = x509.load_der_x509_crl(der.body)
    assert found.get_revoked_certificate_by_serial_number(int(body["serialNumber"], 16)) is not None
    assert found.is_signature_valid(
        x509.load_pem_x509_certificate(office.service.ca_file.read_bytes()).public_key()
    )  # type: ignore[arg-type]  # an EC key
    text = office.service.call("GET", "/v1/crl", headers={"Accept": "application/x-pem-file"})
    assert x509.load_pem_x509_crl(text.body).get_revoked_certificate_by_serial_number(
        int(body["serialNumber"], 16)
    )
    assert office.service.call("GET", "/v1/crl/1/0").status == 404  # no address is configured
    assert office.service.call("POST", "/v1/ocsp", body=b"garbage").status == 200
