"""The promises of the README, one by one: each test here is named after the promise that it holds the code to.

P9 is about revocation, which there is not yet.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from csrs import bad_csr, good_csr, pem, private_key, raw_csr, spki
from issuance.desk import NOW, POLICY, Desk, ca, policy, requester
from issuance.doors import HTTP_DOORS, SUBMISSIONS, HttpDoor, submission
from issuance.ledgers import Unavailable
from kubemint.decision_log import log_line
from kubemint.errors import (
    ConfigurationError,
    LedgerUnavailable,
    MalformedRequest,
    ReasonedError,
    RequestRefused,
    UnacceptableRequest,
)
from kubemint.ledger import tables
from ledger.adapters import SqliteAdapter, indexes, stored
from running_service import Answer, RunningService
from x509 import der

MASTERS = ["system:masters", "SYSTEM:MASTERS", "System:Masters"]
UNMODELLED = {
    "OU": "attribute-not-allowed",
    "two CNs": "common-name-repeated",
    "O+CN in one RDN": "rdn-multi-valued",
    "SAN": "extension-not-allowed",
    "unknown extension": "extension-not-allowed",
    "CA:TRUE": "extension-ca",
    "EKU serverAuth": "extension-key-usage",
    "keyCertSign": "extension-key-usage",
    "challengePassword": "csr-attribute",
}
each_door = pytest.mark.parametrize("door", HTTP_DOORS.values(), ids=HTTP_DOORS.keys())


class TestP1NoCertificateBeforeItsRecord:
    """No certificate leaves the process before its record is durable."""

    def test_granted(self, desk: Desk, record: SqliteAdapter) -> None:
        """When a certificate is handed out, another connection already reads its record."""
        answer = desk.issue(submission(good_csr()), requester())
        found = record.reader().find_by_credential_id(answer.entry.fields["credentialId"])
        assert found == answer.entry

    def test_refused(self, record: SqliteAdapter) -> None:
        """Ledger not writable: no certificate."""
        with pytest.raises(LedgerUnavailable):
            Desk(Unavailable(record.open())).issue(submission(good_csr()), requester())
        assert indexes(record) == []


class TestP2NobodyGetsSystemMasters:
    """Whatever policy, profile, role or door."""

    @pytest.mark.parametrize("name", MASTERS)
    @pytest.mark.parametrize("what", ["user", "group"])
    def test_refused(self, desk: Desk, name: str, what: str) -> None:
        """The name is refused as a user and as a group, in whatever case, by a rule outside the policy."""
        csr = good_csr(user=name, groups=()) if what == "user" else good_csr(groups=["developers", name])
        with pytest.raises(RequestRefused) as refusal:
            desk.issue(submission(csr), requester())
        paths = {reason.code: reason.path for reason in refusal.value.reasons}
        assert paths["name-forbidden"] == "hard-rules.forbidden"

    @pytest.mark.parametrize("key", ["users", "groups", "reserved"])
    def test_a_policy_that_names_it_does_not_load(self, key: str) -> None:
        """Under whichever key a policy names it, it stops the start."""
        text = POLICY.replace("users: [prometheus]", "users: [prometheus]\n    keys: [ecdsa-p256]")
        old = {"users": "[prometheus]", "groups": '["system:monitoring"]', "reserved": '["system:monitoring"]'}[
            key
        ]
        changed = text.replace(f"{key}: {old}", f'{key}: ["system:masters"]')
        assert changed != text
        with pytest.raises(ConfigurationError, match=f"profiles.monitoring.*{key}.*system:masters"):
            policy(changed)

    def test_a_reserved_name_that_is_listed_is_given(self, desk: Desk) -> None:
        """A profile that lists a reserved name, exactly, gives it."""
        csr = good_csr(user="prometheus", groups=["system:monitoring"])
        assert desk.issue(submission(csr), requester("prometheus")).entry.fields["groups"] == ["system:monitoring"]

    @pytest.mark.parametrize("name", ["system:monitoring", "system:nodes", "kubeadm:cluster-admins", "System:x"])
    def test_a_reserved_name_that_is_not_listed_is_refused(self, desk: Desk, name: str) -> None:
        """A `*` in a policy stands for no name that Kubernetes keeps for itself."""
        with pytest.raises(RequestRefused) as refusal:
            desk.issue(submission(good_csr(user=name, groups=())), requester())
        assert [reason.code for reason in refusal.value.reasons] == ["user-reserved"]

    @each_door
    def test_at_every_door(self, service: RunningService, door: HttpDoor) -> None:
        """Over HTTP, whichever kind of body says it, it is 403 with the rule."""
        answer = _post(service, "/v1/certificates", door, good_csr(user="eve", groups=["system:masters"]))
        assert answer.status == 403
        assert "name-forbidden" in {reason["code"] for reason in answer.json()["reasons"]}


class TestP3OnlyThePublicKeyIsTaken:
    """The certificate says what was decided, and nothing that the CSR said beside it."""

    @pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048"])
    def test_granted(self, desk: Desk, key_type: str) -> None:
        """Names, validity, key and issuer are those of the decision; the signature is the issuer's."""
        key = private_key(key_type)
        csr = good_csr(key, user="jané", groups=["developers", "team-a"])
        answer = desk.issue(submission(csr, expiration_seconds=600), requester())
        certificate = _certificate(answer.entry.fields["certificate"])
        certificate.verify_directly_issued_by(ca()[0])
        names = [(name.oid, name.value) for name in certificate.subject]
        assert names == [
            (NameOID.ORGANIZATION_NAME, "developers"),
            (NameOID.ORGANIZATION_NAME, "team-a"),
            (NameOID.COMMON_NAME, "jané"),
        ]
        assert certificate.not_valid_before_utc == NOW - timedelta(minutes=5)
        assert certificate.not_valid_after_utc == NOW + timedelta(minutes=10)
        assert spki(key) == certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert [usage.dotted_string for usage in usages] == ["1.3.6.1.5.5.7.3.2"]

    def test_the_encoding_of_names_is_not_taken(self, desk: Desk) -> None:
        """A PrintableString in the CSR is a UTF8String in the certificate: it was composed, not copied."""
        csr = raw_csr(der.name(("O", "developers", der.PRINTABLE), ("CN", "jane", der.PRINTABLE)))
        answer = desk.issue(submission(csr), requester())
        subject = _certificate(answer.entry.fields["certificate"]).subject.public_bytes()
        assert subject == der.name(("O", "developers"), ("CN", "jane"))

    def test_refused(self, desk: Desk) -> None:
        """A CSR whose signature does not fit its key proves nothing, and its key is not certified."""
        with pytest.raises(UnacceptableRequest):
            desk.issue(submission(bad_csr("signature of another key")), requester())


