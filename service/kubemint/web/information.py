"""What a client needs to know beforehand: the CA to trust, the cluster, and what it may ask for."""

from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from flask import Blueprint, Response

from kubemint.errors import NotFound
from kubemint.record import rfc3339
from kubemint.web.allowances import allowances
from kubemint.web.request_context import current_requester, current_service
from kubemint.web.responses import PEM_CHAIN, json_response, prefers_pem

blueprint: Final = Blueprint("information", __name__)


@blueprint.get("/v1/ca")
def ca() -> Response:
    """Give the certificates that a verifier must trust: kube-apiserver's --client-ca-file. Open to all."""
    service = current_service()
    if prefers_pem():
        return Response("".join(service.trust_bundle_pem), 200, mimetype=PEM_CHAIN)
    issuer = service.issuance.issuer
    return json_response(
        {
            "trustBundle": "".join(service.trust_bundle_pem),
            "issuer": {
                "subject": issuer.certificate.subject.rfc4514_string(),
                "certificate": issuer.certificate.public_bytes(Encoding.PEM).decode("ascii"),
                "notBefore": rfc3339(issuer.limits.not_before),
                "notAfter": rfc3339(issuer.limits.not_after),
            },
        }
    )


@blueprint.get("/v1/cluster")
def cluster() -> Response:
    """Give what a kubeconfig needs of the cluster."""
    current_requester()
    service = current_service()
    if service.cluster is None:
        raise NotFound("This service's configuration has no cluster.")
    authority = service.cluster.certificate_authority or "".join(service.trust_bundle_pem)
    return json_response(
        {
            "name": service.cluster.name,
            "server": service.cluster.server,
            "certificateAuthority": authority,
        }
    )


@blueprint.get("/v1/policy")
def policy() -> Response:
    """Say what this requester may ask for; of others' profiles it learns nothing."""
    requester = current_requester()
    service = current_service()
    rules = service.policy
    return json_response(
        {
            "requester": requester.identity,
            "roles": list(rules.roles.held_by(requester)),
            "policy": rules.version,
            "profiles": allowances(rules, requester, service.clock(), service.issuance.issuer.limits),
        }
    )
