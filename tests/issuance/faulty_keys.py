"""Issuer keys that do not sign as they should: as remote hardware may fail, and as an attacker may like."""

from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric import ec


class FaultyKey(ec.EllipticCurvePrivateKey):
    """A key on another one's public half; what it does in place of signing is for its children to say."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self.key = key

    @property
    def curve(self) -> ec.EllipticCurve:
        """Give the curve of the real key."""
        return self.key.curve

    @property
    def key_size(self) -> int:
        """Give the size of the real key."""
        return self.key.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Give the public half of the real key."""
        return self.key.public_key()

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign as the real key does."""
        return self.key.sign(data, signature_algorithm)

    def exchange(self, *_: Any) -> NoReturn:
        """Do nothing: nobody asks."""
        raise NotImplementedError

    private_numbers = private_bytes = exchange

    def __copy__(self) -> "FaultyKey":
        """Give the same key."""
        return self

    def __deepcopy__(self, _: Any) -> "FaultyKey":
        """Give the same key."""
        return self


class FlipsABit(FaultyKey):
    """Signs, and changes the last bit of the signature."""

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign wrongly."""
        signature = super().sign(data, signature_algorithm)
        return signature[:-1] + bytes([signature[-1] ^ 1])


class SignsSomethingElse(FaultyKey):
    """Gives a good signature, of other bytes."""

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign other bytes."""
        return super().sign(bytes(data) + b"!", signature_algorithm)


class SignsWithAnotherKey(FaultyKey):
    """Gives a good signature of the right bytes, by a key that is not the issuer's."""

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign as somebody else."""
        return ec.generate_private_key(self.curve).sign(data, signature_algorithm)


class SignsTheLastOne(FaultyKey):
    """Gives the signature that was asked for before, as a cache that mixes up its answers does."""

    last = b""

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign, and give the answer of before."""
        before, self.last = self.last, super().sign(data, signature_algorithm)
        return before or self.last


class SignsNothing(FaultyKey):
    """Gives no octets."""

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Give nothing."""
        return b""


class Raises(FaultyKey):
    """Does not sign, and says so in its own way."""

    fault: Exception = OSError("device removed; pin=1234")

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> NoReturn:
        """Raise."""
        raise self.fault


class Refuses(Raises):
    """Raises what nobody expects of a key."""

    fault = RuntimeError("no permission on slot 7")


FAULTY_KEYS = (FlipsABit, SignsSomethingElse, SignsWithAnotherKey, SignsNothing, Raises, Refuses)
