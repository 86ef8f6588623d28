"""What a backup holds beside the log: the settings, and private keys if they can be encrypted.

A certificate is written as it was read, not as its file is: people keep keys in the same file. A key is
written under a passphrase or not at all (promise P8).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from kubemint.authentication.tokens import load_tokens
from kubemint.config import Config
from kubemint.documents import read_file
from kubemint.errors import ConfigurationError
from kubemint.signing import open_key
from kubemint.signing.pem import load_certificates, read_passphrase

CONFIGURATION: Final = "kubemint.yaml"
CA_CERTIFICATES: Final = "ca.crt"
ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupKey:
    """A private key of the service: what it is called in a backup, what for, and where it is."""

    name: str
    purpose: str
    uri: str
    passphrase_file: Path | None


def setting_files(config: Config, config_file: Path) -> Iterator[tuple[str, bytes]]:
    """Give the names and contents of the files that hold no key.

    Raises:
        ConfigurationError: one of them cannot be read.
    """
    yield CONFIGURATION, read_file(config_file)
    yield "policy.yaml", read_file(config.policy_file)
    yield CA_CERTIFICATES, _certificates(config.issuer.certificate_file)
    if config.tokens_file is not None:
        load_tokens(config.tokens_file)  # hashes, and nothing else
        yield "tokens.yaml", read_file(config.tokens_file)
    if config.server.tls is not None:
        yield "tls.crt", _certificates(config.server.tls.certificate_file)


def backup_keys(config: Config) -> Iterator[BackupKey]:
    """Name the private keys that the service needs."""
    yield BackupKey(
        name="ca.key", purpose="CA", uri=config.issuer.key_uri, passphrase_file=config.issuer.passphrase_file
    )
    yield BackupKey(
        name="log.key", purpose="log", uri=config.log.key_uri, passphrase_file=config.log.passphrase_file
    )
    if config.server.tls is not None:
        yield BackupKey(
            name="tls.key", purpose="TLS", uri=f"file:{config.server.tls.key_file}", passphrase_file=None
        )


def encrypted_keys(config: Config, passphrase_file: Path) -> Iterator[tuple[str, bytes]]:
    """Give the names and contents of the files of private keys: PKCS#8 (RFC 5958) under this passphrase.

    Raises:
        ConfigurationError: a key, or the passphrase, cannot be read.
    """
    encryption = BestAvailableEncryption(read_passphrase(passphrase_file))
    for key in backup_keys(config):
        private_key = open_key(key.uri, config.directory, key.passphrase_file)
        try:
            yield key.name, private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        except ValueError as fault:  # a passphrase longer than OpenSSL takes
            raise ConfigurationError(str(passphrase_file), [f"cannot encrypt a key: {fault}"]) from None


def _certificates(file: Path) -> bytes:
    return b"".join(found.public_bytes(Encoding.PEM) for found in load_certificates(file))
