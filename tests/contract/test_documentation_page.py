"""The page at /docs: what of it is others' work is known to the octet, and it asks nobody but the service."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from contract.contract_file import REPOSITORY, operations
from running_service import RunningService

STATIC = REPOSITORY / "service/kubemint/web/static"
OWN = {"docs.html", "docs.js", "VENDORED.md"}
PARTS = ("/docs/docs.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css")
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PAGE_MILLISECONDS = 20_000  # of the page's own clock, which runs ahead while nothing happens


def test_vendored_files_are_those_that_are_listed() -> None:
    """Every file of the page that is not ours must be in VENDORED.md with its hash, and nothing else."""
    row = r"^\| `([^`]+)` \| `swagger-ui-dist` \| [0-9.]+ \| Apache-2\.0 \| `([0-9a-f]{64})` \|$"
    listed = dict(re.findall(row, (STATIC / "VENDORED.md").read_text(), re.M))

    assert listed == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in STATIC.iterdir()
        if file.name not in OWN
    }


def test_own_files_hold_no_inline_script_and_no_address() -> None:
    """Our own part of the page must have no inline script or style, and name no other host."""
    html = (STATIC / "docs.html").read_text()

    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\son\w+=|javascript:", html) == []
    assert re.findall(r"https?:|//[a-z]", html + (STATIC / "docs.js").read_text().partition("\n")[2]) == []


@pytest.mark.parametrize("path", ["/docs", *PARTS])
def test_the_policy_of_the_page_is_strict(service: RunningService, path: str) -> None:
    """Each part of the page must come with a policy that allows nothing but what is the service's own."""
    header = service.call("GET", path).headers["Content-Security-Policy"]

    assert dict(directive.strip().split(" ", 1) for directive in header.split(";")) == POLICY


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What a browser made of the page."""

    html: str
    console: list[str]
    requests: set[str]


@pytest.fixture(scope="module")
def visit(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Visit:
    """Open the page in a headless browser, in a new profile, and wait until it has settled."""
    found = [path for name in CHROMIUM if (path := shutil.which(name))]
    if not found and os.environ.get("CI") == "true":
        pytest.fail("missing in CI: chromium")
    if not found:
        pytest.skip("missing: chromium (Debian's package chromium)")
    folder: Path = tmp_path_factory.mktemp("chromium")
    return _open(found[0], service, folder)


def test_the_page_shows_every_operation(visit: Visit) -> None:
    """A browser must show each operation of the contract."""
    shown = _Shown()
    shown.feed(visit.html)

    assert shown.unfolded, "the operation that the address names is not shown in full"
    assert set(shown.ids) == {
        f"operations-{found.document['tags'][0]}-{found.document['operationId']}" for found in operations()
    }


def test_the_page_breaks_no_rule(visit: Visit) -> None:
    """The browser's console must stay empty: no error, and nothing that the policy had to stop."""
    assert visit.console == []


def test_the_page_asks_the_service_alone(visit: Visit, service: RunningService) -> None:
    """The page must send nothing to anybody but the service, and ask it for its parts."""
    assert {f"{url.scheme}://{url.netloc}" for url in map(urlsplit, visit.requests)} == {service.url}
    assert {urlsplit(url).path for url in visit.requests} >= {*PARTS, "/openapi.yaml"}


def _open(chromium: str, service: RunningService, folder: Path) -> Visit:
    network_log = folder / "network.json"
    run = subprocess.run(
        (
            chromium,
            "--headless",
            "--no-sandbox",  # the tests run as root in containers, where Chromium's sandbox cannot
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-default-apps",
            "--disable-extensions",
            "--disable-sync",
            "--no-first-run",
            "--no-default-browser-check",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # what the browser asks of its own accord
            "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}",
            f"--log-net-log={network_log}",
            f"--ignore-certificate-errors-spki-list={_spki_sha256(service.tls_ca_file)}",
            f"--virtual-time-budget={PAGE_MILLISECONDS}",
            "--dump-dom",
            f"{service.url}/docs#/Certificates/createCertificate",  # this operation is shown unfolded
        ),
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Visit(
        html=run.stdout,
        console=[line for line in run.stderr.splitlines() if "CONSOLE" in line],
        requests=_requests(network_log),
    )


def _requests(network_log: Path) -> set[str]:
    """Give every address that the page asked, out of the log; the browser's own requests have no origin."""
    parameters = [event.get("params", {}) for event in json.loads(network_log.read_text())["events"]]
    return {found["url"] for found in parameters if "://" in found.get("initiator", "") and "url" in found}


def _spki_sha256(certificate_file: Path) -> str:
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


class _Shown(HTMLParser):
    """Collects the ids under which Swagger UI shows operations."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.unfolded = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the id of an operation's block, and see whether one is unfolded."""
        classes = (dict(attrs).get("class") or "").split()
        if "opblock" in classes:
            self.ids.append(dict(attrs).get("id") or "")
            self.unfolded |= "is-open" in classes
