"""Other forms of a certificate, put together by hand: the same words, other octets, and they hold for Go."""

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


def with_one_more_element(certificate_der: bytes, content: bytes) -> bytes:
    """Put something behind the signature, where crypto/x509 does not look."""
    certificate = x509.load_der_x509_certificate(certificate_der)
    signature = der.bit_string(certificate.signature)
    algorithm = der.tlv(der.SEQUENCE, der.oid(certificate.signature_algorithm_oid.dotted_string))
    more = der.tlv(der.OCTET_STRING, content)
    return der.tlv(der.SEQUENCE, certificate.tbs_certificate_bytes, algorithm, signature, more)
