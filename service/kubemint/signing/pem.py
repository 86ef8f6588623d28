"""Keys and certificates in PEM files: PKCS#8, encrypted too, and the older forms that kubeadm writes."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.utils import CryptographyDeprecationWarning

from kubemint.documents import read_file
from kubemint.errors import ConfigurationError


def load_key(file: Path, passphrase_file: Path | None) -> CertificateIssuerPrivateKeyTypes:
    """Read a private key. The passphrase is the first line of its file.

    Raises:
        ConfigurationError: unreadable, damaged, of a kind that does not sign, or locked.
    """
    passphrase = None if passphrase_file is None else read_passphrase(passphrase_file)
    pem = read_file(file)
    try:
        key = load_pem_private_key(pem, passphrase)
    except TypeError:
        wrong = (
            "is encrypted: name a passphraseFile"
            if passphrase is None
            else "is not encrypted: take the passphraseFile out"
        )
        raise ConfigurationError(str(file), [f"the key {wrong}"]) from None
    except (ValueError, UnsupportedAlgorithm):
        hint = "" if passphrase is None else ", or the passphrase is wrong"
        raise ConfigurationError(str(file), [f"there is no private key in PEM that can be read{hint}"]) from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise ConfigurationError(str(file), ["the key is neither RSA, ECDSA nor Ed25519"])
    return key


def load_certificates(file: Path) -> Sequence[x509.Certificate]:
    """Read one or more certificates, in the order of the file.

    Raises:
        ConfigurationError: unreadable, or none in it.
    """
    pem = read_file(file)
    try:
        with warnings.catch_warnings():
            # kubeadm gave its CAs the serial number 0 until 1.26 (kubernetes#117791): legal then, in use now.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ConfigurationError(str(file), ["there is no certificate in PEM that can be read"]) from None


def read_passphrase(file: Path) -> bytes:
    """Read the passphrase of a key: the first line of a file.

    Raises:
        ConfigurationError: it cannot be read, or is empty.
    """
    passphrase = read_file(file).split(b"\n", 1)[0].rstrip(b"\r")
    if not passphrase:
        raise ConfigurationError(str(file), ["its first line, the passphrase, is empty"])
    return passphrase