class TestP4WhatCannotBeModelledIsRefused:
    """Never dropped in silence."""

    @pytest.mark.parametrize(("title", "code"), UNMODELLED.items(), ids=UNMODELLED.keys())
    @pytest.mark.parametrize("way", ["issue", "explain"])
    def test_refused(self, desk: Desk, title: str, code: str, way: str) -> None:
        """Each is refused by name, when a certificate is asked for and in a dry run."""
        with pytest.raises(UnacceptableRequest) as refusal:
            getattr(desk, way)(submission(bad_csr(title)), requester())
        assert [reason.code for reason in refusal.value.reasons] == [code]

    def test_granted(self, desk: Desk) -> None:
        """A CSR that asks for what the certificate will have anyway is accepted."""
        wanted = [x509.BasicConstraints(ca=False, path_length=None), x509.ExtendedKeyUsage([_CLIENT_AUTH])]
        assert desk.issue(submission(good_csr(extensions=wanted)), requester()).entry.index == 0


class TestP5OnePipeline:
    """One request through every door gets one verdict."""

    @pytest.mark.parametrize("kind", SUBMISSIONS)
    def test_granted(self, desk: Desk, kind: str) -> None:
        """PEM, DER and a Kubernetes object give the same subject, profile and validity."""
        fields = desk.issue(SUBMISSIONS[kind](good_csr(groups=["developers", "team-a"])), requester()).entry.fields
        told = {name: fields[name] for name in ("user", "groups", "profile", "notBefore", "notAfter", "keyType")}
        assert told == {
            "user": "jane",
            "groups": ["developers", "team-a"],
            "profile": "developers",
            "notBefore": "2026-11-20T11:55:00Z",
            "notAfter": "2026-11-20T13:00:00Z",
            "keyType": "ecdsa-p256",
        }

    @pytest.mark.parametrize("csr", ["policy", "OU", "tampered subject", "no DER"])
    def test_refused(self, record: SqliteAdapter, csr: str) -> None:
        """PEM, DER and a Kubernetes object are refused for the same reasons."""
        csr_der = good_csr(groups=["system:masters", "admins"]) if csr == "policy" else bad_csr(csr)
        verdicts = []
        for make in SUBMISSIONS.values():
            with pytest.raises(ReasonedError) as refusal:
                Desk(record.open()).issue(make(csr_der), requester())
            verdicts.append((type(refusal.value), refusal.value.reasons))
        assert verdicts == verdicts[:1] * len(SUBMISSIONS)

    @each_door
    def test_granted_over_http(self, service: RunningService, door: HttpDoor) -> None:
        """Each kind of body gets 201 and the same subject, in the answer and in the certificate."""
        answer = _post(service, "/v1/certificates", door, good_csr(groups=["developers", "team-a"]))
        assert answer.status == 201, answer.text
        body = answer.json()
        assert (body["user"], body["groups"], body["profile"]) == ("jane", ["developers", "team-a"], "developers")
        certificate = x509.load_pem_x509_certificate(body["certificate"].encode())
        assert certificate.subject.rfc4514_string() == "CN=jane,O=team-a,O=developers"

    @pytest.mark.parametrize(
        ("csr", "status"), [("policy", 403), ("SAN", 422), ("tampered signature", 422), ("no DER", 400)]
    )
    def test_refused_over_http(self, service: RunningService, csr: str, status: int) -> None:
        """Each kind of body gets the same status, code and reasons."""
        csr_der = good_csr(groups=["admins"]) if csr == "policy" else bad_csr(csr)
        told = []
        for door in HTTP_DOORS.values():
            answer = _post(service, "/v1/certificates", door, csr_der)
            told.append((answer.status, answer.json()["code"], answer.json()["reasons"]))
        assert told == told[:1] * len(HTTP_DOORS)
        assert told[0][0] == status
        assert told[0][2]

    @each_door
    def test_a_dry_run_gives_the_same_verdict(self, service: RunningService, door: HttpDoor) -> None:
        """A dry run of what is granted says so, with the same subject; what is refused has the same reasons."""
        granted, refused = good_csr(groups=["team-a"]), good_csr(user="system:x", groups=["admins"])
        told = _post(service, "/v1/decisions", door, granted).json()
        given = _post(service, "/v1/certificates", door, granted).json()
        assert told["verdict"] == "granted"
        assert [told[name] for name in ("user", "groups", "profile")] == [
            given[name] for name in ("user", "groups", "profile")
        ]
        told = _post(service, "/v1/decisions", door, refused).json()
        assert told["verdict"] == "refused"
        assert told["reasons"] == _post(service, "/v1/certificates", door, refused).json()["reasons"]


