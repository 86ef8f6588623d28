"""Whom a TLS certificate proves, as Go's verifier reads it: DNS names and addresses, and no common name."""

import ipaddress
from collections.abc import Sequence

from cryptography import x509


def served_names(certificate: x509.Certificate) -> Sequence[str]:
    """Give the DNS names and IP addresses that a certificate is for, in its order of each kind."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))


def serves(certificate: x509.Certificate, host: str) -> bool:
    """Tell whether a certificate is for a host: a name, or an address without brackets.

    A `*` stands for one whole label, the first (RFC 9525 6.3; Go's crypto/x509, verify.go).
    """
    names = served_names(certificate)
    try:
        return str(ipaddress.ip_address(host)) in names
    except ValueError:
        name = host.removesuffix(".").lower()
    first, _, rest = name.partition(".")
    wanted = {name, f"*.{rest}"} if first and rest else {name}
    return any(known.lower() in wanted for known in names)
