"""Certificates of this service in the hands of their holders: proof enough to renew them, and of nothing more.

TLS has verified the chain. Here the certificate must be on record as well: one that names our CA and that
was never recorded is somebody else's work with our key.
"""

import base64
import logging
from collections.abc import Callable
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from kubemint import metrics
from kubemint.audit import renewal_of
from kubemint.authentication import Evidence
from kubemint.errors import NotAuthenticated
from kubemint.record import Entry
from kubemint.requester import Method, Requester, renewal_identity
from kubemint.x509.certificate import credential_id, format_serial
from kubemint.x509.issuer import Issuer

_log = logging.getLogger(__name__)


class RenewalAuthenticator:
    """Recognises what this service has issued.

    `find` gives the entry of a credential id, proven to be in the log, `find_serial` that of a serial number,
    and `is_revoked` tells of an entry whether its certificate was taken back. The requester has an identity of
    its own, that of the line of certificates: who asked first may have asked for others too. Whether the line
    goes on is judged where the next certificate is recorded (`kubemint.record.LineInForce`), not here: who holds
    one of a line that was ended may still revoke it.
    """

    def __init__(
        self,
        issuer: Issuer,
        find: Callable[[str], Entry | None],
        find_serial: Callable[[str], Entry | None],
        is_revoked: Callable[[int], bool],
    ) -> None:
        self._issuer = issuer
        self._find = find
        self._find_serial = find_serial
        self._is_revoked = is_revoked

    def authenticate(self, evidence: Evidence, now: datetime) -> Requester | None:
        """Keep `Authenticator.authenticate`."""
        der = evidence.client_certificate_der
        if der is None or evidence.authorization is not None:
            return None
        try:
            certificate = x509.load_der_x509_certificate(der)
            # By the algorithm that it names: whoever has our key need not sign as we do.
            certificate.verify_directly_issued_by(self._issuer.certificate)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return None
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise NotAuthenticated("The client certificate is not valid here.")
        name = credential_id(der)
        entry = self._find(name)
        if entry is None and self._is_twin(certificate):
            _log.info("a certificate on record with its signature rewritten", extra={"credentialId": name})
            raise NotAuthenticated("The client certificate is not valid here.")
        if entry is None:
            metrics.FOREIGN_CERTIFICATES.inc()
            _log.critical("a certificate of this CA that was never issued here", extra={"credentialId": name})
            raise NotAuthenticated("The client certificate is not valid here.")
        if base64.b64decode(entry.fields["certificate"]) != der:
            metrics.FOREIGN_CERTIFICATES.inc()
            _log.critical("a certificate that is not the one on record", extra={"credentialId": name})
            raise NotAuthenticated("The client certificate is not valid here.")
        if self._is_revoked(entry.index):
            metrics.REVOKED_CERTIFICATES_SHOWN.inc()
            _log.warning("a revoked certificate was shown", extra={"credentialId": name})
            raise NotAuthenticated("The client certificate is not valid here.")
        return Requester(
            method=Method.RENEWAL,
            authority=entry.fields["profile"],
            identity=renewal_identity(renewal_of(entry).line),
            evidence=name,
            renews=renewal_of(entry),
        )

    def _is_twin(self, certificate: x509.Certificate) -> bool:
        """Tell whether the same was signed here: an ECDSA signature can be rewritten into another that holds."""
        entry = self._find_serial(format_serial(certificate.serial_number))
        if entry is None:
            return False
        issued = x509.load_der_x509_certificate(base64.b64decode(entry.fields["certificate"]))
        return issued.tbs_certificate_bytes == certificate.tbs_certificate_bytes
