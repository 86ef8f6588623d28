"""Orders of revocation and questions about it, sent as their clients do; each answer is held to the contract."""

import base64
import time
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from contract.contract_file import check_answer
from contract.csrs import csr_pem
from running_service import Answer, RunningService

REVOKE = "/v1/revocations"
BY_KEY = "/v1/revocations/by-key"
AUTHORIZE = "/kubernetes/authorize"
OCSP = "/v1/ocsp"
JSON = {"Content-Type": "application/json"}
OCSP_REQUEST = {"Content-Type": "application/ocsp-request"}
STATEMENT = "kubemint:revoke-this-key"


def call(service: RunningService, path: str, token: str | None, **sent) -> Answer:
    """POST something, and hold the answer to the contract."""
    answer = service.call("POST", path, token=token, **sent)
    check_answer(answer, "POST", path.partition("?")[0])
    return answer


def state(service: RunningService, **sent) -> Answer:
    """Let a key speak, when it is a stranger's turn."""
    deadline = time.monotonic() + 15
    while (answer := call(service, BY_KEY, None, **sent)).status == 429 and time.monotonic() < deadline:
        time.sleep(int(answer.headers["Retry-After"]))
    return answer


def denial(service: RunningService, question: dict) -> Answer:
    """Ask as an API server until the process that answers has heard of the revocation; give its last answer."""
    deadline = time.monotonic() + 15
    while not (answer := call(service, AUTHORIZE, "webhook", json_body=question)).json()["status"]["denied"]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return answer


def statement_of(user: str) -> str:
    """Make the word of the key that a user has."""
    return csr_pem(STATEMENT, key_of=user)


def issue(service: RunningService, user: str) -> str:
    """Get a certificate; give its serial number."""
    headers = {"Content-Type": "application/x-pem-file"}
    answer = service.call("POST", "/v1/certificates", headers=headers, body=csr_pem(user), token="requester")
    assert answer.status == 201, answer.text
    serial_number: str = answer.json()["serialNumber"]
    return serial_number


def ask(service: RunningService, method: str, serial_number: int) -> ocsp.OCSPResponse:
    """Ask about a certificate of the service's CA, and verify the answer."""
    authority = ca(service)
    names = ocsp.OCSPRequestBuilder().add_certificate(authority, authority, hashes.SHA1()).build()
    request = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        names.issuer_name_hash, names.issuer_key_hash, serial_number, hashes.SHA1()
    )
    request_der = request.build().public_bytes(Encoding.DER)
    if method == "POST":
        answer = call(service, OCSP, None, headers=OCSP_REQUEST, body=request_der)
    else:
        path = f"{OCSP}/{quote(base64.b64encode(request_der).decode(), safe='')}"
        answer = service.call("GET", path)
        check_answer(answer, "GET", path)
    response = ocsp.load_der_ocsp_response(answer.body)
    assert response.signature_hash_algorithm is not None
    authority.public_key().verify(
        response.signature, response.tbs_response_bytes, ec.ECDSA(response.signature_hash_algorithm)
    )
    return response


def ca(service: RunningService) -> x509.Certificate:
    """Give the CA of a service."""
    return x509.load_pem_x509_certificate(service.ca_file.read_bytes())
