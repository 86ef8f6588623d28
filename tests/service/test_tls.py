"""TLS as clients meet it: versions, files that are replaced, and certificates that prove who asks."""

import contextlib
import http.client
import json
import ssl
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from authentication.certificates import SERVER_AUTH, ClientCa, client_ca, cn, o
from running_service import Answer, RunningService
from service.clients import CSR, PATIENCE_SECONDS, PKCS10, slowest_good_client, tcp_client
from service.record import read_ledger
from service.workspaces import change_yaml, make_workspace

CertificateFiles = tuple[Path, Path]


def _handshake(service: RunningService, version: ssl.TLSVersion) -> str | None:
    """Offer this version of TLS alone; give what was agreed on."""
    context = ssl.create_default_context(cafile=str(service.tls_ca_file))
    context.set_ciphers("ALL:@SECLEVEL=0")  # the client's own library must not be what refuses
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    with (
        tcp_client(service) as connection,
        context.wrap_socket(connection, server_hostname="127.0.0.1") as client,
    ):
        return client.version()


def test_tls_1_1(service: RunningService) -> None:
    """A client that knows nothing newer than TLS 1.1 is turned away by the service."""
    with pytest.raises(ssl.SSLError) as refusal:
        _handshake(service, ssl.TLSVersion.TLSv1_1)
    if refusal.value.reason == "NO_PROTOCOLS_AVAILABLE":
        pytest.skip("this machine's OpenSSL has no TLS 1.1 to try with")
    assert refusal.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"


@pytest.mark.parametrize(
    ("version", "name"), [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]
)
def test_newer_tls(service: RunningService, version: ssl.TLSVersion, name: str) -> None:
    """TLS 1.2 and TLS 1.3 are spoken."""
    assert _handshake(service, version) == name


def test_tls_files_that_do_not_match_for_a_moment(tmp_path: Path) -> None:
    """While a certificate is replaced before its key the service goes on with the old pair."""
    with RunningService(tmp_path / "kubemint") as service:
        workers = set(service.worker_pids)
        service.tls_context()
        good = service.tls_ca_file.read_bytes()
        service.tls_ca_file.write_bytes(service.ca_file.read_bytes())
        try:
            slowest = slowest_good_client(service, 1.0)
        finally:
            service.tls_ca_file.write_bytes(good)
        assert slowest < PATIENCE_SECONDS
        assert set(service.worker_pids) == workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A service at which client certificates of the CA `corp` prove who asks; those of CI may have any name."""

    service: RunningService
    corp: ClientCa

    def files(self, ca: ClientCa | None = None, common_name: str = "ci-build", **options: Any) -> CertificateFiles:
        """Make a client certificate, by default of `corp`, and write it down."""
        shown = (ca or self.corp).client(o("ci"), cn(common_name), now=datetime.now(UTC), **options)
        return shown.files(self.service.directory, f"client-{shown.certificate.serial_number}")

    def ask(self, files: CertificateFiles | None, **headers: str) -> Answer:
        """Ask for a certificate with a client certificate, or without."""
        return self.service.call(
            "POST", "/v1/certificates", body=CSR, headers=PKCS10 | headers, client_certificate=files
        )


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Serve with tokens and the certificates of one CA."""
    config = make_workspace(tmp_path_factory.mktemp("office") / "kubemint")
    corp = client_ca("corp CA", datetime.now(UTC))
    config.with_name("corp.crt").write_bytes(corp.certificate.public_bytes(Encoding.PEM))
    known = [{"name": "corp", "caFile": "corp.crt"}]
    change_yaml(config, lambda settings: settings["authentication"].update(certificates=known))
    requesters = [{"token": "requester"}, {"certificate": "corp", "commonName": "ci-*"}]
    change_yaml(
        config.with_name("policy.yaml"),
        lambda policy: policy["profiles"]["developers"].update(requesters=requesters),
    )
    with RunningService(config.parent, config=config) as service:
        yield Office(service=service, corp=corp)


