"""The twin of a certificate, put together by hand: the same words under (r, n - s)."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from x509 import der

ORDERS = {  # SEC 2 2.4.2 and 2.5.1
    "ecdsa-p256": 2**256 - 2**224 + 2**192 - 0x4319055258E8617B0C46353D039CDAAF,
    "ecdsa-p384": 2**384 - 0x389CB27E0BC8D220A7E5F24DB74F58851313E695333AD68D,
}
_ALGORITHMS = {"ecdsa-p256": "1.2.840.10045.4.3.2", "ecdsa-p384": "1.2.840.10045.4.3.3"}  # RFC 5758 3.2


def twin_of(certificate_der: bytes, key_type: str = "ecdsa-p256") -> bytes:
    """Give the twin of a certificate that a CA with a key of this type has signed."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    r, s = decode_dss_signature(certificate.signature)
    signature = der.bit_string(encode_dss_signature(r, ORDERS[key_type] - s))
    algorithm = der.tlv(der.SEQUENCE, der.oid(_ALGORITHMS[key_type]))
    return der.tlv(der.SEQUENCE, certificate.tbs_certificate_bytes, algorithm, signature)
