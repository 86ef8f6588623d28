"""A certificate proves the names that it has, as Go reads them, and no others."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kubemint.commands.served_names import served_names, serves


def certificate(*names: x509.GeneralName) -> x509.Certificate:
    """Make a certificate whose common name is mint.example.com, for these names."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mint.example.com")])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 7, now, now + timedelta(hours=1))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())


NAMED = certificate(
    x509.IPAddress(ip_address("192.0.2.1")),
    x509.IPAddress(ip_address("2001:db8::7")),
    x509.DNSName("Mint.example.com"),
    x509.DNSName("*.pods.example.com"),
    x509.RFC822Name("mail.example.com"),
)


@pytest.mark.parametrize(
    "host",
    ["mint.example.com", "MINT.EXAMPLE.COM.", "a.pods.example.com", "192.0.2.1", "2001:db8::7", "2001:db8:0::7"],
)
def test_what_it_is_for(host: str) -> None:
    """Names count in whatever case, addresses in whatever form."""
    assert serves(NAMED, host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.com",
        "x.mint.example.com",
        "pods.example.com",
        "a.b.pods.example.com",
        ".pods.example.com",
        "mail.example.com",
        "192.0.2.2",
        "2001:db8::8",
    ],
)
def test_what_it_is_not_for(host: str) -> None:
    """A star is one label, and a name of another kind is none."""
    assert not serves(NAMED, host)


def test_a_common_name_is_no_name() -> None:
    """Go has not looked at it since 1.15."""
    assert not serves(certificate(), "mint.example.com")
    assert served_names(certificate()) == ()
    assert served_names(NAMED) == ("Mint.example.com", "*.pods.example.com", "192.0.2.1", "2001:db8::7")
