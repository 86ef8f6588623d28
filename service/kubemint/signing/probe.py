"""Does the key really sign? Asked by doing it, on input that can never be a certificate."""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from kubemint.errors import SigningFailed
from kubemint.x509.issuer import Issuer

_INPUT: Final = b"kubemint readiness check"  # not DER: nothing can take the signature for one on a certificate


def check_signing(issuer: Issuer) -> None:
    """Sign a fixed input and verify it with the issuer's certificate.

    Raises:
        SigningFailed: the key did not sign, or its signature does not hold.
    """
    try:
        _sign_and_verify(issuer)
    except InvalidSignature as fault:
        raise SigningFailed("the key's signature does not hold under the issuer's certificate") from fault
    except Exception as fault:  # a key may be remote hardware: whatever it raises means "does not sign"
        raise SigningFailed(f"the issuer key did not sign: {type(fault).__name__}") from fault


def _sign_and_verify(issuer: Issuer) -> None:
    match issuer.key, issuer.signature_hash:
        case rsa.RSAPrivateKey() as key, algorithm if algorithm is not None:
            signature = key.sign(_INPUT, padding.PKCS1v15(), algorithm)
        case ec.EllipticCurvePrivateKey() as key, algorithm if algorithm is not None:
            signature = key.sign(_INPUT, ec.ECDSA(algorithm))
        case ed25519.Ed25519PrivateKey() as key, _:
            signature = key.sign(_INPUT)
        case _:
            raise InvalidSignature
    issuer.verify(signature, _INPUT)
