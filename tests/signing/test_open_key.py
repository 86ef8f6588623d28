"""Opening the issuer's key: each form that kubeadm, openssl and `init` write, and a clear no to all else (P8)."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from csrs import KEY_TYPES, pem, private_key
from kubemint.errors import ConfigurationError
from kubemint.signing import open_key
from kubemint.signing.pem import load_certificates
from x509.authorities import ca_certificate

PASSPHRASE = b"correct horse battery staple"
PKCS8, TRADITIONAL = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL
LOCKED = BestAvailableEncryption(PASSPHRASE)


def key_pem(
    key_type: str, form: PrivateFormat = PKCS8, encryption: KeySerializationEncryption | None = None
) -> bytes:
    return private_key(key_type, "issuer").private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a directory with a passphrase, as an editor leaves it, and a wrong one."""
    (tmp_path / "passphrase").write_bytes(PASSPHRASE + b"\n")
    (tmp_path / "wrong").write_bytes(b"incorrect horse\n")
    return tmp_path


def refusal(folder: Path, uri: str = "file:ca.key", passphrase: str | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        open_key(uri, folder, folder / passphrase if passphrase else None)
    return caught.value.message


@pytest.mark.parametrize(
    ("key_type", "form"),
    [*((key_type, PKCS8) for key_type in KEY_TYPES), ("rsa-2048", TRADITIONAL), ("ecdsa-p256", TRADITIONAL)],
)
def test_a_plain_key_opens(folder: Path, key_type: str, form: PrivateFormat) -> None:
    """PKCS#8, and the `RSA PRIVATE KEY` and `EC PRIVATE KEY` that kubeadm and k3s write, are read."""
    (folder / "ca.key").write_bytes(key_pem(key_type, form))
    assert public_pem(open_key("file:ca.key", folder, None)) == public_pem(private_key(key_type, "issuer"))


@pytest.mark.parametrize("form", [PKCS8, TRADITIONAL])
@pytest.mark.parametrize("key_type", ["rsa-2048", "ecdsa-p256"])
def test_a_locked_key_opens_with_its_passphrase(folder: Path, key_type: str, form: PrivateFormat) -> None:
    """The first line of the passphrase file unlocks the key."""
    (folder / "ca.key").write_bytes(key_pem(key_type, form, LOCKED))
    key = open_key("file:ca.key", folder, folder / "passphrase")
    assert public_pem(key) == public_pem(private_key(key_type, "issuer"))


@pytest.mark.parametrize("written", [PASSPHRASE, PASSPHRASE + b"\r\n", PASSPHRASE + b"\nnot this line\n"])
def test_the_passphrase_is_the_first_line(folder: Path, written: bytes) -> None:
    """A line end of any kind, and what comes after it, is not part of the passphrase."""
    (folder / "ca.key").write_bytes(key_pem("ecdsa-p256", PKCS8, LOCKED))
    (folder / "passphrase").write_bytes(written)
    assert open_key("file:ca.key", folder, folder / "passphrase")


def test_a_key_may_be_named_from_the_root(folder: Path) -> None:
    """An absolute path is taken as it is, whatever the directory of the configuration."""
    (folder / "ca.key").write_bytes(key_pem("ed25519"))
    assert open_key(f"file:{folder}/ca.key", Path("/nowhere"), None)
    assert open_key(f"file://{folder}/ca.key", Path("/nowhere"), None)


@pytest.mark.parametrize(
    ("written", "passphrase", "said"),
    [
        pytest.param(lambda: key_pem("ecdsa-p256", PKCS8, LOCKED), None, "is encrypted", id="missing"),
        pytest.param(
            lambda: key_pem("rsa-2048", TRADITIONAL, LOCKED),
            None,
            "is encrypted",
            id="missing, older form",
        ),
        pytest.param(lambda: key_pem("ecdsa-p256", PKCS8, LOCKED), "wrong", "passphrase is wrong", id="wrong"),
        pytest.param(lambda: key_pem("ecdsa-p256"), "passphrase", "is not encrypted", id="superfluous"),
        pytest.param(lambda: key_pem("ecdsa-p256"), "nowhere", "cannot be read", id="passphrase file missing"),
    ],
)
def test_a_passphrase_that_does_not_fit_is_refused(
    folder: Path, written: Callable[[], bytes], passphrase: str | None, said: str
) -> None:
    """Missing, wrong, too many: the message says which, so that one try mends it."""
    (folder / "ca.key").write_bytes(written())
    assert said in refusal(folder, passphrase=passphrase)


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(lambda: b"", id="empty"),
        pytest.param(lambda: b"\x00\xff" * 100, id="garbage"),
        pytest.param(lambda: pem(b"garbage", "PRIVATE KEY"), id="hollow"),
        pytest.param(lambda: key_pem("ecdsa-p256")[:-40], id="cut off"),
        pytest.param(lambda: public_pem(private_key("ecdsa-p256")), id="public key"),
        pytest.param(
            lambda: private_key("ecdsa-p256").private_bytes(Encoding.DER, PKCS8, NoEncryption()), id="DER"
        ),
    ],
)
def test_what_is_no_key_is_refused(folder: Path, written: Callable[[], bytes]) -> None:
    """A file without a private key in PEM stops the start by its name."""
    (folder / "ca.key").write_bytes(written())
    message = refusal(folder)
    assert message.startswith(f"{folder}/ca.key: ")
    assert "no private key in PEM" in message