def test_a_client_certificate(office: Office) -> None:
    """Who shows a certificate that a rule fits gets one, and the record says who that was."""
    answer = office.ask(office.files())
    assert answer.status == 201, answer.text
    path = f"/v1/certificates/{answer.json()['serialNumber']}"
    record = office.service.call("GET", path, token="operator").json()
    assert record["requester"] == "certificate:corp:CN=ci-build,O=ci"
    assert record["method"] == "certificate"
    assert record["evidence"].startswith("certificate sha256:")


def test_a_client_certificate_that_no_rule_fits(office: Office) -> None:
    """Who is proven, and is in no rule, gets 403 and is on record."""
    answer = office.ask(office.files(common_name="jane"))
    assert answer.status == 403
    assert [reason["code"] for reason in answer.json()["reasons"]] == ["no-profile"]
    assert read_ledger(office.service.ledger_file).fields[-1]["requester"] == "certificate:corp:CN=jane,O=ci"


def test_nothing_shown(office: Office) -> None:
    """Who shows neither certificate nor token gets 401, which says what to show."""
    answer = office.ask(None)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("kind", ["expired", "of another CA of this name", "for servers alone"])
def test_a_client_certificate_that_does_not_hold(office: Office, kind: str) -> None:
    """A certificate that does not hold is refused by TLS or with 401, whether a good token is beside it or not."""
    stranger = client_ca("corp CA", datetime.now(UTC))
    files = {
        "expired": lambda: office.files(lifetime=timedelta(minutes=-1)),
        "of another CA of this name": lambda: office.files(stranger),
        "for servers alone": lambda: office.files(purposes=SERVER_AUTH),
    }[kind]()
    before = read_ledger(office.service.ledger_file).size
    for headers in ({}, {"Authorization": f"Bearer {office.service.token()}"}):
        with contextlib.suppress(OSError):  # refused in the handshake
            assert office.ask(files, **headers).status == 401
    assert read_ledger(office.service.ledger_file).size == before


def test_a_client_certificate_that_expires_during_the_connection(office: Office) -> None:
    """On one kept-alive connection a certificate proves who asks until it expires; the next request gets 401."""
    connection = office.service.connect(office.files(lifetime=timedelta(seconds=3)))
    try:
        statuses = [_status(connection)]
        first_socket = connection.sock
        while statuses[-1] == 200 and len(statuses) < 60:
            time.sleep(0.1)
            statuses.append(_status(connection))
        assert (statuses[0], statuses[-1]) == (200, 401)
        assert connection.sock is first_socket
    finally:
        connection.close()


@pytest.mark.parametrize(
    "header", ["X-Client-Cert", "X-SSL-Client-Cert", "X-Forwarded-Client-Cert", "SSL-Client-Cert", "Client-Cert"]
)
def test_a_certificate_in_a_header(office: Office, header: str) -> None:
    """What a header says about a certificate proves nothing, alone or beside another certificate."""
    certificate, _ = office.files()
    value = quote(certificate.read_text())
    said = {header: value, "X-SSL-Client-Verify": "SUCCESS", "X-SSL-Client-S-DN": "CN=ci-build,O=ci"}
    assert office.ask(None, **said).status == 401
    assert office.ask(office.files(common_name="jane"), **said).status == 403


def test_a_bad_token_beside_a_good_client_certificate(office: Office) -> None:
    """Evidence that does not hold is never made good by other evidence."""
    files = office.files()
    assert office.ask(files, Authorization="Bearer wrong").status == 401
    assert office.ask(files, Authorization=f"Bearer {office.service.token()}").status == 201
    assert read_ledger(office.service.ledger_file).fields[-1]["requester"] == "token:requester"


def _status(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/v1/policy")
    response = connection.getresponse()
    assert json.loads(response.read())
    return response.status
