"""The receipt in its holder's hands: what `kubemint request` believes of it, and what it writes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from client.peers import document, listening
from commands.cli import Ran, failed_cleanly, kubemint, kubemint_process
from kubemint.client.receipts import check_receipt, first_certificate, read_receipt
from kubemint.errors import InvalidProof
from kubemint.transparency.checkpoint import NoteSigner, SignatureType
from kubemint.transparency.receipt import Receipt
from kubemint.transparency.tree import leaf_hash
from log.issuing import der_of, issued, pem_of, receipt_of
from running_service import RunningService

SIGNER = NoteSigner("log.test/ledger", Ed25519PrivateKey.generate())
OTHER = NoteSigner("log.test/ledger", Ed25519PrivateKey.generate())
EVENT = issued(1, user="jane")


def _answer(receipt: object, **changes: Any) -> dict[str, Any]:
    names = ("user", "groups", "profile", "serialNumber", "credentialId", "notBefore", "notAfter")
    answer = {name: EVENT.fields[name] for name in names}
    answer |= {"certificate": pem_of(EVENT), "chain": [], "logIndex": 2}
    return answer | ({} if receipt is None else {"receipt": receipt}) | changes


def _request(place: Path, answer: dict[str, Any], *arguments: str) -> Ran:
    with listening(document(**answer)) as peer:
        return kubemint("request", "--user", "jane", "--url", peer.url, *arguments, cwd=place)


def test_the_real_service(service: RunningService, tmp_path: Path) -> None:
    """The receipt that the service gives holds under the key in client.yaml, for the certificate beside it."""
    (tmp_path / ".kubemint").symlink_to(service.directory)
    assert "logKey: " in (service.directory / "client.yaml").read_text()
    ran = kubemint("request", "--user", "jane", cwd=tmp_path)
    assert ran.code == 0, ran.errors
    assert "jane.tlog-proof" in ran.output
    receipt = read_receipt(tmp_path / "jane.tlog-proof")
    der = first_certificate((tmp_path / "jane.crt").read_text())
    assert check_receipt(receipt, der, None).size > receipt.index


def test_another_log_than_the_one_that_is_known(service: RunningService, tmp_path: Path) -> None:
    """A receipt that another key signed is refused, and neither key nor certificate is written."""
    (tmp_path / ".kubemint").symlink_to(service.directory)
    ran = kubemint("request", "--user", "jane", "--log-key", SIGNER.vkey, cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert "was not written: the note is not signed by log.test/ledger" in ran.errors
    assert [file.name for file in tmp_path.iterdir()] == [".kubemint"]


@pytest.mark.parametrize("key", [(), ("--log-key", SIGNER.vkey)], ids=["no key", "key"])
def test_a_good_receipt_is_written(tmp_path: Path, key: tuple[str, ...]) -> None:
    """A receipt for the certificate is written beside it as it came."""
    text = receipt_of(EVENT, SIGNER).text
    ran = _request(tmp_path, _answer(text), *key)
    assert ran.code == 0, ran.errors
    told = (
        "The receipt's signature was not checked: no log key (--log-key or KUBEMINT_LOG_KEY). Get it from the "
        "service's administrator (kubemint log key), over a way other than this service.\n"
    )
    assert ran.errors == ("" if key else told)
    assert (tmp_path / "jane.tlog-proof").read_text() == text
    assert {file.name for file in tmp_path.iterdir()} == {"jane.key", "jane.crt", "jane.tlog-proof"}


def test_a_key_of_a_log_in_a_file(tmp_path: Path) -> None:
    """The key may be in a file, as `kubemint log key` wrote it."""
    (tmp_path / "log.pub").write_text(SIGNER.vkey + "\n")
    ran = _request(tmp_path, _answer(receipt_of(EVENT, SIGNER).text), "--log-key", "log.pub")
    assert ran.code == 0, ran.errors


def test_a_key_of_a_log_in_a_variable(service: RunningService, tmp_path: Path) -> None:
    """KUBEMINT_LOG_KEY is as good as --log-key, beside --url, --ca and --token-file."""
    token = service.directory / "requester.token"
    known = "--url", service.url, "--ca", service.tls_ca_file, "--token-file", token
    (key,) = [line for line in (service.directory / "client.yaml").read_text().splitlines() if "logKey" in line]
    vkey = json.loads(key.removeprefix("logKey: "))
    ran = kubemint_process("request", "--user", "jane", *known, cwd=tmp_path, KUBEMINT_LOG_KEY=vkey)
    assert (ran.code, ran.errors) == (0, "")
    ran = kubemint_process("request", "--user", "joe", *known, cwd=tmp_path, KUBEMINT_LOG_KEY=SIGNER.vkey)
    assert failed_cleanly(ran), ran.errors
    assert "is not signed by log.test/ledger" in ran.errors


@pytest.mark.parametrize("key", ["nothing", "log.test/ledger+00000000+" + "A" * 44, "log.test/ledger+x+y"])
def test_a_key_that_is_none(tmp_path: Path, key: str) -> None:
    """What is no key of a log is wrong use, before anything is asked for."""
    ran = _request(tmp_path, _answer(None), "--log-key", key)
    assert ran.code == 2, ran.errors
    assert list(tmp_path.iterdir()) == []


def test_the_key_of_a_witness_is_no_key_of_a_log(tmp_path: Path) -> None:
    """A key that countersigns is told apart from one that signs the log."""
    witness = replace(SIGNER.verifier, signature_type=SignatureType.COSIGNATURE)
    ran = _request(tmp_path, _answer(None), "--log-key", witness.vkey)
    assert ran.code == 2, ran.errors
    assert "is the key of a witness" in ran.errors


def test_a_service_without_receipts(tmp_path: Path) -> None:
    """Where no key is known, a service that gives no receipt is believed, and the report names no receipt."""
    (tmp_path / "jane.tlog-proof").write_text("of an older certificate")
    ran = _request(tmp_path, _answer(None), "--overwrite", "--output", "json")
    assert ran.code == 0, ran.errors
    assert json.loads(ran.output)["files"] == ["jane.key", "jane.crt"]
    assert {file.name for file in tmp_path.iterdir()} == {"jane.key", "jane.crt"}


def test_a_service_without_receipts_where_the_log_is_known(tmp_path: Path) -> None:
    """Where a key is known, a certificate without a receipt is not written."""
    ran = _request(tmp_path, _answer(None), "--log-key", SIGNER.vkey)
    assert failed_cleanly(ran), ran.errors
    assert "gave no receipt" in ran.errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "receipt",
    [
        pytest.param(receipt_of(issued(2, user="jane"), SIGNER).text, id="another certificate"),
        pytest.param(replace(receipt_of(EVENT, SIGNER), extra=None).text, id="no entry"),
        pytest.param(replace(receipt_of(EVENT, SIGNER), index=1).text, id="another index"),
        pytest.param(receipt_of(EVENT, SIGNER).text[:-30] + "\n", id="cut off"),
        pytest.param("", id="empty"),
        pytest.param(7, id="no text"),
    ],
)
@pytest.mark.parametrize("key", [(), ("--log-key", SIGNER.vkey)], ids=["no key", "key"])
def test_a_bad_receipt(tmp_path: Path, receipt: Any, key: tuple[str, ...]) -> None:
    """A receipt that does not prove this certificate fails the command, with a key or without; no file stays."""
    ran = _request(tmp_path, _answer(receipt), *key)
    assert failed_cleanly(ran), ran.errors
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    """A receipt cannot be for something that is no certificate."""
    ran = _request(tmp_path, _answer(receipt_of(EVENT, SIGNER).text, certificate="none"))
    assert failed_cleanly(ran), ran.errors
    assert "no certificate in PEM" in ran.errors


def test_what_a_receipt_proves() -> None:
    """A receipt counts for its certificate and its log alone; each part that is changed spoils it."""
    good, der = receipt_of(EVENT, SIGNER), der_of(EVENT)
    assert check_receipt(good, der, SIGNER.verifier).size == 3
    assert check_receipt(good, der, None).size == 3
    refused: list[tuple[Receipt, bytes]] = [
        (good, der_of(issued(3))),
        (replace(good, proof=good.proof[:-1]), der),
        (replace(good, proof=(leaf_hash(b"x"), *good.proof[1:])), der),
        (replace(good, extra=EVENT.body + b" "), der),
    ]
    for receipt, certificate in refused:
        for verifier in (SIGNER.verifier, None):
            with pytest.raises(InvalidProof):
                check_receipt(receipt, certificate, verifier)
    with pytest.raises(InvalidProof):
        check_receipt(good, der, OTHER.verifier)


@pytest.mark.parametrize("changed", ["user", "groups", "notAfter", "serialNumber", "credentialId", "kind"])
def test_an_entry_that_lies(changed: str) -> None:
    """A log whose entry says something else than the certificate in it has no receipt for that certificate."""
    lie = replace(EVENT, fields={**EVENT.fields, changed: "admin"})
    with pytest.raises(InvalidProof):
        check_receipt(receipt_of(lie, SIGNER), der_of(EVENT), SIGNER.verifier)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"kind":"issued","kind":"issued"}', b"\xff"])
def test_an_entry_that_is_none(body: bytes) -> None:
    """An entry that is no JSON object proves nothing, though the log has it."""
    receipt = receipt_of(EVENT, SIGNER)
    growth = receipt_of(_raw(body), SIGNER)
    assert growth.extra == body
    with pytest.raises(InvalidProof):
        check_receipt(growth, der_of(EVENT), SIGNER.verifier)
    assert receipt.extra != body


@given(st.binary(max_size=300))
def test_garbage_is_no_certificate(octets: bytes) -> None:
    """Whatever a PEM file holds, it is a certificate or InvalidProof is raised."""
    with pytest.raises(InvalidProof):
        first_certificate(octets.decode("latin-1"))


@given(
    st.dictionaries(
        st.sampled_from(sorted(EVENT.fields)), st.none() | st.integers(0, 9) | st.text("a1:-TZ=") | st.just([1])
    )
)
def test_garbage_in_an_entry(fields: dict[str, Any]) -> None:
    """Whatever the fields of an entry hold, a receipt with them is refused with InvalidProof."""
    lie = replace(EVENT, fields={**EVENT.fields, **fields})
    receipt = receipt_of(lie, SIGNER)
    if {**EVENT.fields, **fields} == EVENT.fields or _SPARED.issuperset(fields):
        check_receipt(receipt, der_of(EVENT), SIGNER.verifier)
        return
    with pytest.raises(InvalidProof):
        check_receipt(receipt, der_of(EVENT), SIGNER.verifier)


_SPARED = set(EVENT.fields) - {  # what a certificate does not say
    "kind",
    "certificate",
    "user",
    "groups",
    "serialNumber",
    "credentialId",
    "notBefore",
    "notAfter",
    "publicKeySha256",
}


class _Raw:
    """An event of which the bytes count."""

    def __init__(self, body: bytes) -> None:
        self.body = body


def _raw(body: bytes) -> Any:
    return _Raw(body)
