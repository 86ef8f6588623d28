"""Compose a certificate revocation list, sign it, and read it back (RFC 5280, section 5).

A list is made of the record alone. The library's own builder takes time by the square of the entries, so
the structure is written down in its ASN.1 declarations, as that of certificates is in `certificate.py`;
the time is linear. What was signed is then read by the library's parser, which shares nothing with the
composition, and compared entry by entry: a list that forgets one would let a revoked certificate in.

A long list takes seconds, and a call into a library holds the interpreter until it is done: each call here is
about one entry, so that threads which answer others get their turn meanwhile.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1

from kubemint.errors import SigningFailed
from kubemint.x509.issuer import Issuer
from kubemint.x509.profile import SERIAL_BITS
from kubemint.x509.revocation import RevocationReason, RevokedCertificate, reason_flag
from kubemint.x509.signed import Extension, Time, algorithm, extension, sign_structure, time, tlv

SHARD_MAX: Final = 50_000  # entries: about 2 MB, which a client loads and reads within a second

_VERSION_2: Final = 1  # RFC 5280 5.1.2.1
_NUMBER_END: Final = 1 << 159  # RFC 5280 5.2.3: at most 20 octets, and never negative
_SERIAL_END: Final = 1 << SERIAL_BITS
_SEQUENCE: Final = b"\x30"  # X.690 8.9
_LONG_FORM: Final = 0x80  # X.690 8.1.3.5


def shards_for(count: int) -> int:
    """Give the number of shards, a power of two, that keeps each at `SHARD_MAX` entries on the average.

    Serial numbers are random, so a shard has a few hundred more or fewer than its neighbours.
    """
    full_shards = max(1, -(-count // SHARD_MAX))
    return 1 << (full_shards - 1).bit_length()


def shard_of(serial_number: int, shards: int) -> int:
    """Give the shard of a certificate, from 0; `shards` is a power of two.

    It is stable: twice as many shards split shard n into n and n + `shards`, and move nothing else.
    """
    return serial_number & (shards - 1)


def crl_problems(issuer: Issuer) -> Iterator[str]:
    """Yield every fact for which verifiers turn down all lists of this issuer (RFC 5280 6.3.3 (f)).

    The CAs that kubeadm makes are among them: their key usage has no cRLSign.
    """
    try:
        usage = issuer.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return  # RFC 5280 4.2.1.3: without the extension, any usage
    if not usage.crl_sign:
        yield "the certificate may not sign revocation lists (no cRLSign in its key usage)"


def sign_crl(  # noqa: PLR0913 - what the list says of itself is named where it is called
    issuer: Issuer,
    revoked: Sequence[RevokedCertificate],
    *,
    number: int,
    this_update: datetime,
    next_update: datetime,
    distribution_point: str | None = None,
) -> bytes:
    """Sign the list of what is revoked, in DER, in the order given.

    `number` grows with every list of the issuer (RFC 5280 5.2.3). Times are aware UTC, and fractions of a
    second are dropped. `distribution_point` is the URL of the list where it is one shard of several: the
    list then counts only for certificates that name this URL (RFC 5280 6.3.3 (b)(2)).

    Raises:
        SigningFailed: the order contradicts itself, the key did not sign, or what it signed is not the order.
    """
    order = _Order(
        issuer=issuer,
        revoked=tuple(revoked),
        number=number,
        window=(this_update.replace(microsecond=0), next_update.replace(microsecond=0)),
        distribution_point=distribution_point,
    )
    tbs_der = _compose(order)
    crl_der = sign_structure(tbs_der, issuer)
    _read_back(crl_der, tbs_der, order)
    return crl_der


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What a list must say: `window` is when it begins and when the next one is due, in whole seconds."""

    issuer: Issuer
    revoked: tuple[RevokedCertificate, ...]
    number: int
    window: tuple[datetime, datetime]
    distribution_point: str | None


@asn1.sequence
class _Entry:
    serial_number: int
    revoked_at: Time
    extensions: list[Extension] | None


@asn1.sequence
class _TbsCertList:
    version: int
    signature_algorithm: asn1.TLV
    issuer: asn1.TLV
    this_update: Time
    next_update: Time
    revoked: asn1.TLV  # a SEQUENCE OF `_Entry`
    extensions: Annotated[list[Extension], asn1.Explicit(0)]


@asn1.sequence
class _EmptyTbsCertList:
    """The same where nothing is revoked: the list of entries is absent then, never empty (RFC 5280 5.1.2.6)."""

    version: int
    signature_algorithm: asn1.TLV
    issuer: asn1.TLV
    this_update: Time
    next_update: Time
    extensions: Annotated[list[Extension], asn1.Explicit(0)]


def _reason_extensions(reason: RevocationReason) -> list[Extension] | None:
    flag = reason_flag(reason)
    return None if flag is None else [extension(x509.CRLReason(flag), critical=False)]


_REASON_EXTENSIONS: Final = {reason: _reason_extensions(reason) for reason in RevocationReason}


