"""What schemathesis cannot know: how CSRs and OCSP requests are made, and which query belongs to which body.

Loaded by schemathesis, by the name that schemathesis.toml gives it.
"""

import base64
from urllib.parse import urlencode

import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode

from contract.csrs import csr_der, csr_pem, status_request_der

NAMES = (("jane", "developers"), ("joe",), ("ci", "viewers", "team-a"), ("eve", "system:masters"), ("x", "admins"))
QUERY_OF_OBJECT = {"profile"}
NAMES_OF_ENTRY = ("index", "serialNumber", "credentialId")
QUERY_MAX_LENGTH = 3_900  # the request line has at most 4,094 octets

pem = st.sampled_from([csr_pem(*names) for names in NAMES])
der = st.sampled_from([csr_der(*names) for names in NAMES])

schemathesis.openapi.format("pkcs10-pem", pem)
schemathesis.openapi.format("pkcs10-pem-base64", pem.map(lambda text: base64.b64encode(text.encode()).decode()))
schemathesis.openapi.format(
    "key-statement-pem", st.sampled_from([csr_pem("kubemint:revoke-this-key", key_of=names[0]) for names in NAMES])
)
schemathesis.openapi.media_type("application/pkcs10", der)
schemathesis.openapi.media_type(
    "application/ocsp-request",
    st.integers(min_value=0, max_value=2**159 - 1).map(status_request_der) | st.binary(),
)


@schemathesis.serializer("application/x-pem-file", "application/pkcs10", "application/ocsp-request")
def as_octets(_context, body):
    """Send text and octets as they are."""
    return body if isinstance(body, bytes) else str(body).encode()


@schemathesis.deserializer("application/pem-certificate-chain", "application/x-pem-file")
def from_pem(_context, response):
    """Take PEM as text."""
    return response.text


@schemathesis.deserializer("application/octet-stream", "application/pkix-crl", "application/ocsp-response")
def from_octets(_context, response):
    """Take octets as text, each for a character: they are described as nothing else."""
    return response.content.decode("latin-1")


@schemathesis.hook
def filter_case(_context, case):
    """Leave out what the HTTP server turns down before the service sees it (info.description, "Below HTTP")."""
    return len(urlencode(case.query or {}, doseq=True)) < QUERY_MAX_LENGTH


@schemathesis.hook
def map_case(_context, case):
    """Keep to the texts of the contract where a request is to be a valid one and its schemas cannot say how.

    A parameter goes with some bodies only; a whole number has no fraction, where JSON Schema takes 600.0 for 600;
    an entry is named in one way, and a log does not shrink.
    """
    if case.meta.generation.mode is not GenerationMode.POSITIVE:
        return case
    if isinstance(case.body, dict):
        kept = QUERY_OF_OBJECT if "kind" in case.body else set()
        case.query = {name: value for name, value in (case.query or {}).items() if name in kept}
        case.body = _without_fractions(case.body)
    if case.path == "/v1/log/inclusion":
        case.query = _of_one_entry(case.query or {})
    if case.path == "/v1/log/consistency" and "to" in (case.query or {}):
        case.query["from"], case.query["to"] = sorted((case.query["from"], case.query["to"]))
    return case


@schemathesis.hook
def before_add_examples(context, examples):
    """Do the same for requests made of the contract's examples, each parameter with each body."""
    for case in examples:
        map_case(context, case)


def _of_one_entry(query):
    name = next((name for name in NAMES_OF_ENTRY if name in query), "index")
    rest = {other: value for other, value in query.items() if other not in NAMES_OF_ENTRY}
    return {name: query.get(name, 0)} | rest


def _without_fractions(body):
    if isinstance(body, dict):
        return {name: _without_fractions(value) for name, value in body.items()}
    return int(body) if isinstance(body, float) and body.is_integer() else body
