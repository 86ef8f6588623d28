"""docs/identity/client-certificates.md, executed: certificates of two CAs, and renewal with what they led to."""

import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from authentication.certificates import ClientCa, client_ca, cn, o
from cluster.cluster import Cluster, Kubectl
from docs.pages import Page
from docs.serving import Terminal, check_certificate, documents, make_service, reason_codes
from running_service import RunningService

PAGE = Page.read("client-certificates")
REQUESTERS = {
    "mesh": ("mesh", "mesh:shop:deployer", "mesh-deployers", timedelta(minutes=10)),
    "host": ("corp", "host:b7.build.example.com", "build-hosts", timedelta(hours=1)),
    "engineer": ("corp", "jane", "engineers", timedelta(hours=1)),
}
BROKEN_CONNECTION = {35, 55, 56}  # curl: in TLS 1.3 the server refuses when the client may be writing already


@pytest.fixture(scope="module")
def authorities() -> Mapping[str, ClientCa]:
    """Make the CAs of the page, and one that it does not name."""
    return {name: client_ca(f"{name} CA", datetime.now(UTC)) for name in ("mesh", "corp", "other")}


@pytest.fixture(scope="module")
def service(
    authorities: Mapping[str, ClientCa], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """Serve with the configuration and the policy of the page."""
    with service_of(authorities, tmp_path_factory.mktemp("service") / "kubemint") as running:
        yield running


def service_of(authorities: Mapping[str, ClientCa], directory: Path, **options: Any) -> RunningService:
    """Make a service of the page, with the CAs in the files that it names."""
    settings = PAGE.yaml("configuration")["authentication"]
    running = make_service(directory, settings, PAGE.block("policy"), **options)
    for authority in settings["certificates"]:
        certificate = authorities[authority["name"]].certificate
        (directory / authority["caFile"]).write_bytes(certificate.public_bytes(Encoding.PEM))
    return running


def client(
    service: RunningService, ca: ClientCa, claims: Mapping[str, Any], folder: Path, **wanted: str
) -> Terminal:
    """Give the terminal of somebody with a certificate that says this."""
    common_names = [cn(claims["commonName"])] if "commonName" in claims else []
    names = [x509.UniformResourceIdentifier(uri) for uri in claims.get("uris", ())]
    names += [x509.DNSName(name) for name in claims.get("dnsNames", ())]
    extensions = (x509.SubjectAlternativeName(names),) if names else ()
    subject = (*(o(name) for name in claims["organizations"]), *common_names)
    folder.mkdir(exist_ok=True)
    ca.client(*subject, now=datetime.now(UTC), extensions=extensions).files(folder, "client")
    shutil.copy(service.tls_ca_file, folder / "kubemint.crt")
    return Terminal(folder=folder, variables={"KUBEMINT_URL": service.url, **wanted})


def requester(service: RunningService, authorities: Mapping[str, ClientCa], name: str, folder: Path) -> Terminal:
    """Give the terminal of one of the page's requesters, who asks for what the page lets it have."""
    authority, user, group, _ = REQUESTERS[name]
    claims = PAGE.json("claims", name)
    return client(service, authorities[authority], claims, folder, NAME=user, GROUP=group)


@pytest.mark.parametrize("name", REQUESTERS)
def test_a_requester_gets_a_certificate(
    service: RunningService, authorities: Mapping[str, ClientCa], name: str, tmp_path: Path
) -> None:
    """URI, DNS name and subject each lead to the user, the group and the lifetime of their profile."""
    _, user, group, lifetime = REQUESTERS[name]
    requester(service, authorities, name, tmp_path).check(PAGE.block("steps"))
    check_certificate(tmp_path / "mine.crt", user, [group], lifetime)


@pytest.mark.parametrize(
    ("authority", "claims"),
    [
        ("mesh", {"organizations": ["SPIRE"], "uris": ["spiffe://example.org/ns/bank/sa/deployer"]}),
        ("mesh", {"organizations": ["SPIRE"], "uris": ["spiffe://example.com/ns/shop/sa/deployer"]}),
        ("corp", {"organizations": ["SPIRE"], "uris": ["spiffe://example.org/ns/shop/sa/deployer"]}),
        ("corp", {"organizations": [], "commonName": "b7", "dnsNames": ["b7.build.example.com.example.net"]}),
        ("corp", {"organizations": ["sales"], "commonName": "jane"}),
        ("mesh", {"organizations": ["engineering"], "commonName": "jane"}),
    ],
    ids=str,
)
def test_another_requester_is_refused(
    service: RunningService,
    authorities: Mapping[str, ClientCa],
    authority: str,
    claims: dict[str, Any],
    tmp_path: Path,
) -> None:
    """Another name, or the right name of the wrong CA, gets nothing; the dry run says the same."""
    eve = client(service, authorities[authority], claims, tmp_path, NAME="jane", GROUP="engineers")
    ran = eve.run(PAGE.block("steps"))
    assert ran.returncode == 1
    assert reason_codes(ran.stdout) == ["no-profile"]
    policy, decision = documents(eve.check(PAGE.block("refused")))
    assert policy["profiles"] == []
    assert decision["verdict"] == "refused"


def test_a_foreign_ca_ends_the_handshake(
    service: RunningService, authorities: Mapping[str, ClientCa], tmp_path: Path
) -> None:
    """A certificate of a CA that is not configured gets no answer at all."""
    claims = PAGE.json("claims", "engineer")
    eve = client(service, authorities["other"], claims, tmp_path, NAME="jane", GROUP="engineers")
    ran = eve.run(PAGE.block("steps").replace("|| {", "#"))  # curl's own exit code
    assert ran.returncode in BROKEN_CONNECTION
    assert not (tmp_path / "mine.crt").exists()


def test_the_holder_renews(service: RunningService, authorities: Mapping[str, ClientCa], tmp_path: Path) -> None:
    """The steps of the renewal give a new certificate of the same user, again and again."""
    jane = requester(service, authorities, "engineer", tmp_path)
    jane.check(PAGE.block("steps"))
    serials = {x509.load_pem_x509_certificate((tmp_path / "mine.crt").read_bytes()).serial_number}
    for _ in range(2):
        jane.check(PAGE.block("renewal"))
        check_certificate(tmp_path / "mine.crt", "jane", ["engineers"], timedelta(hours=1))
        serials.add(x509.load_pem_x509_certificate((tmp_path / "mine.crt").read_bytes()).serial_number)
    assert len(serials) == 3


@pytest.mark.parametrize(
    ("wanted", "code"),
    [({"NAME": "joe"}, "renewal-other-user"), ({"GROUP": "admins"}, "renewal-more-groups")],
)
def test_a_renewal_gives_no_more(
    service: RunningService, authorities: Mapping[str, ClientCa], wanted: dict[str, str], code: str, tmp_path: Path
) -> None:
    """Neither another user nor one more group."""
    jane = requester(service, authorities, "engineer", tmp_path)
    jane.check(PAGE.block("steps"))
    ran = jane.run(PAGE.block("renewal"), **wanted)
    assert ran.returncode == 1
    assert code in reason_codes(ran.stdout)


def test_no_renewal_where_the_profile_has_none(
    service: RunningService, authorities: Mapping[str, ClientCa], tmp_path: Path
) -> None:
    """A workload's certificate ends with its ten minutes."""
    workload = requester(service, authorities, "mesh", tmp_path)
    workload.check(PAGE.block("steps"))
    ran = workload.run(PAGE.block("renewal"))
    assert reason_codes(ran.stdout) == ["no-profile"]


@pytest.mark.xdist_group("cluster")
def test_kubectl_uses_it(
    authorities: Mapping[str, ClientCa], cluster: Cluster, admin: Kubectl, tmp_path: Path
) -> None:
    """With a kubeconfig made as on the page, jane has the rights of her group in a real API server."""
    admin("create", "clusterrole", "engineers", "--verb=list", "--resource=namespaces")
    admin("create", "clusterrolebinding", "engineers", "--clusterrole=engineers", "--group=engineers")
    with service_of(authorities, tmp_path / "kubemint", ca=cluster.ca.files) as service:
        jane = requester(service, authorities, "engineer", tmp_path / "jane")
        jane.check(PAGE.block("steps"))
    shutil.copy(cluster.ca.certificate_file, jane.folder / "cluster.crt")
    assert "kube-system" in jane.check(PAGE.block("use"), CLUSTER_SERVER=cluster.url)
