"""Renewal: what the holder of a certificate of this service may have, judged by today's policy."""

import base64
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from prometheus_client import REGISTRY

from authentication.certificates import client_ca, cn, subject
from csrs import good_csr
from issuance.desk import NOW, POLICY, Desk, ca, policy, requester
from issuance.doors import submission
from kubemint.authentication import Evidence, authenticate
from kubemint.authentication.renewal import RenewalAuthenticator
from kubemint.authentication.tokens import TokenAuthenticator, new_token, save_tokens
from kubemint.errors import NotAuthenticated, RequestRefused
from kubemint.ledger.proven import ProvenEntries
from kubemint.ledger.revocations import RevocationReader
from kubemint.record import Entry
from kubemint.requester import Method, Requester
from kubemint.x509.generate import self_signed_ca
from kubemint.x509.issuer import Issuer, issuer_from
from ledger.adapters import SqliteAdapter

HOUR = timedelta(hours=1)
RENEWABLE = (
    POLICY.replace("default: 1h, max: 24h}\n", "default: 1h, max: 4h}\n    renewal: {for: 8h}\n")
    + """
  others:
    requesters: [{token: requester}]
    users: ["*"]
    groups: [developers]
    lifetime: {default: 1h, max: 4h}
    renewal: {for: 8h}
roles:
  auditor: [{token: requester}, {certificate: developers}, {oidc: developers}]
  operator: [{token: requester}, {certificate: developers}]
"""
)


def renewals(issuer: Issuer, record: SqliteAdapter) -> RenewalAuthenticator:
    """Give the way of the certificates that are on this record."""
    proven, revocations = ProvenEntries(record.reader(), record.log()), RevocationReader(record.engine)
    return RenewalAuthenticator(
        issuer, proven.find_by_credential_id, proven.find_by_serial, revocations.is_revoked
    )


@pytest.fixture
def desk(record: SqliteAdapter) -> Desk:
    """Give a desk whose developers may renew for eight hours."""
    return Desk(record.open(), RENEWABLE)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[SqliteAdapter]:
    """Give an empty ledger on disk."""
    adapter = SqliteAdapter(tmp_path / "ledger.db")
    yield adapter
    adapter.close()


def first(desk: Desk, who: Requester | None = None, user: str = "jane", groups: tuple[str, ...] = ()) -> Entry:
    """Issue the first certificate of a line."""
    csr = good_csr(user=user, groups=list(groups or ("developers", "viewers")))
    return desk.issue(submission(csr, profile="developers"), who or requester()).entry


def shown(entry: Entry) -> bytes:
    """Give the certificate that TLS would give."""
    return base64.b64decode(entry.fields["certificate"])


def holder(desk: Desk, record: SqliteAdapter, entry: Entry) -> Requester:
    """Prove who asks with a certificate of the service, now."""
    way = renewals(desk.issuance.issuer, record)
    evidence = Evidence(authorization=None, client_certificate_der=shown(entry))
    return authenticate(evidence, (way,), desk.now)


def renew(
    desk: Desk,
    record: SqliteAdapter,
    entry: Entry,
    *,
    user: str = "jane",
    groups: tuple[str, ...] = ("developers", "viewers"),
    expiration_seconds: int | None = None,
    profile: str | None = None,
) -> Entry:
    """Ask for the next certificate with the one in hand."""
    wanted = submission(good_csr(user=user, groups=list(groups)), expiration_seconds, profile)
    return desk.issue(wanted, holder(desk, record, entry)).entry


def refusal(desk: Desk, record: SqliteAdapter, entry: Entry, **options: object) -> list[str]:
    """Ask for what must be refused; give the reasons, which are on record too."""
    with pytest.raises(RequestRefused) as refused:
        renew(desk, record, entry, **options)  # type: ignore[arg-type]  # as `renew` has them
    codes = [reason.code for reason in refused.value.reasons]
    assert [told["code"] for told in record.announced[-1].fields["reasons"]] == codes
    return codes


def ends(entry: Entry) -> str:
    """Give when a certificate ends."""
    return str(entry.fields["notAfter"])


