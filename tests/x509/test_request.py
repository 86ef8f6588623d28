"""CSR intake: what can be signed comes in whole, all else is refused by name (promise P4)."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from csrs import (
    BAD_CSRS,
    KEY_TYPES,
    BadCsr,
    asking,
    bad_csr,
    extended_key_usage,
    good_csr,
    key_usage,
    pem,
    private_key,
    raw_csr,
    signed_with_pss,
    spki,
)
from kubemint.errors import MalformedRequest, UnacceptableRequest
from kubemint.x509.request import CSR_MAX_OCTETS, CsrEncoding, SigningRequest, Submission, read_request
from x509.der import BMP, NULL, PRINTABLE, name, rsa_public_key
from x509.moduli import giant
from x509.pkcs10 import csr_attribute, encoded_extension, extension_request
from x509.reading import codes_of, read_der, read_pem, refusal_of_der

CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"
SECONDS_AT_MOST = 2.0  # for one CSR on a machine that is busy; none takes a tenth of it


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_a_sound_csr_is_read_whole(key_type: str) -> None:
    """User, groups in their order, public key and key type come out as the client put them in."""
    key = private_key(key_type)
    csr_der = good_csr(key, user="jane", groups=["zebra", "apple"])
    assert read_der(csr_der) == SigningRequest(
        csr_der=csr_der,
        user="jane",
        groups=("zebra", "apple"),
        public_key=key.public_key(),
        spki_der=spki(key),
        key_type=key_type,
        expiration_seconds=None,
        profile=None,
    )


def test_what_was_asked_beside_the_csr_comes_through() -> None:
    """Expiration and profile reach the request as they were submitted."""
    submission = Submission(csr=good_csr(), encoding=CsrEncoding.DER, expiration_seconds=900, profile="ci")
    request = read_request(submission)
    assert (request.expiration_seconds, request.profile) == (900, "ci")


@pytest.mark.parametrize(
    ("user", "groups"),
    [
        ("jane", []),
        ("j" * 64, ["o" * 64]),
        ("ö" * 32, ["ü" * 32]),
        ("Jane van der Meer", ["Team A"]),
        ("system:node:worker-1", ["system:nodes"]),
        ("jane@acme.example", [f"team-{number}" for number in range(100)]),
        ("日本太郎", ["開発"]),
    ],
)
def test_names_within_the_rules_are_accepted(user: str, groups: list[str]) -> None:
    """Up to 64 octets of any script, with spaces inside, are a name; whether it is allowed is the policy's."""
    request = read_der(good_csr(user=user, groups=groups))
    assert (request.user, request.groups) == (user, tuple(groups))


def test_a_printable_string_is_accepted() -> None:
    """The older of the two string types on which all readers agree is read like the newer."""
    request = read_der(raw_csr(name(("O", "team a", PRINTABLE), ("CN", "jane", PRINTABLE))))
    assert (request.user, request.groups) == ("jane", ("team a",))


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: asking(x509.BasicConstraints(ca=False, path_length=None)), id="CA:FALSE"),
        pytest.param(lambda: asking(extended_key_usage("client_auth")), id="clientAuth"),
        pytest.param(lambda: asking(key_usage("digital_signature")), id="digitalSignature"),
        pytest.param(
            lambda: asking(key_usage("digital_signature", "key_encipherment"), key=private_key("rsa-2048")),
            id="RSA with keyEncipherment",
        ),
        pytest.param(lambda: raw_csr(attributes=[extension_request()]), id="no extension at all"),
        pytest.param(lambda: raw_csr(digest=hashes.SHA384()), id="SHA-384"),
        pytest.param(lambda: raw_csr(key=private_key("rsa-2048"), digest=hashes.SHA512()), id="SHA-512"),
        pytest.param(signed_with_pss, id="RSASSA-PSS"),
    ],
)
def test_what_the_certificate_will_have_may_be_asked_for(build: Callable[[], bytes]) -> None:
    """An extension that only repeats the profile, and any strong signature, is no fault."""
    assert read_der(build()).user == "jane"


@pytest.mark.parametrize("bad", BAD_CSRS, ids=lambda bad: bad.name)
def test_a_bad_csr_is_refused_for_its_reasons(bad: BadCsr) -> None:
    """Each fault has its own code; nothing else is said against a CSR that is sound but for it."""
    with pytest.raises(MalformedRequest if bad.malformed else UnacceptableRequest) as caught:
        read_der(bad.build())
    assert set(codes_of(caught.value)) == bad.codes
    assert all(reason.message and reason.path.startswith("csr") for reason in caught.value.reasons)


@pytest.mark.parametrize("bad", [bad for bad in BAD_CSRS if not bad.malformed], ids=lambda bad: bad.name)
def test_the_same_faults_are_found_in_pem(bad: BadCsr) -> None:
    """PEM is a wrapping: it neither hides a fault nor adds one."""
    with pytest.raises(UnacceptableRequest) as caught:
        read_pem(pem(bad.build()))
    assert set(codes_of(caught.value)) == bad.codes


