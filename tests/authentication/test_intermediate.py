"""A CA that signs here and is no root itself: TLS lets its certificates in, whether the root is known or not."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authentication.certificates import ClientCa, client_ca, cn, subject
from kubemint import config
from kubemint.commands.workspace import CONFIG_NAME, CaSource, Listen, create_workspace
from kubemint.config import Config
from kubemint.web.gunicorn import tls_context

NOW = datetime.now(UTC)
ROOT = client_ca("root CA", NOW)


def _intermediate() -> ClientCa:
    key = ec.generate_private_key(ec.SECP256R1())
    usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject(cn("intermediate CA")))
        .issuer_name(ROOT.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(hours=1))
        .not_valid_after(NOW + timedelta(days=20))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(ROOT.key, hashes.SHA256())
    )
    return ClientCa(certificate=certificate, key=key)


_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _configured(folder: Path, ca: ClientCa, *others: x509.Certificate) -> Config:
    """Make a folder around a CA, as `kubemint init` does."""
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in (ca.certificate, *others))
    (folder / "chain.crt").write_bytes(chain)
    (folder / "chain.key").write_bytes(ca.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    source = CaSource(certificate_file=folder / "chain.crt", key_file=folder / "chain.key")
    create_workspace(folder / "kubemint", source, Listen(port=8443), None, NOW)
    return config.load(folder / "kubemint" / CONFIG_NAME)


def _shake_hands(settings: Config, shown: tuple[Path, Path]) -> bytes | None:
    """Connect with a client certificate, in memory; give the certificate that the service has verified."""
    assert settings.server.tls is not None
    client_context = ssl.create_default_context(cafile=str(settings.server.tls.certificate_file))
    client_context.load_cert_chain(*shown)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up, server_hostname="localhost")
    server = tls_context(settings.server.tls, settings).wrap_bio(up, down, server_side=True)
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return server.getpeercert(binary_form=True)


@pytest.mark.parametrize("others", [(), (ROOT.certificate,)], ids=["alone", "with its root"])
def test_an_intermediate_ca(tmp_path: Path, others: tuple[x509.Certificate, ...]) -> None:
    """The holder of a certificate of an intermediate CA is let in to renew it."""
    ca = _intermediate()
    certificate = ca.client(now=NOW)
    settings = _configured(tmp_path, ca, *others)
    assert _shake_hands(settings, certificate.files(tmp_path, "jane")) == certificate.der


def test_another_ca(tmp_path: Path) -> None:
    """A certificate of another CA is refused in the handshake, one of the root's own too where it is not known."""
    settings = _configured(tmp_path, _intermediate())
    for number, ca in enumerate((client_ca("intermediate CA", NOW), ROOT)):
        with pytest.raises(ssl.SSLError):
            _shake_hands(settings, ca.client(now=NOW).files(tmp_path, f"other{number}"))