class TestP6DenyByDefault:
    """What is not allowed is refused."""

    def test_a_requester_of_no_profile_is_refused(self, desk: Desk) -> None:
        """Who is in no profile gets nothing."""
        with pytest.raises(RequestRefused) as refusal:
            desk.issue(submission(good_csr()), requester("stranger"))
        assert [reason.code for reason in refusal.value.reasons] == ["no-profile"]

    def test_an_empty_list_allows_nothing(self, desk: Desk) -> None:
        """A profile without users and groups gives no name at all."""
        with pytest.raises(RequestRefused) as refusal:
            desk.issue(submission(good_csr()), requester("nobody"))
        assert [reason.code for reason in refusal.value.reasons] == ["user-not-allowed", "group-not-allowed"]

    def test_an_unknown_key_stops_the_start(self) -> None:
        """A policy with a key that nobody knows does not load, and the error names its path."""
        with pytest.raises(ConfigurationError, match=r"profiles\.nothing.*\.user: Unknown field"):
            policy(POLICY.replace("users: []", "users: []\n    user: [jane]"))

    def test_a_lifetime_that_is_too_long_is_refused(self, desk: Desk) -> None:
        """More than is allowed is not cut to what is."""
        desk.issue(submission(good_csr(), expiration_seconds=86_400), requester())
        with pytest.raises(RequestRefused):
            desk.issue(submission(good_csr(), expiration_seconds=86_401), requester())


