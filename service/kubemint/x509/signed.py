"""What a certificate and a revocation list have in common (RFC 5280 4.1.1 and 5.1.1).

Both are a structure, the algorithm, and a signature over the structure's octets; both carry extensions
and times of one form. The key signs one string of octets, as a key that is elsewhere does.
"""

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Final

from cryptography import x509
from cryptography.hazmat import asn1

from kubemint.errors import SigningFailed
from kubemint.x509.issuer import Issuer

Time = asn1.UTCTime | asn1.GeneralizedTime

_FIRST_GENERALIZED_YEAR: Final = 2050


@asn1.sequence
class Extension:
    """An extension: its value is the DER inside of the OCTET STRING (RFC 5280 4.1)."""

    oid: x509.ObjectIdentifier
    critical: Annotated[bool, asn1.Default(False)]
    value: bytes


@asn1.sequence
class _Signed:
    tbs: asn1.TLV
    signature_algorithm: asn1.TLV
    signature: asn1.BitString


def sign_structure(tbs_der: bytes, issuer: Issuer) -> bytes:
    """Sign a structure that names the issuer's algorithm, and give the whole in DER.

    Raises:
        SigningFailed: the key could not, or would not, sign. That it signed these octets is not checked here.
    """
    try:
        signature = issuer.sign(tbs_der)
    except Exception as fault:  # a key may be remote hardware: whatever it raises means "not signed"
        raise SigningFailed(f"the issuer key did not sign: {type(fault).__name__}") from fault
    return asn1.encode_der(
        _Signed(tbs=tlv(tbs_der), signature_algorithm=algorithm(issuer), signature=asn1.BitString(signature, 0))
    )


@lru_cache(maxsize=8)
def algorithm(issuer: Issuer) -> asn1.TLV:
    """Give the AlgorithmIdentifier that stands inside of what is signed, and again beside the signature."""
    return tlv(issuer.signature_algorithm_der)


def extension(value: x509.ExtensionType, *, critical: bool) -> Extension:
    """Encode the value of an extension."""
    return Extension(oid=value.oid, critical=critical, value=value.public_bytes())


def time(moment: datetime) -> Time:
    """RFC 5280 4.1.2.5: two digits for the year through 2049, four from 2050 on; whole seconds of UTC."""
    return asn1.UTCTime(moment) if moment.year < _FIRST_GENERALIZED_YEAR else asn1.GeneralizedTime(moment)


def tlv(der: bytes) -> asn1.TLV:
    """Take one encoded value as it is."""
    return asn1.decode_der(asn1.TLV, der)