def test_all_reasons_are_collected() -> None:
    """A CSR with many faults is refused once, with every one of them."""
    subject = name(("OU", "x"), ("O", " a"), ("O", "b\0"), ("CN", "j" * 65), ("CN", ""))
    wanted = [
        x509.BasicConstraints(ca=True, path_length=None),
        x509.SubjectAlternativeName([x509.DNSName("kubernetes")]),
        extended_key_usage("server_auth"),
        key_usage("key_cert_sign"),
    ]
    attributes = [extension_request(*map(encoded_extension, wanted)), csr_attribute(CHALLENGE_PASSWORD, NULL)]
    csr_der = raw_csr(subject, key=private_key("rsa-1024"), digest=hashes.SHA1(), attributes=attributes)
    assert sorted(codes_of(refusal_of_der(csr_der))) == [
        "attribute-not-allowed",
        "common-name-repeated",
        "csr-attribute",
        "extension-ca",
        "extension-key-usage",
        "extension-key-usage",
        "extension-not-allowed",
        "key-size",
        "name-empty",
        "name-invisible-character",
        "name-surrounding-space",
        "name-too-long",
        "signature-hash",
    ]


def test_a_refusal_keeps_the_subject_for_the_record() -> None:
    """The log can show what was asked for, in the order of the CSR."""
    assert refusal_of_der(raw_csr(name(("OU", "ops"), ("CN", "jane")))).subject == "OU=ops,CN=jane"


@pytest.mark.parametrize(
    ("subject", "written"),
    [
        pytest.param(name(("CN", b"jan\xe9")), "CN=jan\\xe9", id="not UTF-8"),
        pytest.param(name(("CN", "jane\0")), "CN=jane\\x00", id="NUL"),
        pytest.param(name(("CN", "j", BMP)), "CN=\\x00j", id="another string type"),
        pytest.param(name(("1.2.3", "x"), ("CN", "jane")), "1.2.3=x,CN=jane", id="a name that nobody knows"),
        pytest.param(name(), "", id="empty"),
    ],
)
def test_whatever_is_in_a_subject_is_written_down(subject: bytes, written: str) -> None:
    """The record of a refusal has a text for every subject, whatever octets it is made of."""
    assert refusal_of_der(raw_csr(subject)).subject == written


@pytest.mark.parametrize(
    "title", ["giant modulus", "modulus as large as the CSR may be", "ROCA", "close primes", "small factor"]
)
def test_a_costly_key_costs_nothing(title: str) -> None:
    """A key that was made to be slow is refused as fast as any other."""
    csr_der = bad_csr(title)
    begin = time.perf_counter()
    assert codes_of(refusal_of_der(csr_der)) in (["key-size"], ["key-weak"])
    assert time.perf_counter() - begin < SECONDS_AT_MOST


def test_a_giant_exponent_costs_nothing() -> None:
    """An exponent as long as the modulus is refused unread."""
    begin = time.perf_counter()
    refusal = refusal_of_der(raw_csr(public_key=rsa_public_key(giant(2048), giant(2047))))
    assert codes_of(refusal) in (["key-exponent"], ["key-type"])
    assert time.perf_counter() - begin < SECONDS_AT_MOST


def test_the_largest_csr_may_come_in() -> None:
    """The bound on size is above what a client with an RSA-4096 key and a hundred groups sends."""
    csr_der = good_csr(private_key("rsa-4096"), groups=["g" * 60 + f"-{number}" for number in range(100)])
    assert len(csr_der) < CSR_MAX_OCTETS / 1.5
    assert len(read_der(csr_der).groups) == 100


def test_the_csrs_of_openssl_are_read(openssl: Callable[..., str], tmp_path: Path) -> None:
    """The walk of the Kubernetes documentation, `genrsa` and `req`, makes a CSR that is accepted."""
    key_file = str(tmp_path / "myuser.key")
    openssl("genrsa", "-out", key_file, "2048")
    text = openssl("req", "-new", "-text", "-key", key_file, "-subj", "/O=developers/O=team-a/CN=jane")
    request = read_pem(text.encode())
    assert (request.user, request.groups, request.key_type) == ("jane", ("developers", "team-a"), "rsa-2048")


def test_two_submissions_are_the_same_only_if_all_of_them_is() -> None:
    """The digest that tells a retry from another request covers each thing that was sent."""
    submissions = [
        Submission(csr=b"a", encoding=CsrEncoding.DER),
        Submission(csr=b"b", encoding=CsrEncoding.DER),
        Submission(csr=b"a", encoding=CsrEncoding.PEM),
        Submission(csr=b"a", encoding=CsrEncoding.DER, expiration_seconds=600),
        Submission(csr=b"a", encoding=CsrEncoding.DER, profile="ci"),
        Submission(csr=b"a", encoding=CsrEncoding.DER, profile="None"),
        Submission(csr=b"a", encoding=CsrEncoding.DER, profile="600"),
        Submission(csr=b"a", encoding=CsrEncoding.DER, profile="null"),
        Submission(csr=b"a", encoding=CsrEncoding.DER, profile=""),
    ]
    digests = [submission.sha256 for submission in submissions]
    assert digests[0] == Submission(csr=b"a", encoding=CsrEncoding.DER).sha256
    assert len(set(digests)) == len(digests)