class TestP7EveryDecisionIsLogged:
    """Who asked, how it was proven, what for, what was decided, by which version of the policy, and why."""

    def test_granted(self, desk: Desk, record: SqliteAdapter) -> None:
        """The record of a certificate answers all of it."""
        key = private_key("ecdsa-p256")
        csr = good_csr(key, groups=["developers"])
        desk.issue(submission(csr, expiration_seconds=600, profile="developers"), requester(), idempotency_key="k")
        fields = _last_fields(record)
        certificate = base64.b64decode(fields["certificate"])
        assert fields == {
            "kind": "issued",
            "time": "2026-11-20T12:00:00Z",
            "requester": "token:requester",
            "method": "token",
            "authority": "requester",
            "evidence": "token sha256:0123456789abcdef",
            "policy": "sha256:" + hashlib.sha256(POLICY.encode()).hexdigest(),
            "submissionSha256": submission(csr, expiration_seconds=600, profile="developers").sha256,
            "requestedExpirationSeconds": 600,
            "requestedProfile": "developers",
            "user": "jane",
            "groups": ["developers"],
            "keyType": "ecdsa-p256",
            "publicKeySha256": hashlib.sha256(spki(key)).hexdigest(),
            "profile": "developers",
            "serialNumber": "01",
            "credentialId": "X509SHA256=" + hashlib.sha256(certificate).hexdigest(),
            "notBefore": "2026-11-20T11:55:00Z",
            "notAfter": "2026-11-20T12:10:00Z",
            "certificate": fields["certificate"],
            "idempotencyKey": "k",
        }

    def test_refused_by_the_policy(self, desk: Desk, record: SqliteAdapter) -> None:
        """The record of a refusal answers all of it, and names every rule."""
        with pytest.raises(RequestRefused):
            desk.issue(submission(good_csr(groups=["admins"])), requester())
        fields = _last_fields(record)
        assert (fields["requester"], fields["user"], fields["groups"]) == ("token:requester", "jane", ["admins"])
        assert fields["policy"].startswith("sha256:")
        assert [reason["path"] for reason in fields["reasons"]] == ["profiles.developers.groups"]

    @pytest.mark.parametrize(("title", "subject"), [("OU", "OU=system:masters,CN=jane"), ("no DER", None)])
    def test_refused_for_itself(self, desk: Desk, record: SqliteAdapter, title: str, subject: str | None) -> None:
        """A CSR that nobody signs is on record too, with what it asked for if that can be read."""
        with pytest.raises((UnacceptableRequest, MalformedRequest)):
            desk.issue(submission(bad_csr(title)), requester())
        fields = _last_fields(record)
        assert fields.get("subject") == subject
        assert fields["reasons"]

    def test_the_line_on_standard_output(self, desk: Desk, record: SqliteAdapter) -> None:
        """A decision's line is one line of JSON, whatever names are in it, and holds no certificate."""
        desk.issue(submission(good_csr(user='jané "x"')), requester())
        (entry,) = record.announced
        line = log_line(entry, "request-1")
        assert line.count(b"\n") == 1
        told = json.loads(line)
        assert (told["event"], told["logIndex"], told["user"]) == ("decision", 0, 'jané "x"')
        assert "certificate" not in told

    def test_a_dry_run_is_no_decision(self, desk: Desk, record: SqliteAdapter) -> None:
        """A dry run signs nothing, writes nothing and announces nothing."""
        _, explanation = desk.explain(submission(good_csr()), requester())
        assert explanation.decision.profile == "developers"
        with pytest.raises(MalformedRequest):
            desk.explain(submission(b""), requester())
        assert indexes(record) == []
        assert record.announced == []

    def test_over_http(self, service: RunningService) -> None:
        """Each answer has its entry and its line, a dry run has neither."""
        door = HTTP_DOORS["PEM"]
        before = len(service.decisions())
        _post(service, "/v1/decisions", door, good_csr())
        _post(service, "/v1/certificates", door, good_csr())
        _post(service, "/v1/certificates", door, good_csr(groups=["admins"]))
        _post(service, "/v1/certificates", door, bad_csr("OU"))
        lines = service.decisions()[before:]
        assert [line["kind"] for line in lines] == ["issued", "refused", "refused"]
        assert {line["requester"] for line in lines} == {"token:requester"}
        reader = SqliteAdapter(service.ledger_file)
        rows = stored(reader, tables.entries)[-3:]
        reader.close()
        assert [row["index"] for row in rows] == [line["logIndex"] for line in lines]


