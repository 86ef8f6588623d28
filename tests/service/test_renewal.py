"""Renewal as holders do it: with the certificate in hand over TLS, and no token."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from prometheus_client.parser import text_string_to_metric_families

from authentication.certificates import ClientCa, cn, o
from csrs import good_csr, private_key
from running_service import Answer, RunningService
from service.clients import PKCS10
from service.record import read_ledger
from service.workspaces import change_yaml, make_workspace, refusal_to_start

Files = tuple[Path, Path]
KEY = private_key("ecdsa-p256")
BOTH = ("developers", "viewers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A service whose developers may renew, and the certificates that it gives."""

    service: RunningService

    def ask(
        self,
        shown: Files | None,
        user: str = "jane",
        groups: tuple[str, ...] = BOTH,
        query: str = "",
        **headers: str,
    ) -> Answer:
        """Ask with a client certificate, or with the requester's token where there is none."""
        return self.service.call(
            "POST",
            f"/v1/certificates?{query}",
            body=good_csr(KEY, user=user, groups=list(groups)),
            headers=PKCS10 | headers,
            token="requester" if shown is None else None,
            client_certificate=shown,
        )

    def files(self, certificate: str) -> Files:
        """Write a certificate down, with the key of all CSRs here."""
        serial = x509.load_pem_x509_certificate(certificate.encode()).serial_number
        names = self.service.directory / f"{serial}.crt", self.service.directory / f"{serial}.key"
        names[0].write_text(certificate)
        names[1].write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return names

    def first(self, query: str = "") -> tuple[dict[str, Any], Files]:
        """Get the first certificate of a line with the token."""
        answer = self.ask(None, query=query)
        assert answer.status == 201, answer.text
        return answer.json(), self.files(answer.json()["certificate"])

    def last(self) -> dict[str, Any]:
        """Give the last entry on record."""
        return read_ledger(self.service.ledger_file).fields[-1]

    def alarms(self) -> float:
        """Count the certificates of the CA's key that are not on record."""
        families = text_string_to_metric_families(self.service.call("GET", "/metrics").text)
        name = "kubemint_foreign_certificates_total"
        return sum(found.value for family in families for found in family.samples if found.name == name)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """Serve developers who may renew for eight hours, and have every role besides."""
    config = make_workspace(tmp_path_factory.mktemp("renewal") / "kubemint")

    def change(policy: Any) -> None:
        lifetime = {"default": "1h", "max": "2h"}
        policy["profiles"]["developers"].update(renewal={"for": "8h"}, lifetime=lifetime)
        policy["roles"] = {"operator": [{"token": "requester"}, {"token": "operator"}]}

    change_yaml(config.with_name("policy.yaml"), change)
    with RunningService(config.parent, config=config) as service:
        yield Line(service=service)


def _codes(answer: Answer) -> list[str]:
    assert answer.status == 403, answer.text
    return [reason["code"] for reason in answer.json()["reasons"]]


def test_a_line_of_renewals(line: Line) -> None:
    """Each certificate gets the next, and each record names the one before and the first proof."""
    body, files = line.first()
    proven, serial_number = line.last()["time"], body["serialNumber"]
    for _ in range(3):
        answer = line.ask(files)
        assert answer.status == 201, answer.text
        assert (answer.json()["user"], tuple(answer.json()["groups"])) == ("jane", BOTH)
        told = line.last()
        assert (told["method"], told["requester"], told["evidence"]) == (
            "renewal",
            f"renewal:{serial_number}",
            body["credentialId"],
        )
        assert told["renews"]["first"]["method"] == "token"
        assert told["renews"]["firstProvenAt"] == proven
        body, files = answer.json(), line.files(answer.json()["certificate"])


def test_what_is_not_renewed(line: Line) -> None:
    """Another user, a group more and a longer life are refused, with what is allowed."""
    _, files = line.first()
    assert _codes(line.ask(files, user="eve")) == ["renewal-other-user"]
    assert _codes(line.ask(files, groups=(*BOTH, "team-a"))) == ["renewal-more-groups"]
    refused = line.ask(files, query="expirationSeconds=7201")
    assert _codes(refused) == ["lifetime-too-long"]
    assert [allowed["renewalSeconds"] for allowed in refused.json()["allowed"]] == [28800]
    fewer = line.ask(files, groups=("viewers",))
    assert (fewer.status, fewer.json()["groups"]) == (201, ["viewers"])


def test_a_holder_has_no_role(line: Line) -> None:
    """A holder is neither operator nor auditor, though who got the certificate first is both."""
    _, files = line.first()
    assert line.service.call("GET", "/v1/policy", token="requester").json()["roles"] == ["operator"]
    answer = line.service.call("GET", "/v1/policy", client_certificate=files)
    assert (answer.status, answer.json()["roles"]) == (200, [])
    others = "/v1/certificates?requester=token:operator"
    assert line.service.call("GET", others, token="requester").status == 200
    assert line.service.call("GET", others, client_certificate=files).status == 403