@pytest.mark.parametrize("groups", [("developers", "viewers"), ("viewers",), ()])
def test_the_same_user_and_the_same_or_fewer_groups(
    desk: Desk, record: SqliteAdapter, groups: tuple[str, ...]
) -> None:
    """A holder gets a certificate for the same user, with all of its groups or with fewer."""
    old = first(desk)
    desk.now += HOUR / 2
    renewed = renew(desk, record, old, groups=groups)
    assert (renewed.fields["user"], renewed.fields["groups"]) == ("jane", list(groups))
    assert renewed.fields["profile"] == "developers"


def test_what_the_record_tells(desk: Desk, record: SqliteAdapter) -> None:
    """The record of a renewal names the certificate shown, and who proved what first, and when."""
    old = first(desk)
    desk.now += HOUR / 2
    fields = renew(desk, record, old).fields
    assert (fields["method"], fields["authority"]) == ("renewal", "developers")
    assert fields["requester"] == f"renewal:{old.fields['serialNumber']}"
    assert fields["evidence"] == old.fields["credentialId"]
    assert fields["renews"] == {
        "line": old.fields["serialNumber"],
        "profile": "developers",
        "user": "jane",
        "groups": ["developers", "viewers"],
        "first": {name: old.fields[name] for name in ("requester", "method", "authority", "evidence")},
        "firstProvenAt": old.fields["time"],
    }


def test_another_user_and_more_groups(desk: Desk, record: SqliteAdapter) -> None:
    """Another user and a group more are refused, both at once, though the first requester might have had them."""
    old = first(desk, groups=("developers",))
    assert refusal(desk, record, old, user="eve", groups=("developers",)) == ["renewal-other-user"]
    assert refusal(desk, record, old, user="Jane", groups=()) == ["renewal-other-user"]
    assert refusal(desk, record, old) == ["renewal-more-groups"]
    assert refusal(desk, record, old, user="eve") == ["renewal-other-user", "renewal-more-groups"]


def test_fewer_groups_stay_fewer(desk: Desk, record: SqliteAdapter) -> None:
    """A group that was left out once is not to be had by renewing, not even of the certificate before."""
    fewer = renew(desk, record, first(desk), groups=("developers",))
    assert refusal(desk, record, fewer) == ["renewal-more-groups"]


def test_a_group_that_is_required_by_now(desk: Desk, record: SqliteAdapter) -> None:
    """A group that the policy has begun to add is not added by renewing."""
    old = first(desk)
    desk.policy = policy(RENEWABLE.replace("    renewal", "    required: [audited]\n    renewal", 1))
    assert refusal(desk, record, old) == ["renewal-more-groups"]
    new = first(desk)
    assert renew(desk, record, new).fields["groups"] == ["developers", "viewers", "audited"]


def test_the_end_of_the_line(desk: Desk, record: SqliteAdapter) -> None:
    """However often it is renewed: nothing ends after `for`, which counts from the first proof, or begins then."""
    entry = first(desk)
    for hours in (0.5, 3.5, 6.5):
        desk.now = NOW + hours * HOUR
        entry = renew(desk, record, entry, expiration_seconds=min(14400, int((8 - hours) * 3600)))
        assert entry.fields["renews"]["firstProvenAt"] == "2026-11-20T12:00:00Z"
        assert entry.fields["renews"]["first"]["method"] == "token"
    assert ends(entry) == "2026-11-20T20:00:00Z"
    desk.now = NOW + 7.5 * HOUR
    assert refusal(desk, record, entry, expiration_seconds=3600) == ["lifetime-too-long"]
    assert ends(renew(desk, record, entry)) == "2026-11-20T20:00:00Z"
    desk.now = NOW + 8 * HOUR
    assert refusal(desk, record, entry) == ["renewal-over"]


def test_a_shorter_line(desk: Desk, record: SqliteAdapter) -> None:
    """A `for` that was made shorter counts for certificates that are there already."""
    old = first(desk)
    desk.now += HOUR / 2
    desk.policy = policy(RENEWABLE.replace("for: 8h", "for: 20m"))
    assert refusal(desk, record, old) == ["renewal-over"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("    renewal: {for: 8h}\n  monitoring", "  monitoring"),
        ("  developers:\n", "  engineers:\n"),
        ("  developers:\n    requesters: [{token: requester}]", "  developers:\n    requesters: [{token: else}]"),
        ("  developers:\n    requesters: [{token: requester}]", "  developers:\n    requesters: []"),
    ],
    ids=["no renewal any more", "no profile any more", "another requester", "no requester"],
)
def test_a_right_that_was_taken_away(desk: Desk, record: SqliteAdapter, before: str, after: str) -> None:
    """What today's policy does not give to the first requester is not renewed, by this profile or by another."""
    old = first(desk)
    assert before in RENEWABLE
    desk.policy = policy(RENEWABLE.replace(before, after))
    assert refusal(desk, record, old) == ["no-profile"]
    assert refusal(desk, record, old, profile="others") == ["no-profile"]


