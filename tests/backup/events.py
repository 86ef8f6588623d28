"""Events whose certificates are real: a restore reads them again."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kubemint.audit import issued_event
from kubemint.policy.decision import Granted
from kubemint.record import Event
from kubemint.x509.certificate import SignedCertificate, sign_certificate
from kubemint.x509.generate import generate_key, self_signed_ca
from kubemint.x509.issuer import Issuer, issuer_from
from kubemint.x509.profile import CertificateTerms
from kubemint.x509.request import SigningRequest
from kubemint.x509.revocation import RevocationReason
from ledger.events import (
    answered,
    approved,
    attempt,
    denied,
    policy_changed,
    refused,
    reinstated,
    requested,
    revoked,
    single_use,
    unfit,
)

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def issued(
    serial: int, *, user: str = "jané", groups: tuple[str, ...] = ("developers",), key: str | None = None
) -> Event:
    """Give the event of a certificate that a CA has signed."""
    public_key = _public_key()
    terms = CertificateTerms(
        user=user,
        groups=groups,
        public_key=public_key,
        spki_der=public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        not_before=NOW,
        not_after=NOW + HOUR,
    )
    grant = Granted(profile="developers", policy_version="sha256:" + "0" * 64, terms=terms, decided_at=NOW)
    return issued_event(attempt(time=NOW, key=key), _request(terms), grant, _signed(terms, serial))


def one_of_each() -> tuple[Event, ...]:
    """Give events of every kind but those of revocations."""
    first, answer = issued(1, key="retry-1"), issued(3)
    of_request = answered("r1", 4)
    granted = {name: of_request.fields[name] for name in ("request",)}
    return (
        policy_changed("v1"),
        first,
        refused(groups=("system:masters",), asked_profile="admins"),
        unfit(subject="CN=eve"),
        single_use(requested("r1", groups=("team-a", "team-b")), "t1"),
        requested("r2"),
        requested("r3", by="cd"),
        approved("r1"),
        Event(kind=answer.kind, time=answer.time, fields={**answer.fields, **granted}),
        single_use(denied("r2"), "t2"),
        issued(5, user="ü", groups=()),
        policy_changed("v2"),
    )


def revocations() -> tuple[Event, ...]:
    """Give revocations by everything that there is, for what is on record before them, and one that is lifted."""
    hold, by_id = RevocationReason.CERTIFICATE_HOLD, issued(99).fields["credentialId"]
    return (
        revoked("a", user="ann"),
        revoked("b", group="developers", reason=hold, suspend_until=NOW + HOUR),
        revoked("c", profile="developers", requester="token:ci", reason=RevocationReason.KEY_COMPROMISE),
        revoked("d", issued_since=NOW - HOUR, issued_until=NOW + HOUR, reason=hold),
        revoked("e", serial_number="01"),
        revoked("f", credential_id=by_id),
        revoked("g", public_key_sha256="ab" * 32),
        single_use(revoked("h", user="bob", suspend_until=NOW + HOUR), "t9"),
        reinstated("d"),
    )


def refusals(count: int) -> Iterator[tuple[Event, ...]]:
    """Give many events that are quick to make, a hundred at a time."""
    numbers = iter(range(count))
    while some := tuple(refused(user=f"eve-{number}") for number in itertools.islice(numbers, 100)):
        yield some


@cache
def issuer() -> Issuer:
    """Make a CA."""
    key = generate_key("ecdsa-p256")
    return issuer_from((self_signed_ca(key, "test CA", NOW - HOUR, timedelta(days=365)),), key)


def _signed(terms: CertificateTerms, serial: int) -> SignedCertificate:
    return sign_certificate(terms, issuer(), serial)


@cache
def _public_key():
    return generate_key("ecdsa-p256").public_key()


def _request(terms: CertificateTerms) -> SigningRequest:
    return SigningRequest(
        csr_der=b"csr",
        user=terms.user,
        groups=terms.groups,
        public_key=terms.public_key,
        spki_der=terms.spki_der,
        key_type="ecdsa-p256",
        expiration_seconds=600,
        profile=None,
    )