def _compose(order: _Order) -> bytes:
    try:
        _demand("cannot be written", _order_faults(order))
        common: dict[str, Any] = {
            "version": _VERSION_2,
            "signature_algorithm": algorithm(order.issuer),
            "issuer": tlv(order.issuer.subject_der),
            "this_update": time(order.window[0]),
            "next_update": time(order.window[1]),
            "extensions": list(_extensions(order)),
        }
        if not order.revoked:
            return asn1.encode_der(_EmptyTbsCertList(**common))
        return asn1.encode_der(_TbsCertList(**common, revoked=_entries(order.revoked)))
    except (ValueError, TypeError) as fault:
        raise SigningFailed("the revocation list cannot be written") from fault


def _read_back(crl_der: bytes, tbs_der: bytes, order: _Order) -> None:
    try:
        crl = x509.load_der_x509_crl(crl_der)
        faults = [*_signature_faults(crl, crl_der, tbs_der, order.issuer), *_faults(crl, order)]
    except (ValueError, TypeError, x509.InvalidVersion, x509.ExtensionNotFound) as fault:
        raise SigningFailed("the signed bytes are not a revocation list of this issuer") from fault
    _demand("differs from the record", faults)


def _demand(complaint: str, faults: Iterable[str]) -> None:
    if named := ", ".join(faults):
        raise SigningFailed(f"the revocation list {complaint}: {named}")


def _order_faults(order: _Order) -> Iterator[str]:
    serial_numbers = [certificate.serial_number for certificate in order.revoked]
    if not 0 <= order.number < _NUMBER_END:
        yield "number"
    if not order.window[0] < order.window[1]:
        yield "window"
    if not all(0 < serial_number < _SERIAL_END for serial_number in serial_numbers):
        yield "serial number"
    if len(set(serial_numbers)) != len(serial_numbers):
        yield "serial number twice"


def _entries(revoked: Sequence[RevokedCertificate]) -> asn1.TLV:
    """Encode the entries one after the other, and put the head of a SEQUENCE before them."""
    content = b"".join([asn1.encode_der(_entry(certificate)) for certificate in revoked])
    return tlv(_SEQUENCE + _length(len(content)) + content)


def _length(octets: int) -> bytes:
    """X.690 8.1.3 and 10.1: as short as it can be."""
    if octets < _LONG_FORM:
        return bytes([octets])
    encoded = octets.to_bytes((octets.bit_length() + 7) // 8, "big")
    return bytes([_LONG_FORM | len(encoded)]) + encoded


def _entry(certificate: RevokedCertificate) -> _Entry:
    return _Entry(
        serial_number=certificate.serial_number,
        revoked_at=time(certificate.revoked_at.replace(microsecond=0)),
        extensions=_REASON_EXTENSIONS[certificate.reason],
    )


def _extensions(order: _Order) -> Iterator[Extension]:
    yield extension(order.issuer.authority_key_identifier, critical=False)
    yield extension(x509.CRLNumber(order.number), critical=False)
    if order.distribution_point is not None:
        yield extension(_scope(order.distribution_point), critical=True)


def _scope(distribution_point: str) -> x509.IssuingDistributionPoint:
    """RFC 5280 5.2.5. We sign no CA certificates, so no list of ours is about any."""
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(distribution_point)],
        relative_name=None,
        only_contains_user_certs=True,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )


def _signature_faults(
    crl: x509.CertificateRevocationList, crl_der: bytes, tbs_der: bytes, issuer: Issuer
) -> Iterator[str]:
    """Check the signature over the octets that stand in the list; the library would encode them anew for it."""
    more_of_length = crl_der[1] & ~_LONG_FORM if crl_der[1] & _LONG_FORM else 0
    if not crl_der.startswith(tbs_der, 2 + more_of_length):
        yield "signed octets"
    try:
        issuer.verify(crl.signature, tbs_der)
    except InvalidSignature:
        yield "signature"


def _faults(crl: x509.CertificateRevocationList, order: _Order) -> Iterator[str]:
    issuer = order.issuer
    if crl.signature_algorithm_oid != issuer.signature_algorithm:
        yield "signature algorithm"
    if crl.issuer != issuer.certificate.subject:
        yield "issuer"
    if (crl.last_update_utc, crl.next_update_utc) != order.window:
        yield "window"
    scope = None if order.distribution_point is None else _scope(order.distribution_point)
    expected = {(issuer.authority_key_identifier, False), (x509.CRLNumber(order.number), False)}
    if {(each.value, each.critical) for each in crl.extensions} != expected | (
        {(scope, True)} if scope else set()
    ):
        yield "extensions"
    found = [(each.serial_number, each.revocation_date_utc, _reason(each)) for each in crl]
    if found != [
        (each.serial_number, each.revoked_at.replace(microsecond=0), each.reason) for each in order.revoked
    ]:
        yield "entries"


def _reason(entry: x509.RevokedCertificate) -> RevocationReason:
    if not len(entry.extensions):
        return RevocationReason.UNSPECIFIED
    return RevocationReason(entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value)
