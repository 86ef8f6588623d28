"""Client certificates, verified by TLS and read from the TLS socket.

The handshake has checked the chain and the purpose. A connection outlives its handshake, so validity
is checked again at each request; and it is settled here which of the configured CAs vouches.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubemint.authentication import Evidence
from kubemint.errors import NotAuthenticated
from kubemint.requester import Method, Requester


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAuthority:
    """A CA whose client certificates prove who asks; every certificate here is trusted to issue."""

    name: str
    certificates: tuple[x509.Certificate, ...]


class CertificateAuthenticator:
    """Recognises the client certificates of some CAs. One for a process; threads share it."""

    def __init__(self, authorities: Sequence[ClientAuthority]) -> None:
        self._authorities = tuple(authorities)
        self._known = lru_cache(maxsize=1024)(self._recognise)

    def authenticate(self, evidence: Evidence, now: datetime) -> Requester | None:
        """Keep `Authenticator.authenticate`."""
        if evidence.client_certificate_der is None or evidence.authorization is not None:
            return None  # a token that does not hold must not fall back to the connection's certificate
        found = self._known(evidence.client_certificate_der)
        if found is None:
            return None
        if not found.not_before <= now <= found.not_after:
            raise NotAuthenticated("The client certificate is not valid here.")
        return found.requester

    def _recognise(self, certificate_der: bytes) -> "_Recognised | None":
        try:
            certificate = x509.load_der_x509_certificate(certificate_der)
        except ValueError:  # OpenSSL reads some that a stricter reader does not
            return None
        for authority in self._authorities:
            if any(_is_issued_by(certificate, parent) for parent in authority.certificates):
                return _Recognised(
                    requester=_requester(certificate, certificate_der, authority.name),
                    not_before=certificate.not_valid_before_utc,
                    not_after=certificate.not_valid_after_utc,
                )
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recognised:
    requester: Requester
    not_before: datetime
    not_after: datetime


def _is_issued_by(certificate: x509.Certificate, parent: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(parent)
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (
        ValueError,
        TypeError,
        InvalidSignature,
        UnsupportedAlgorithm,
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ):
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in purposes


def _requester(certificate: x509.Certificate, certificate_der: bytes, authority: str) -> Requester:
    claims = _claims(certificate)
    # Workloads of one SPIFFE trust domain share a subject, or have none; their id tells them apart.
    uris = [uri for uri in claims.get("uris", ()) if "://" in uri]  # no subject looks like one with a scheme
    name = uris[0] if len(uris) == 1 else certificate.subject.rfc4514_string()
    return Requester(
        method=Method.CERTIFICATE,
        authority=authority,
        identity=f"certificate:{authority}:{name}",
        evidence=f"certificate sha256:{hashlib.sha256(certificate_der).hexdigest()}",
        claims=MappingProxyType(claims),
    )


def _claims(certificate: x509.Certificate) -> dict[str, Any]:
    """Give what rules match on; a claim that a certificate does not have, or has twice, is left out."""
    common_names = _values(certificate, NameOID.COMMON_NAME)
    claims: dict[str, Any] = {"organizations": _values(certificate, NameOID.ORGANIZATION_NAME)}
    if len(common_names) == 1:
        claims["commonName"] = common_names[0]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return claims
    claims["uris"] = list(names.get_values_for_type(x509.UniformResourceIdentifier))
    claims["dnsNames"] = list(names.get_values_for_type(x509.DNSName))
    return claims


def _values(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(name.value) for name in certificate.subject.get_attributes_for_oid(oid)]
