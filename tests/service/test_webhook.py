"""What API servers are told over HTTP: what was revoked is denied within a second, and nothing is allowed."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authentication.certificates import client_ca, cn
from revoking.twins import twin_of
from running_service import RunningService
from service.revoking import CREDENTIAL_ID, Office, make_office, review

GOLDEN = Path(__file__).parent.parent / "kubernetes" / "golden"


def _answers_of(office: Office, **options: Any) -> int:
    return office.authorize(review(), **options).status


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Serve API servers that show a token, or a certificate of the CA `cluster`; what is unknown is denied."""
    directory = tmp_path_factory.mktemp("webhook") / "kubemint"

    def change(said: Any) -> None:
        said["authentication"]["certificates"] = [{"name": "cluster", "caFile": "cluster.crt"}]
        rule = {"certificate": "cluster", "commonName": "kube-apiserver*"}
        said["webhook"] = {"clients": [rule], "unknownCredentials": "deny"}

    config = make_office(directory, change)
    cluster = client_ca("cluster CA", datetime.now(UTC))
    (directory / "cluster.crt").write_bytes(cluster.certificate.public_bytes(Encoding.PEM))
    for name in ("kube-apiserver-1", "kubelet"):
        cluster.client(cn(name), now=datetime.now(UTC)).files(directory, name)
    with RunningService(config.parent, config=config) as service:
        yield Office(service=service)


def test_who_may_ask(office: Office) -> None:
    """The role webhook and the certificates of webhook.clients may ask; others are 403, and strangers 401."""
    directory = office.service.directory

    def shown(name: str) -> dict[str, Any]:
        return {"client_certificate": (directory / f"{name}.crt", directory / f"{name}.key")}

    statuses = {
        "webhook": _answers_of(office, token="webhook"),
        "API server": _answers_of(office, **shown("kube-apiserver-1")),
        "kubelet": _answers_of(office, **shown("kubelet")),
        **{name: _answers_of(office, token=name) for name in ("requester", "operator", "siem")},
        "wrong token": _answers_of(office, headers={"Authorization": "Bearer wrong"}),
        "nobody": _answers_of(office, headers={}),
    }
    assert statuses == {
        "webhook": 200,
        "API server": 200,
        "kubelet": 403,
        "requester": 403,
        "operator": 403,
        "siem": 403,
        "wrong token": 401,
        "nobody": 401,
    }


def test_who_may_only_ask(office: Office) -> None:
    """The token of an API server gets no certificate, and neither reads nor revokes."""
    assert office.ask("jane", token="webhook").status == 403
    assert office.service.call("GET", "/v1/certificates?user=jane", token="webhook").json().get("items", []) == []
    office.issue("wendy")
    assert office.revoke(token="webhook", user="wendy").status == 404


def test_what_was_revoked(office: Office) -> None:
    """What is revoked is denied by every worker within a second, with its reason; its twin too; others are not."""
    body, other = office.issue("jane", key="stolen"), office.issue("joe")
    credential = body["credentialId"]
    assert office.denials(credential, other["credentialId"], groups=tuple(body["groups"])) == {False}
    made = office.revoked(user="jane", reason="keyCompromise")
    assert office.seconds_until_denied(credential) < 1
    assert made["revocation"] in office.verdict(credential)["reason"]
    assert "keyCompromise" in office.verdict(credential)["reason"]
    own = tuple(group for group in body["groups"] if group.startswith("kubemint:"))
    assert office.denials(groups=own) == {True}
    der = x509.load_pem_x509_certificate(body["certificate"].encode()).public_bytes(Encoding.DER)
    assert office.denials("X509SHA256=" + hashlib.sha256(twin_of(der)).hexdigest()) == {True}
    assert office.denials(other["credentialId"], groups=tuple(other["groups"])) == {False}
    assert office.denials(other["credentialId"], credential) == {True}


def test_what_was_lifted(office: Office) -> None:
    """What was on hold has no opinion again as soon as it is lifted."""
    credential = office.issue("hal")["credentialId"]
    held = office.revoked(user="hal", reason="certificateHold")
    assert office.seconds_until_denied(credential) < 1
    assert office.lift(held["revocation"]).status == 200
    assert office.denials(credential) == {False}


