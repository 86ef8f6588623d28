"""Entries whose certificates are real, signed by a CA of this run."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from csrs import private_key, spki
from kubemint.record import Event, rfc3339
from kubemint.transparency.checkpoint import Checkpoint, NoteSigner
from kubemint.transparency.receipt import Receipt
from kubemint.transparency.tree import Frontier, grow, leaf_hash
from kubemint.x509.certificate import sign_certificate
from kubemint.x509.issuer import Issuer
from kubemint.x509.profile import CertificateTerms
from ledger import events
from ledger.events import NOW
from x509.authorities import issuer_of


@cache
def authority(name: str = "kubernetes") -> Issuer:
    """Give the CA of this run, or another one."""
    return issuer_of("ecdsa-p256", NOW, common_name=name)


def issued(
    serial: int,
    *,
    user: str = "jané",
    groups: Sequence[str] = ("developers",),
    time: datetime = NOW,
    lifetime: timedelta = timedelta(hours=1),
    by: Issuer | None = None,
    **about: Any,
) -> Event:
    """Give the event of a certificate that is what the event says."""
    key = private_key("ecdsa-p256")
    terms = CertificateTerms(
        user=user,
        groups=tuple(groups),
        public_key=key.public_key(),
        spki_der=spki(key),
        not_before=time.replace(microsecond=0),
        not_after=time.replace(microsecond=0) + lifetime,
    )
    certificate = sign_certificate(terms, by or authority(), serial)
    event = events.issued(serial, user=user, groups=groups, time=time, lifetime=lifetime, **about)
    real = {
        "certificate": base64.b64encode(certificate.der).decode(),
        "credentialId": certificate.credential_id,
        "serialNumber": certificate.serial_number,
        "publicKeySha256": hashlib.sha256(terms.spki_der).hexdigest(),
        "notBefore": rfc3339(terms.not_before),
        "notAfter": rfc3339(terms.not_after),
    }
    return replace(event, fields={**event.fields, **real})


def answered(request: str, serial: int, **about: Any) -> Event:
    """Give the event of such a certificate that came of an approval."""
    event = issued(serial, **about)
    return replace(event, fields={**event.fields, "request": request})


def der_of(event: Event) -> bytes:
    """Give the certificate of an event."""
    return base64.b64decode(event.fields["certificate"])


def pem_of(event: Event) -> str:
    """Give the certificate of an event in PEM."""
    return x509.load_der_x509_certificate(der_of(event)).public_bytes(Encoding.PEM).decode()


def receipt_of(event: Event, signer: NoteSigner, others: Sequence[bytes] = (b"a", b"b")) -> Receipt:
    """Give the receipt of an event in a log that has others before it."""
    growth = grow(grow(Frontier.empty(), [leaf_hash(body) for body in others]).frontier, [leaf_hash(event.body)])
    checkpoint = Checkpoint(origin=signer.name, size=growth.frontier.size, root=growth.root)
    return Receipt(
        index=len(others),
        proof=growth.inclusion_proof(len(others)),
        checkpoint=signer.sign(checkpoint.text),
        extra=event.body,
    )
