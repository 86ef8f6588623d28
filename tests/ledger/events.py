"""Events for a ledger: made by the functions that make the real ones, of certificates that nobody signed."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kubemint.audit import issued_event, refused_event, reinstated_event, revoked_event, unfit_event
from kubemint.errors import Reason
from kubemint.policy.decision import Granted
from kubemint.policy.rules import Limits, Policy, Roles
from kubemint.record import Attempt, Event, EventKind, ReinstatementOrder, RevocationOrder, rfc3339
from kubemint.requester import Method, Requester
from kubemint.selector import Selector
from kubemint.x509.certificate import SignedCertificate, credential_id, format_serial
from kubemint.x509.profile import CertificateTerms
from kubemint.x509.request import CsrEncoding, SigningRequest, Submission
from kubemint.x509.revocation import RevocationReason

POLICY = Policy(
    version="sha256:" + "0" * 64,
    limits=Limits(max_lifetime=timedelta(days=1), keys=frozenset()),
    profiles=(),
    roles=Roles(),
)
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
REASONS = (
    Reason(code="user-not-allowed", message="user 'jané' is not allowed", path="profiles.developers.users"),
    Reason(code="lifetime-too-long", message="86401 s asked; at most 86400 s allowed", path="limits.maxLifetime"),
)


def requester(name: str = "ci") -> Requester:
    """Give the requester that shows the token of this name."""
    return Requester(
        method=Method.TOKEN, authority=name, identity=f"token:{name}", evidence="token sha256:0123456789abcdef"
    )


def attempt(
    *,
    by: str = "ci",
    time: datetime = NOW,
    key: str | None = None,
    asked_profile: str | None = None,
    csr: bytes = b"csr",
) -> Attempt:
    """Give a try to get a certificate."""
    return Attempt(
        requester=requester(by),
        submission=Submission(csr=csr, encoding=CsrEncoding.DER, expiration_seconds=600, profile=asked_profile),
        time=time,
        policy=POLICY,
        idempotency_key=key,
    )


def issued(
    serial: int,
    *,
    by: str = "ci",
    user: str = "jané",
    groups: Sequence[str] = ("developers",),
    profile: str = "developers",
    time: datetime = NOW,
    lifetime: timedelta = timedelta(hours=1),
    key: str | None = None,
) -> Event:
    """Give the event of a certificate with this serial number; no two numbers have the same certificate."""
    der = hashlib.sha256(b"%d" % serial).digest()
    certificate = SignedCertificate(
        der=der,
        serial_number=format_serial(serial),
        credential_id=credential_id(der),
        not_before=time.replace(microsecond=0),
        not_after=time.replace(microsecond=0) + lifetime,
    )
    grant = Granted(
        profile=profile,
        policy_version="sha256:" + "0" * 64,
        terms=_terms(user, tuple(groups), time),
        decided_at=time,
    )
    return issued_event(attempt(by=by, time=time, key=key), _request(user, tuple(groups)), grant, certificate)


def refused(
    *,
    by: str = "ci",
    user: str = "eve",
    groups: Sequence[str] = ("developers",),
    asked_profile: str | None = None,
    time: datetime = NOW,
    key: str | None = None,
) -> Event:
    """Give the event of a request that the policy turned down."""
    tried = attempt(by=by, time=time, asked_profile=asked_profile, key=key)
    return refused_event(tried, REASONS, _request(user, tuple(groups)))


def unfit(*, by: str = "ci", subject: str | None = None, time: datetime = NOW) -> Event:
    """Give the event of a CSR that was turned down for itself."""
    return unfit_event(attempt(by=by, time=time), REASONS[:1], subject)


def single_use(event: Event, token_id: str, authority: str = "github") -> Event:
    """Give an event that tells of the use of a token that counts once."""
    return replace(event, fields={**event.fields, "singleUse": {"authority": authority, "tokenId": token_id}})


def requested(
    request: str,
    *,
    by: str = "ci",
    user: str = "jané",
    groups: Sequence[str] = ("developers",),
    profile: str = "developers",
    time: datetime = NOW,
) -> Event:
    """Give the event of a request that waits for approval for an hour."""
    about = {"request": request, "user": user, "groups": list(groups), "profile": profile}
    return _event(EventKind.REQUESTED, by, time, {**about, "expires": rfc3339(time + timedelta(hours=1))})


def approved(request: str, *, by: str = "boss", time: datetime = NOW) -> Event:
    """Give the event of an approval."""
    return _event(EventKind.APPROVED, by, time, {"request": request, "approver": f"token:{by}"})


def denied(request: str, *, by: str = "boss", time: datetime = NOW) -> Event:
    """Give the event of a denial."""
    return _event(EventKind.DENIED, by, time, {"request": request, "approver": f"token:{by}"})


def answered(request: str, serial: int, **about: Any) -> Event:
    """Give the event of a certificate that was issued because the request for it was approved."""
    event = issued(serial, **about)
    return replace(event, fields={**event.fields, "request": request})


def policy_changed(version: str, *, time: datetime = NOW) -> Event:
    """Give the event of a new policy."""
    return _event(EventKind.POLICY_CHANGED, "operator", time, {"version": version, "text": f"# {version}\n"})


def revoked(
    revocation: str,
    *,
    by: str = "boss",
    reason: RevocationReason = RevocationReason.UNSPECIFIED,
    time: datetime = NOW,
    suspend_until: datetime | None = None,
    **selector: Any,
) -> Event:
    """Give the event of a revocation of this name; keys are blocked where it is for keyCompromise or names one."""
    order = RevocationOrder(
        revocation=revocation,
        selector=Selector(**selector),
        reason=reason,
        note="",
        ordered_by=requester(by),
        time=time,
        policy_version=POLICY.version,
        suspend_until=suspend_until,
        blocks_keys=reason is RevocationReason.KEY_COMPROMISE or "public_key_sha256" in selector,
    )
    return revoked_event(order)


def reinstated(revocation: str, *, by: str = "boss", time: datetime = NOW) -> Event:
    """Give the event of a hold that was lifted."""
    order = ReinstatementOrder(
        revocation=revocation, note="", ordered_by=requester(by), time=time, policy_version=POLICY.version
    )
    return reinstated_event(order)


def certificate_der(event: Event) -> bytes:
    """Give the certificate that an event holds."""
    return base64.b64decode(event.fields["certificate"])


def _event(kind: EventKind, by: str, time: datetime, fields: Mapping[str, Any]) -> Event:
    head = {"kind": kind.value, "time": rfc3339(time), "requester": requester(by).identity}
    return Event(kind=kind, time=time, fields=head | dict(fields))


def _request(user: str, groups: tuple[str, ...]) -> SigningRequest:
    return SigningRequest(
        csr_der=b"csr",
        user=user,
        groups=groups,
        public_key=_public_key(),
        spki_der=_spki(),
        key_type="ecdsa-p256",
        expiration_seconds=600,
        profile=None,
    )


def _terms(user: str, groups: tuple[str, ...], time: datetime) -> CertificateTerms:
    return CertificateTerms(
        user=user, groups=groups, public_key=_public_key(), spki_der=_spki(), not_before=time, not_after=time
    )


@cache
def _public_key() -> ec.EllipticCurvePublicKey:
    return ec.generate_private_key(ec.SECP256R1()).public_key()


@cache
def _spki() -> bytes:
    return _public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
