"""Client certificates: which CA vouches, for whom, and until when."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from authentication.certificates import SERVER_AUTH, ClientCa, ClientCertificate, client_ca, cn, o
from kubemint.authentication import Evidence, authenticate
from kubemint.authentication.mtls import CertificateAuthenticator, ClientAuthority
from kubemint.errors import NotAuthenticated
from kubemint.policy.rules import CertificateRule, Pattern
from kubemint.requester import Method, Requester

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CORP, LAB = client_ca("corp CA", NOW), client_ca("lab CA", NOW)
STRANGER, IMPOSTOR = client_ca("stranger CA", NOW), client_ca("corp CA", NOW)
WAYS = CertificateAuthenticator((CORP.authority("corp"), LAB.authority("lab")))


def ask(shown: ClientCertificate | None, now: datetime = NOW) -> Requester | None:
    """Show a certificate, as the TLS socket gives it."""
    if shown is None:
        return WAYS.authenticate(Evidence(authorization=None, client_certificate_der=None), now)
    return authenticate(Evidence(authorization=None, client_certificate_der=shown.der), (WAYS,), now)


def test_each_authority_vouches_under_its_name() -> None:
    """The requester is named after the CA that signed and the whole subject."""
    for ca, name in ((CORP, "corp"), (LAB, "lab")):
        shown = ca.client(o("engineering"), o("ops"), cn("jane"), now=NOW)
        requester = ask(shown)
        assert requester is not None
        assert (requester.method, requester.authority) == (Method.CERTIFICATE, name)
        assert requester.identity == f"certificate:{name}:CN=jane,O=ops,O=engineering"
        assert requester.claims == {"commonName": "jane", "organizations": ["engineering", "ops"]}
        fingerprint = shown.certificate.fingerprint(shown.certificate.signature_hash_algorithm).hex()
        assert requester.evidence == f"certificate sha256:{fingerprint}"


def test_the_same_subject_under_another_ca_is_another_identity() -> None:
    """Two CAs may have a jane each: they are two requesters."""
    identities = {ask(ca.client(cn("jane"), now=NOW)).identity for ca in (CORP, LAB)}
    assert len(identities) == 2


def test_a_renewed_certificate_is_the_same_identity() -> None:
    """A new certificate of the same CA for the same subject is the same requester."""
    identities = {ask(CORP.client(cn("jane"), now=NOW)).identity for _ in range(2)}
    assert len(identities) == 1


@pytest.mark.parametrize("ca", [STRANGER, IMPOSTOR], ids=["another CA", "another CA of the same name"])
def test_another_ca_proves_nothing(ca: ClientCa) -> None:
    """A certificate of a CA that is not configured is refused, whatever that CA calls itself."""
    with pytest.raises(NotAuthenticated):
        ask(ca.client(cn("jane"), now=NOW))


@pytest.mark.parametrize("purposes", [SERVER_AUTH, ()], ids=["serverAuth alone", "no extended key usage"])
def test_a_certificate_for_another_purpose_proves_nothing(purposes: tuple[x509.ObjectIdentifier, ...]) -> None:
    """A server's certificate is not a client's."""
    with pytest.raises(NotAuthenticated):
        ask(CORP.client(cn("jane"), now=NOW, purposes=purposes))


def test_a_certificate_that_expires_while_the_connection_stays() -> None:
    """On a connection that outlives it, a certificate proves its holder to its last second and no longer."""
    shown = CORP.client(cn("jane"), now=NOW, lifetime=timedelta(minutes=1))
    assert ask(shown, NOW + timedelta(minutes=1)) is not None
    for late in (timedelta(minutes=1, seconds=1), timedelta(days=1)):
        with pytest.raises(NotAuthenticated):
            ask(shown, NOW + late)
    assert ask(shown, NOW) is not None  # it is time that counts, not that it was refused once


def test_a_certificate_that_is_not_valid_yet() -> None:
    """Before its notBefore a certificate proves nothing."""
    shown = CORP.client(cn("jane"), now=NOW)
    with pytest.raises(NotAuthenticated):
        ask(shown, NOW - timedelta(minutes=6))


def test_two_common_names_are_none() -> None:
    """Of two CNs none is taken, so that no rule about common names fits; the identity holds both."""
    requester = ask(CORP.client(cn("jane"), cn("admin"), now=NOW))
    assert requester is not None
    assert "commonName" not in requester.claims
    assert requester.identity == "certificate:corp:CN=admin,CN=jane"
    for name in ("jane", "admin"):
        assert not CertificateRule(certificate="corp", common_name=Pattern(name), organization=None).matches(
            requester
        )


def test_other_names_of_a_workload_are_claims() -> None:
    """A SPIFFE id and DNS names of the certificate can be matched by rules."""
    names = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier("spiffe://acme/ns/shop/sa/ci"), x509.DNSName("ci.acme.example")]
    )
    requester = ask(CORP.client(cn("ci"), now=NOW, extensions=(names,)))
    assert requester is not None
    assert requester.identity == "certificate:corp:spiffe://acme/ns/shop/sa/ci"
    rule = CertificateRule(certificate="corp", uri=Pattern("spiffe://acme/ns/shop/*"), dns_name=Pattern("ci.*"))
    assert rule.matches(requester)
    assert not CertificateRule(certificate="corp", uri=Pattern("spiffe://acme/ns/other/*")).matches(requester)


def test_beside_a_token_a_certificate_does_not_count() -> None:
    """A token that does not hold never falls back to the connection's certificate."""
    evidence = Evidence(authorization="Bearer wrong", client_certificate_der=CORP.client(cn("jane"), now=NOW).der)
    with pytest.raises(NotAuthenticated):
        authenticate(evidence, (WAYS,), NOW)


