"""The other certificate that an ECDSA signature makes: the same words, another credential id, and it holds too.

If (r, s) is a signature, so is (r, n - s): whoever holds a certificate can rewrite it without the CA's key
(FIPS 186-5 6.4; Go and OpenSSL accept both). kube-apiserver knows the result by another credential id, so what
revokes a certificate must know both. RSA and Ed25519 signatures have one form.
"""

import hashlib
from typing import Final

from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

# SEC 2 2.4.2 and 2.5.1: the orders of the curves on which issuers sign here.
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P384_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
# RFC 5758 3.2: the OIDs ecdsa-with-SHA256 and ecdsa-with-SHA384, as the content of an AlgorithmIdentifier.
_ORDERS: Final = {
    bytes.fromhex("06082a8648ce3d040302"): _P256_ORDER,
    bytes.fromhex("06082a8648ce3d040303"): _P384_ORDER,
}


@asn1.sequence
class _Certificate:
    tbs: asn1.TLV
    signature_algorithm: asn1.TLV
    signature: asn1.BitString


def twin_digest(certificate_der: bytes) -> bytes | None:
    """Give the SHA-256 of the twin of a certificate, or None where there can be none.

    Raises:
        ValueError: it is no certificate.
    """
    outer = asn1.decode_der(_Certificate, certificate_der)
    if (order := _ORDERS.get(bytes(outer.signature_algorithm.data))) is None:
        return None
    r, s = decode_dss_signature(outer.signature.as_bytes())
    rewritten = asn1.BitString(encode_dss_signature(r, order - s), 0)
    twin = _Certificate(tbs=outer.tbs, signature_algorithm=outer.signature_algorithm, signature=rewritten)
    return hashlib.sha256(asn1.encode_der(twin)).digest()
