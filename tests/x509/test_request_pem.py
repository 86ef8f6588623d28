"""CSRs in PEM (RFC 7468): as tools write it, and what is not one CSR."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from csrs import good_csr, pem, private_key
from x509.reading import codes_of, read_der, read_pem, refusal_of_pem


def padded_pem() -> bytes:
    """Give a CSR of a length that base64 fills up: Ed25519's signatures are all of one length."""
    csrs = (good_csr(private_key("ed25519"), user=user) for user in ("jane", "janet", "janice"))
    return next(block for block in map(pem, csrs) if block.count(b"=") == 1)


def test_a_bare_pem_block_is_read() -> None:
    """The PEM of a CSR gives the request that its DER gives."""
    csr_der = good_csr()
    assert read_pem(pem(csr_der)) == read_der(csr_der)


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda block: b"Certificate Request:\n    Data:\n" + block + b"\nBye.\n", id="text around"),
        pytest.param(lambda block: block.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda block: block.replace(b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"), id="NEW"),
        pytest.param(lambda block: block.rstrip(b"\n"), id="no last line feed"),
        pytest.param(lambda block: b"\xef\xbb\xbf" + block, id="byte order mark"),
        pytest.param(lambda block: block.replace(b"\n", b"\n  "), id="indented"),
    ],
)
def test_pem_as_tools_write_it_is_read(wrap: Callable[[bytes], bytes]) -> None:
    """Line ends, text around the block and the older label change nothing."""
    csr_der = good_csr()
    assert read_pem(wrap(pem(csr_der))).csr_der == csr_der


@pytest.mark.parametrize(
    ("build", "code"),
    [
        pytest.param(lambda: b"", "csr-not-one", id="empty"),
        pytest.param(lambda: b"hello", "csr-not-one", id="no block"),
        pytest.param(good_csr, "csr-not-one", id="DER"),
        pytest.param(lambda: pem(good_csr()) * 2, "csr-not-one", id="two CSRs"),
        pytest.param(
            lambda: pem(good_csr()) + b"-----BEGIN CERTIFICATE REQUEST-----", "csr-not-one", id="one and a half"
        ),
        pytest.param(lambda: pem(b""), "csr-missing", id="empty block"),
        pytest.param(lambda: pem(good_csr(), "CERTIFICATE"), "csr-wrong-pem", id="certificate"),
        pytest.param(
            lambda: pem(good_csr()) + pem(b"x", "CERTIFICATE"), "csr-wrong-pem", id="CSR and certificate"
        ),
        pytest.param(lambda: pem(good_csr(), "PUBLIC KEY"), "csr-wrong-pem", id="public key"),
        pytest.param(lambda: pem(good_csr()).replace(b"M", b"*", 1), "csr-undecodable", id="damaged base64"),
        pytest.param(lambda: padded_pem().replace(b"=", b""), "csr-undecodable", id="padding gone"),
        pytest.param(lambda: padded_pem().replace(b"=", b"=="), "csr-undecodable", id="padding doubled"),
        pytest.param(lambda: pem(good_csr()[:-7]), "csr-undecodable", id="cut off inside"),
        pytest.param(lambda: pem(good_csr()).partition(b"-----END")[0], "csr-undecodable", id="no end"),
        pytest.param(
            lambda: pem(good_csr()).replace(b"END CERT", b"END NEW CERT"), "csr-undecodable", id="another end"
        ),
        pytest.param(
            lambda: pem(good_csr()).replace(b"-----\n", b"-----\nProc-Type: 4,ENCRYPTED\n\n", 1),
            "csr-undecodable",
            id="headers",
        ),
        pytest.param(lambda: pem(bytes(17 * 1024)), "csr-too-large", id="17 KiB"),
    ],
)
def test_pem_that_is_not_one_csr_is_refused(build: Callable[[], bytes], code: str) -> None:
    """Nothing is guessed: no block, two of them, another kind and a damaged one each have their code."""
    assert codes_of(refusal_of_pem(build())) == [code]


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("order", ["key first", "key last", "key alone"])
def test_a_private_key_is_refused_and_not_repeated(form: PrivateFormat, locked: bool, order: str) -> None:
    """Whoever sends a private key is told so, whatever else was sent, and the answer has nothing of it (P8)."""
    encryption = BestAvailableEncryption(b"a passphrase") if locked else NoEncryption()
    key = private_key("ecdsa-p256").private_bytes(Encoding.PEM, form, encryption)
    csr = pem(good_csr())
    refusal = refusal_of_pem({"key first": key + csr, "key last": csr + key, "key alone": key}[order])
    assert codes_of(refusal) == ["private-key-sent"]
    said = str(refusal) + repr(refusal.reasons)
    assert not any(line in said for line in key.decode().splitlines()[1:-1] if line)


def test_a_label_is_repeated_only_in_part() -> None:
    """A label of any length and any octets is quoted short and in ASCII."""
    refusal = refusal_of_pem(b"-----BEGIN " + b"\xff" * 5000 + b"-----")
    assert codes_of(refusal) == ["csr-wrong-pem"]
    assert len(str(refusal)) < 200