def test_a_holder_sees_its_own_line_alone(line: Line) -> None:
    """Whoever asked first may have asked for others too: their certificates are not for the holder to see."""
    bobs = line.ask(None, user="bob", **{"Idempotency-Key": "bobs"}).json()
    _, files = line.first()
    renewed = line.ask(files).json()
    listed = line.service.call("GET", "/v1/certificates", client_certificate=files).json()["items"]
    assert [item["serialNumber"] for item in listed] == [renewed["serialNumber"]]
    shown = line.service.call("GET", f"/v1/certificates/{bobs['serialNumber']}", client_certificate=files)
    assert shown.status == 404
    assert line.ask(files, user="bob", **{"Idempotency-Key": "bobs"}).status == 403


def test_a_wrong_token_beside_a_good_certificate(line: Line) -> None:
    """Evidence that does not hold is not made good by other evidence."""
    _, files = line.first()
    assert line.ask(files, Authorization="Bearer wrong").status == 401
    assert line.ask(files).status == 201


def test_a_certificate_that_expires(line: Line) -> None:
    """On a connection that was opened in time, an expired certificate is 401; a new one does not come up."""
    _, files = line.first("expirationSeconds=2")
    connection = line.service.connect(files)
    with contextlib.closing(connection):
        statuses = []
        while 401 not in statuses and len(statuses) < 60:
            connection.request("GET", "/v1/policy")
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
            time.sleep(0.1)
    assert set(statuses) == {200, 401}
    with contextlib.suppress(OSError):  # refused in the handshake
        assert line.ask(files).status == 401


def test_the_key_of_the_ca_in_other_hands(line: Line) -> None:
    """A certificate that our key has signed and that is not on record is 401, a critical line and a count."""
    key = load_pem_private_key((line.service.directory / "ca.key").read_bytes(), None)
    issuer = x509.load_pem_x509_certificate(line.service.ca_file.read_bytes())
    thief = ClientCa(certificate=issuer, key=key)  # type: ignore[arg-type]  # an EC key
    files = thief.client(o("developers"), cn("jane"), now=datetime.now(UTC)).files(line.service.directory, "thief")
    size, before = read_ledger(line.service.ledger_file).size, line.alarms()
    answer = line.ask(files, groups=("developers",))
    assert answer.status == 401
    assert answer.json().keys() == {"type", "title", "status", "detail", "code", "requestId"}
    assert read_ledger(line.service.ledger_file).size == size
    assert line.alarms() == before + 1
    critical = [told for told in line.service.log_lines() if told["level"] == "critical"]
    assert [told["credentialId"][:11] for told in critical] == ["X509SHA256="]


def test_a_policy_that_changed(line: Line) -> None:
    """What the policy of now does not give is not renewed: no renewal, another requester, no such profile."""
    _, files = line.first()
    file = line.service.directory / "policy.yaml"
    good = file.read_bytes()
    try:
        for change in (
            lambda policy: policy["profiles"]["developers"].pop("renewal"),
            lambda policy: policy["profiles"]["developers"].update(requesters=[{"token": "operator"}]),
            lambda policy: policy["profiles"].update(engineers=policy["profiles"].pop("developers")),
        ):
            file.write_bytes(good)
            change_yaml(file, change)
            _wait_for_both_workers(line)
            assert _codes(line.ask(files)) == ["no-profile"]
    finally:
        file.write_bytes(good)
    _wait_for_both_workers(line)
    assert line.ask(files).status == 201


def _wait_for_both_workers(line: Line) -> None:
    """Wait until a dozen answers in a row name the last policy on record, and that is the file's."""
    end = time.monotonic() + 5
    text = (line.service.directory / "policy.yaml").read_text()
    while time.monotonic() < end:
        changes = [
            told for told in read_ledger(line.service.ledger_file).fields if told["kind"] == "policy-changed"
        ]
        answers = (line.service.call("GET", "/v1/policy", token="operator") for _ in range(12))
        if changes[-1]["text"] == text and all(one.json()["policy"] == changes[-1]["version"] for one in answers):
            return
        time.sleep(0.1)
    raise AssertionError("the policy did not change")


def test_the_own_ca_proves_nobody(tmp_path: Path) -> None:
    """A configuration by which a certificate of this service would prove who asks does not start."""
    config = make_workspace(tmp_path / "kubemint")
    known = [{"name": "cluster", "caFile": "ca.crt"}]
    change_yaml(config, lambda settings: settings["authentication"].update(certificates=known))
    assert "authentication.certificates: cluster" in refusal_to_start(RunningService(config.parent, config=config))