def test_a_group_that_was_taken_away(desk: Desk, record: SqliteAdapter) -> None:
    """A group or user that the profile gives no longer is not renewed, while the rest is."""
    old = first(desk)
    desk.policy = policy(RENEWABLE.replace("viewers, ", ""))
    assert refusal(desk, record, old) == ["group-not-allowed"]
    assert renew(desk, record, old, groups=("developers",)).fields["groups"] == ["developers"]
    desk.policy = policy(RENEWABLE.replace('users: ["*"]', "users: [joe]"))
    assert refusal(desk, record, old) == ["user-not-allowed"]


def test_another_profile(desk: Desk, record: SqliteAdapter) -> None:
    """A certificate of one profile renews nothing under another, though the first requester has both."""
    assert refusal(desk, record, first(desk), groups=("developers",), profile="others") == ["profile-not-allowed"]


def test_claims_of_the_first_proof(desk: Desk, record: SqliteAdapter) -> None:
    """Rules and names are judged by what was proven first, as it is on record."""
    oidc = RENEWABLE.replace("{token: requester}", "{oidc: corp, claims: {team: shop}}", 1)
    oidc = oidc.replace('users: ["*"]', 'users: ["{claims.email}"]', 1)
    desk.policy = policy(oidc)
    jane = Requester(
        method=Method.OIDC,
        authority="corp",
        identity="oidc:corp:jane",
        evidence="token",
        claims=MappingProxyType({"team": ["shop"], "email": "jane@acme"}),
    )
    old = first(desk, jane, user="jane@acme")
    again = renew(desk, record, renew(desk, record, old, user="jane@acme"), user="jane@acme")
    assert again.fields["renews"]["first"]["claims"] == {"team": ["shop"], "email": "jane@acme"}
    desk.policy = policy(oidc.replace("team: shop", "team: search"))
    assert refusal(desk, record, again, user="jane@acme") == ["no-profile"]


def test_no_role(desk: Desk, record: SqliteAdapter) -> None:
    """A holder has no role, though the first requester has both."""
    old = first(desk)
    roles = desk.policy.roles
    assert roles.held_by(requester()) == ("auditor", "operator")
    asks = holder(desk, record, old)
    assert (roles.held_by(asks), roles.may_operate(asks), roles.may_read_the_log(asks)) == ((), False, False)


@pytest.mark.parametrize(("seconds", "holds"), [(0, True), (3600, True), (3601, False), (-301, False)])
def test_until_it_expires(desk: Desk, record: SqliteAdapter, seconds: int, holds: bool) -> None:
    """A certificate proves who asks from its beginning to its last second."""
    old = first(desk)
    desk.now = NOW + timedelta(seconds=seconds)
    if holds:
        assert holder(desk, record, old).identity == f"renewal:{old.fields['serialNumber']}"
    else:
        with pytest.raises(NotAuthenticated, match="not valid"):
            holder(desk, record, old)


def test_nothing_longer_than_the_authority_allows(desk: Desk, record: SqliteAdapter) -> None:
    """The profile's own bound counts for renewals too."""
    assert refusal(desk, record, first(desk), expiration_seconds=5 * 3600) == ["lifetime-too-long"]


def alarms() -> float:
    """Count the certificates of our key that are nobody's."""
    return REGISTRY.get_sample_value("kubemint_foreign_certificates_total") or 0.0