def test_names_that_look_like_a_separator_are_escaped() -> None:
    """A value that holds a comma, an equals sign or a colon cannot pose as another subject."""
    one = ask(CORP.client(cn("jane,O=admins"), now=NOW))
    two = ask(CORP.client(o("admins"), cn("jane"), now=NOW))
    assert one.identity != two.identity
    assert one.claims["organizations"] == []


def test_other_names_count_for_the_identity_alone() -> None:
    """A subject with more than CN and O is another identity, and gives no organization."""
    plain, more = (
        ask(CORP.client(*names, now=NOW))
        for names in ((cn("jane"),), ((NameOID.ORGANIZATIONAL_UNIT_NAME, "admins"), cn("jane")))
    )
    assert plain.identity != more.identity
    assert more.claims["organizations"] == []


def test_without_a_certificate_it_is_somebody_elses_to_judge() -> None:
    """No certificate is no evidence of this kind."""
    assert ask(None) is None


def test_the_certificate_of_the_ca_is_no_client() -> None:
    """A CA that shows its own certificate is nobody."""
    shown = ClientCertificate(certificate=CORP.certificate, key=CORP.key)
    with pytest.raises(NotAuthenticated):
        ask(shown)


def test_each_ca_of_a_bundle_vouches() -> None:
    """An authority of two CAs, as while one takes the other's place, knows the clients of both."""
    bundle = ClientAuthority(name="corp", certificates=(STRANGER.certificate, CORP.certificate))
    ways = CertificateAuthenticator((bundle,))
    for ca in (STRANGER, CORP):
        der = ca.client(cn("jane"), now=NOW).der
        found = ways.authenticate(Evidence(authorization=None, client_certificate_der=der), NOW)
        assert found is not None
        assert found.identity == "certificate:corp:CN=jane"


def test_many_certificates_are_told_apart() -> None:
    """However many clients come, each is itself."""
    shown = [CORP.client(cn(f"client-{number}"), now=NOW) for number in range(20)]
    for _ in range(2):
        assert [ask(each).claims["commonName"] for each in shown] == [f"client-{number}" for number in range(20)]