class TestP8PrivateKeysStayWhereTheyAre:
    """Clients' keys never reach the service to stay; the CA's never leaves its signer."""

    def test_a_private_key_that_was_sent_is_kept_nowhere(self, service: RunningService) -> None:
        """Who sends its key by mistake is told so, and no file of the service holds any of it."""
        key = private_key("rsa-2048", "careless")
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        body = key_pem + pem(good_csr(key))
        headers = {"Content-Type": "application/x-pem-file"}
        answer = service.call("POST", "/v1/certificates", body=body, headers=headers, token="requester")
        assert answer.status == 400
        assert [reason["code"] for reason in answer.json()["reasons"]] == ["private-key-sent"]
        kept = b"".join(_everything_kept(service)) + answer.body
        assert not [line for line in key_pem.splitlines()[1:-1] if line in kept]

    def test_the_ca_key_is_told_nowhere(self, service: RunningService) -> None:
        """No answer, log, metric or record holds any of the CA's key."""
        told = [
            _post(service, "/v1/certificates", HTTP_DOORS["PEM"], good_csr()).body,
            *(service.call("GET", path, token="operator").body for path in ("/v1/ca", "/v1/policy", "/metrics")),
        ]
        secret = (service.directory / "ca.key").read_bytes()
        key = load_pem_private_key(secret, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        key_octets = key.private_numbers().private_value.to_bytes(32)
        kept = b"".join((*told, *_everything_kept(service, but=("ca.key",))))
        assert key_octets not in kept
        assert key_octets.hex().encode() not in kept
        assert not [line for line in secret.splitlines()[1:-1] if line in kept]


_CLIENT_AUTH = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.2")


def _post(service: RunningService, path: str, door: HttpDoor, csr_der: bytes) -> Answer:
    headers = {"Content-Type": door.media_type}
    return service.call("POST", path, body=door.body(csr_der), headers=headers, token="requester")


def _certificate(encoded: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(base64.b64decode(encoded))


def _last_fields(record: SqliteAdapter) -> dict[str, object]:
    fields: dict[str, object] = json.loads(stored(record, tables.entries)[-1]["body"])
    return fields


def _everything_kept(service: RunningService, but: tuple[str, ...] = ()) -> Iterator[bytes]:
    """Give the content of every file that the service has written or keeps."""
    for file in (service.output_file, service.log_file, *sorted(service.directory.iterdir())):
        if file.name not in but:
            yield Path(file).read_bytes()