def stolen(issuer: x509.Certificate, key: object, digest: object, **options: object) -> bytes:
    """Make a certificate with the CA's key, as who has stolen it would."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject(cn("eve")))
        .issuer_name(issuer.subject)
        .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        .serial_number(7)
        .not_valid_before(NOW - HOUR)
        .not_valid_after(NOW + HOUR)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, digest, **options)  # type: ignore[arg-type]  # a key and a hash
        .public_bytes(Encoding.DER)
    )


def _rsa() -> Issuer:
    key = rsa.generate_private_key(65537, 2048)
    return issuer_from((self_signed_ca(key, "RSA", NOW - HOUR, timedelta(days=9)),), key)


def _pss() -> padding.PSS:
    return padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


@pytest.mark.parametrize("way", ["SHA-256", "SHA-512", "RSA", "RSASSA-PSS"])
def test_the_key_of_the_ca_in_other_hands(
    desk: Desk, record: SqliteAdapter, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A certificate that our key has signed and that is not on record is an alarm, however it was signed."""
    issuer = _rsa() if way.startswith("RSA") else desk.issuance.issuer
    key = issuer.key if way.startswith("RSA") else ca()[1]
    digest = hashes.SHA512() if way == "SHA-512" else hashes.SHA256()
    der = stolen(issuer.certificate, key, digest, **({"rsa_padding": _pss()} if way == "RSASSA-PSS" else {}))
    before = alarms()
    finder = renewals(issuer, record)
    with pytest.raises(NotAuthenticated, match="not valid here"):
        finder.authenticate(Evidence(authorization=None, client_certificate_der=der), NOW)
    assert alarms() == before + 1
    (told,) = [line for line in caplog.records if line.levelno == logging.CRITICAL]
    assert vars(told)["credentialId"].startswith("X509SHA256=")


def test_a_signature_that_was_rewritten(desk: Desk, record: SqliteAdapter) -> None:
    """Anybody can turn an ECDSA signature (r, s) into (r, n - s): that is another credential id, and no alarm."""
    certificate = x509.load_der_x509_certificate(base64.b64decode(first(desk).fields["certificate"]))
    r, s = decode_dss_signature(certificate.signature)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256, SEC 2 2.4.2
    rewritten = encode_dss_signature(r, order - s)
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    bits = bytes([0x03, len(rewritten) + 1, 0]) + rewritten
    content = certificate.tbs_certificate_bytes + algorithm + bits
    twin = b"\x30\x82" + len(content).to_bytes(2, "big") + content
    before = alarms()
    with pytest.raises(NotAuthenticated):
        renewals(desk.issuance.issuer, record).authenticate(
            Evidence(authorization=None, client_certificate_der=twin), NOW
        )
    assert alarms() == before


def test_another_ca_is_no_alarm(desk: Desk, record: SqliteAdapter) -> None:
    """A certificate of another CA, even one of our CA's name, and none at all are for others to judge."""
    way = renewals(desk.issuance.issuer, record)
    before = alarms()
    for der in (
        client_ca("test CA", NOW).client(now=NOW).der,
        client_ca("else", NOW).client(now=NOW).der,
        b"",
        None,
    ):
        assert way.authenticate(Evidence(authorization=None, client_certificate_der=der), NOW) is None
    assert alarms() == before


@pytest.mark.parametrize("header", ["Bearer wrong", "Basic amFuZTp4", ""])
def test_a_wrong_token_beside_a_good_certificate(
    desk: Desk, record: SqliteAdapter, header: str, tmp_path: Path
) -> None:
    """Who shows a token that does not hold is nobody, whatever certificate comes with it."""
    file = tmp_path / "tokens.yaml"
    save_tokens(file, (new_token("ci", NOW + HOUR)[1],))
    ways = (
        TokenAuthenticator(file),
        renewals(desk.issuance.issuer, record),
    )
    evidence = Evidence(authorization=header, client_certificate_der=shown(first(desk)))
    with pytest.raises(NotAuthenticated):
        authenticate(evidence, ways, NOW)
    assert authenticate(replace(evidence, authorization=None), ways, NOW).method is Method.RENEWAL


def test_the_last_moment(desk: Desk, record: SqliteAdapter) -> None:
    """Up to the end of `for` what is handed out ends with it, and never before it is signed."""
    entry = first(desk)
    for hours, seconds in ((0.5, 14400), (4.4, 7200), (6, None), (6.5, None), (7.25, None)):
        desk.now = NOW + hours * HOUR
        entry = renew(desk, record, entry, expiration_seconds=seconds)
    for left in (1, 0.6, 0.001):
        desk.now = NOW + 8 * HOUR - timedelta(seconds=left)
        assert ends(renew(desk, record, entry)) == "2026-11-20T20:00:00Z"
    desk.now = NOW + 8 * HOUR
    assert refusal(desk, record, entry) == ["renewal-over"]
