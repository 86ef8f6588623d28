"""Opening the issuer's key. A key is named by a URI; its scheme names the place where it is kept.

`file:ca.key` is a PEM file. Whatever the place, what comes back is a private key as the cryptography
package knows it, so that signing is the same for all.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from kubemint.errors import ConfigurationError
from kubemint.signing.pem import load_key


def open_key(uri: str, directory: Path, passphrase_file: Path | None) -> CertificateIssuerPrivateKeyTypes:
    """Open the key that a URI names; to be called after a fork, never before.

    A relative path is taken from `directory`, where the configuration file is.

    Raises:
        ConfigurationError: no such scheme, or the key cannot be opened; never with any of its content.
    """
    scheme, separator, place = uri.partition(":")
    match scheme:
        case "file" if place.startswith("//") and not place.startswith("///"):
            raise ConfigurationError("issuer.key", [f"{uri!r} names a host; from the root it is file:///PATH"])
        case "file" if separator and place:
            return load_key(directory / place.removeprefix("//"), passphrase_file)
        case _:
            raise ConfigurationError("issuer.key", [f"{uri!r} is not a kind of key: use file:PATH"])
