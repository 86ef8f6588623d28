"""The ways in: one CSR as each kind of submission, and as each kind of HTTP body."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from csrs import pem
from kubemint.kubernetes.signing_request import read_signing_request
from kubemint.x509.request import CsrEncoding, Submission


def kubernetes_object(csr_der: bytes) -> dict[str, Any]:
    """Give the object that `kubectl` would send for a CSR."""
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "jane"},
        "spec": {
            "request": base64.b64encode(pem(csr_der)).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        },
    }


SUBMISSIONS: dict[str, Callable[[bytes], Submission]] = {
    "PEM": lambda csr_der: Submission(csr=pem(csr_der), encoding=CsrEncoding.PEM),
    "DER": lambda csr_der: Submission(csr=csr_der, encoding=CsrEncoding.DER),
    "Kubernetes object": lambda csr_der: read_signing_request(kubernetes_object(csr_der), None),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDoor:
    """A media type and the body that says a CSR in it."""

    media_type: str
    body: Callable[[bytes], bytes]


HTTP_DOORS: dict[str, HttpDoor] = {
    "JSON": HttpDoor(
        media_type="application/json",
        body=lambda csr_der: json.dumps({"csr": pem(csr_der).decode()}).encode(),
    ),
    "PEM": HttpDoor(media_type="application/x-pem-file", body=pem),
    "DER": HttpDoor(media_type="application/pkcs10", body=lambda csr_der: csr_der),
    "Kubernetes JSON": HttpDoor(
        media_type="application/json", body=lambda csr_der: json.dumps(kubernetes_object(csr_der)).encode()
    ),
    "Kubernetes YAML": HttpDoor(
        media_type="application/yaml", body=lambda csr_der: yaml.safe_dump(kubernetes_object(csr_der)).encode()
    ),
}


def submission(csr_der: bytes, expiration_seconds: int | None = None, profile: str | None = None) -> Submission:
    """Give the submission of a DER body."""
    return Submission(
        csr=csr_der, encoding=CsrEncoding.DER, expiration_seconds=expiration_seconds, profile=profile
    )
