"""The walk of the Kubernetes documentation, with the openssl and curl of this machine and their usual options."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from running_service import RunningService
from service.record import read_ledger

_MAKE_KEY = "openssl genrsa -out myuser.key 3072"
_MAKE_CSR = 'openssl req -new -key myuser.key -subj "{subject}" -out myuser.csr'
_ASK = (
    'curl --cacert .kubemint/tls.crt -H "Authorization: Bearer $(cat .kubemint/requester.token)"'
    " -H 'Content-Type: application/x-pem-file' -H 'Accept: application/pem-certificate-chain'"
    " --data-binary @myuser.csr https://127.0.0.1:8443/v1/certificates"
)
_VERIFY = "openssl verify -CAfile .kubemint/ca.crt -purpose sslclient myuser.crt"


class Terminal:
    """A shell in the folder that holds `.kubemint`."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self._port = port

    def run(self, command: str) -> str:
        """Run a command as it is written, but for the port; give what it prints."""
        done = subprocess.run(
            ("sh", "-c", command.replace(":8443/", f":{self._port}/")),
            cwd=self.directory,
            env=os.environ | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def walk(self, subject: str, options: str = "") -> str:
        """Go from no key to the answer of the service, and keep that in `myuser.crt`."""
        self.run(_MAKE_KEY)
        self.run(_MAKE_CSR.format(subject=subject))
        answer = self.run(_ASK.replace("curl ", f"curl {options} "))
        (self.directory / "myuser.crt").write_text(answer)
        return answer


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Serve from `.kubemint`, the folder that the commands name."""
    if missing := [tool for tool in ("openssl", "curl") if shutil.which(tool) is None]:
        pytest.skip(f"this machine has no {' and no '.join(missing)}")
    with RunningService(tmp_path_factory.mktemp("walk") / ".kubemint") as running:
        yield running


@pytest.fixture
def terminal(service: RunningService) -> Terminal:
    """Sit beside the folder of the service."""
    return Terminal(service.directory.parent, service.port)


def test_the_walk(terminal: Terminal) -> None:
    """A key and a CSR by openssl, sent by curl, become a client certificate for one hour that openssl accepts."""
    began = datetime.now(UTC).replace(microsecond=0)
    certificate = x509.load_pem_x509_certificate(terminal.walk("/CN=myuser").encode())
    ended = datetime.now(UTC)
    assert terminal.run(_VERIFY) == "myuser.crt: OK\n"
    assert began <= certificate.not_valid_after_utc - timedelta(hours=1) <= ended
    assert certificate.not_valid_before_utc <= began
    assert certificate.subject.rfc4514_string() == "CN=myuser"
    key = terminal.run("openssl pkey -in myuser.key -pubout")
    assert terminal.run("openssl x509 -in myuser.crt -noout -pubkey") == key


def test_the_walk_with_groups(terminal: Terminal) -> None:
    """Each O of the subject is a group in the certificate."""
    certificate = x509.load_pem_x509_certificate(terminal.walk("/O=developers/O=team-a/CN=jane").encode())
    groups = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert {group.value for group in groups} == {"developers", "team-a"}
    assert [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["jane"]
    assert terminal.run(_VERIFY) == "myuser.crt: OK\n"


def test_the_walk_of_eve(service: RunningService, terminal: Terminal) -> None:
    """Who asks for system:masters by the same commands gets 403 and no certificate."""
    answer = terminal.walk("/O=system:masters/CN=eve", "--silent --write-out '%{http_code}'")
    assert re.search(r'"code": ?"name-forbidden"', answer)
    assert answer.endswith("403")
    assert "CERTIFICATE" not in answer
    assert read_ledger(service.ledger_file).kinds[-1] == "refused"