def test_what_was_never_issued(office: Office) -> None:
    """A credential that is not on record is denied where the configuration says so, and is an alarm."""
    unknown = "X509SHA256=" + "ab" * 32
    assert office.denials(unknown) == {True}
    assert office.denials("JTI=7", groups=("developers",)) == {False}
    assert "kubemint_unknown_credentials_total" in office.service.call("GET", "/metrics").text
    alarms = [line for line in office.service.log_lines() if line["level"] == "critical"]
    assert {line["credentialId"] for line in alarms} == {unknown}


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.iterdir()))
def test_as_api_servers_ask(office: Office, name: str) -> None:
    """Questions as API servers write them are answered in their own version, with a status alone."""
    document = json.loads((GOLDEN / name).read_text())
    answer = office.authorize(document)
    assert answer.status == 200, answer.text
    assert answer.json().keys() == {"apiVersion", "kind", "status"}
    assert (answer.json()["apiVersion"], answer.json()["kind"]) == (document["apiVersion"], document["kind"])
    assert (
        office.service.call(
            "POST", "/kubernetes/authorize?timeout=30s", json_body=document, token="webhook"
        ).status
        == 200
    )


_NAMES = st.sampled_from(
    ["apiVersion", "kind", "spec", "user", "groups", "group", "extra", "uid", CREDENTIAL_ID, "status"]
)
_TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "authorization.k8s.io/v1",
            "authorization.k8s.io/v1beta1",
            "SubjectAccessReview",
            "X509SHA256=" + "0" * 64,
            "X509SHA256=",
            "kubemint:serial:7f",
            "kubemint:serial:",
        ]
    ),
)
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), _TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(_NAMES, _TEXTS), inner, max_size=4)
    ),
    max_leaves=12,
)
_SPECS = st.fixed_dictionaries(
    {},
    optional={
        "user": st.one_of(_TEXTS, _VALUES),
        "groups": st.one_of(st.lists(_TEXTS), _VALUES),
        "uid": st.one_of(_TEXTS, _VALUES),
        "extra": st.one_of(
            st.dictionaries(st.one_of(_NAMES, _TEXTS), st.lists(_TEXTS, max_size=3), max_size=3), _VALUES
        ),
        "resourceAttributes": _VALUES,
    },
)
_REVIEWS = st.fixed_dictionaries(
    {
        "apiVersion": st.sampled_from(["authorization.k8s.io/v1", "authorization.k8s.io/v1beta1"]),
        "kind": st.just("SubjectAccessReview"),
        "spec": st.one_of(_SPECS, _VALUES),
    },
    optional={"status": st.just({"allowed": True}), "metadata": _VALUES},
)


@given(document=st.one_of(_REVIEWS, _VALUES))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_asked(office: Office, document: Any) -> None:
    """Nothing is ever allowed, and nothing that is asked is an error of the service."""
    answer = office.authorize(document)
    assert answer.status in {200, 400}, answer.text
    if answer.status == 200:
        assert answer.json()["status"]["allowed"] is False


@given(body=st.binary(max_size=100))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage(office: Office, body: bytes) -> None:
    """A body that is no JSON is 400, and one of another media type 415."""
    for media_type, statuses in (("application/json", {200, 400}), ("application/yaml", {415})):
        answer = office.service.call(
            "POST", "/kubernetes/authorize", body=body, headers={"Content-Type": media_type}, token="webhook"
        )
        assert answer.status in statuses, answer.text
        assert b'"allowed":true' not in answer.body.replace(b" ", b"")


def test_the_log_of_what_is_denied(office: Office) -> None:
    """A denial has its line in the log; the thousands of questions that have no opinion have none."""
    credential = office.issue("lou")["credentialId"]
    office.revoked(user="lou")
    office.seconds_until_denied(credential)
    before = _lines(office)
    for _ in range(20):
        office.verdict()
    assert _lines(office) == before
    office.verdict(credential)
    assert _lines(office) == before + 1


def _lines(office: Office) -> int:
    return sum(line.get("route") == "/kubernetes/authorize" for line in office.service.log_lines())
