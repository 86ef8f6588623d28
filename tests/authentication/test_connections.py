"""The same over real connections: what the TLS socket shows is what counts, and no header can claim it."""

import http.client
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from authentication.certificates import SERVER_AUTH, ClientCa, client_ca, cn, o
from kubemint.commands.workspace import CaSource, Listen, create_workspace
from running_service import RunningService, free_port

CONFIGURED = """\
authentication:
  tokensFile: tokens.yaml
  certificates:
    - {name: corp, caFile: corp.crt}
    - {name: lab, caFile: lab.crt}
"""
RULES = "requesters: [{token: requester}, {certificate: corp, organization: engineering}]"


class Place:
    """A running service that knows two client CAs."""

    def __init__(self, directory: Path) -> None:
        self.now = datetime.now(UTC)
        self.corp, self.lab = client_ca("corp CA", self.now), client_ca("lab CA", self.now)
        self.stranger = client_ca("corp CA", self.now)
        create_workspace(directory, CaSource(), Listen(port=free_port()), None, self.now)
        for name in ("corp", "lab"):
            certificate = getattr(self, name).certificate
            (directory / f"{name}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
        _replace(directory / "kubemint.yaml", "authentication: {tokensFile: tokens.yaml}\n", CONFIGURED)
        _replace(directory / "policy.yaml", "requesters: [{token: requester}]", RULES)
        self.directory = directory.parent
        self.service = RunningService(directory, config=directory / "kubemint.yaml")

    def files(self, ca: ClientCa, **options: object) -> tuple[Path, Path]:
        """Make a client certificate of an engineer and write it down."""
        lifetime = options.pop("lifetime", timedelta(hours=1))
        shown = ca.client(o("engineering"), cn("jane"), now=datetime.now(UTC), lifetime=lifetime, **options)
        return shown.files(self.directory, f"client-{shown.certificate.serial_number}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give the running service."""
    made = Place(tmp_path_factory.mktemp("place") / "kubemint")
    with made.service:
        yield made


def test_a_certificate_proves_its_holder(place: Place) -> None:
    """A client certificate of a configured CA is a requester, with the profiles of its CA's rule."""
    answer = place.service.call("GET", "/v1/policy", client_certificate=place.files(place.corp))
    assert answer.status == 200
    assert "developers" in answer.text


def test_an_authority_without_a_rule_gives_nothing(place: Place) -> None:
    """Another configured CA proves who asks, and the policy's rule for the first does not fit."""
    answer = place.service.call("GET", "/v1/policy", client_certificate=place.files(place.lab))
    assert answer.status == 200
    assert "developers" not in answer.text


def test_a_bad_token_beside_a_good_certificate(place: Place) -> None:
    """401, and what to show instead."""
    answer = place.service.call(
        "GET",
        "/v1/policy",
        headers={"Authorization": "Bearer wrong"},
        client_certificate=place.files(place.corp),
    )
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_neither_token_nor_certificate(place: Place) -> None:
    """Who shows nothing gets 401, over a connection that TLS has accepted."""
    assert place.service.call("GET", "/v1/policy").status == 401


@pytest.mark.parametrize(
    "header", ["X-Client-Cert", "X-SSL-Client-Cert", "X-Forwarded-Client-Cert", "SSL_CLIENT_CERT", "X-Remote-User"]
)
def test_no_header_is_a_certificate(place: Place, header: str) -> None:
    """A certificate in a header proves nothing."""
    certificate = place.corp.client(o("engineering"), cn("jane"), now=place.now).certificate
    value = certificate.public_bytes(Encoding.PEM).decode().replace("\n", "%0A")
    assert place.service.call("GET", "/v1/policy", headers={header: value}).status == 401


@pytest.mark.parametrize("kind", ["another CA", "expired", "serverAuth alone"])
def test_a_certificate_that_tls_refuses(place: Place, kind: str) -> None:
    """A certificate that does not hold ends the connection or is refused; it never counts as none."""
    files = {
        "another CA": lambda: place.files(place.stranger),
        "expired": lambda: place.files(place.corp, lifetime=timedelta(minutes=-1)),
        "serverAuth alone": lambda: place.files(place.corp, purposes=SERVER_AUTH),
    }[kind]()
    try:
        status = place.service.call("GET", "/v1/policy", token="requester", client_certificate=files).status
    except OSError:
        status = 0
    assert status in {0, 401}


def test_a_certificate_that_expires_during_the_connection(place: Place) -> None:
    """On one connection, a request before the certificate's end is answered, and one after it gets 401."""
    files = place.files(place.corp, lifetime=timedelta(seconds=3))
    connection = place.service.connect(files)
    try:
        statuses = [_status(connection)]
        while statuses[-1] == 200 and len(statuses) < 100:
            time.sleep(0.2)
            statuses.append(_status(connection))
    finally:
        connection.close()
    assert statuses[0] == 200
    assert statuses[-1] == 401


def _status(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/v1/policy")
    response = connection.getresponse()
    response.read()
    return response.status


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