@pytest.mark.parametrize("key_type", ["dsa", "x25519", "ed448", "ml-dsa-44"])
def test_a_key_that_cannot_be_an_issuers_is_refused(folder: Path, key_type: str) -> None:
    """DSA and key agreement do not sign certificates here, nor do curves that clients cannot verify."""
    (folder / "ca.key").write_bytes(key_pem(key_type))
    assert "neither RSA, ECDSA nor Ed25519" in refusal(folder)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(lambda file: None, "No such file", id="missing"),
        pytest.param(lambda file: file.mkdir(), "directory", id="directory"),
        pytest.param(lambda file: file.symlink_to(file), "symbolic links", id="link to itself"),
        pytest.param(
            lambda file: (file.parent / "ca").write_bytes(b"") and None, "No such file", id="another name"
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(folder: Path, make: Callable[[Path], object], said: str) -> None:
    """The message is that of the system, with the file's name."""
    make(folder / "ca.key")
    message = refusal(folder)
    assert message.startswith(f"{folder}/ca.key: cannot be read")
    assert said in message


@pytest.mark.parametrize("uri", ["file://host/ca.key", "file://localhost/ca.key", "file://ca.key", "file://"])
def test_a_key_on_another_host_is_refused(folder: Path, uri: str) -> None:
    """Two slashes begin a host (RFC 8089 2): none is looked for, and its name is not taken for a folder."""
    (folder / "ca.key").write_bytes(key_pem("ecdsa-p256"))
    assert "names a host" in refusal(folder, uri)


@pytest.mark.parametrize(
    "uri", ["ca.key", "", "file:", "pkcs11:object=ca", "https://example.com/ca.key", "data:,x"]
)
def test_an_unknown_scheme_is_refused(folder: Path, uri: str) -> None:
    """A key is named by a URI of a kind that is known; nothing is fetched, nothing guessed."""
    (folder / "ca.key").write_bytes(key_pem("ecdsa-p256"))
    assert "is not a kind of key" in refusal(folder, uri)


@pytest.mark.parametrize(
    ("written", "passphrase"),
    [
        pytest.param(lambda: key_pem("ecdsa-p256")[:-40], None, id="cut off"),
        pytest.param(lambda: key_pem("ecdsa-p256").replace(b"PRIVATE", b"SECRET"), None, id="another label"),
        pytest.param(lambda: key_pem("ecdsa-p256"), "passphrase", id="superfluous passphrase"),
        pytest.param(lambda: key_pem("ecdsa-p256", PKCS8, LOCKED), "wrong", id="wrong passphrase"),
        pytest.param(lambda: key_pem("x25519"), None, id="key agreement"),
        pytest.param(lambda: key_pem("dsa"), None, id="DSA"),
    ],
)
def test_no_message_holds_a_part_of_key_or_passphrase(
    folder: Path, written: Callable[[], bytes], passphrase: str | None
) -> None:
    """An error goes to logs and screens: nothing of the file's content is in it or its trace (P8)."""
    (folder / "ca.key").write_bytes(written())
    with pytest.raises(ConfigurationError) as caught:
        open_key("file:ca.key", folder, folder / passphrase if passphrase else None)
    said = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(caught.value.problems)
    secrets = [*written().decode().splitlines()[1:-1], PASSPHRASE.decode(), "incorrect horse"]
    assert not [secret for secret in secrets if secret in said]


def test_certificates_are_read_in_their_order(folder: Path, now: Any) -> None:
    """A file of several certificates gives them all, the first one first."""
    certificates = [
        ca_certificate(private_key("ecdsa-p256", owner), now, common_name=owner) for owner in ("first", "second")
    ]
    (folder / "ca.crt").write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
    assert list(load_certificates(folder / "ca.crt")) == certificates


@pytest.mark.parametrize(
    "written", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_what_is_no_certificate_is_refused(folder: Path, written: bytes) -> None:
    """A file without a certificate in PEM stops the start by its name."""
    (folder / "ca.crt").write_bytes(written)
    with pytest.raises(ConfigurationError, match="no certificate in PEM"):
        load_certificates(folder / "ca.crt")


def test_a_certificate_file_that_cannot_be_read_is_refused(folder: Path) -> None:
    """The message is that of the system."""
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load_certificates(folder / "ca.crt")
