"""A receipt shows that one entry is in one log; whatever else is written in it is refused."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemint.errors import InvalidProof
from kubemint.transparency.checkpoint import Checkpoint, NoteSigner
from kubemint.transparency.notation import encode_base64
from kubemint.transparency.receipt import PROOF_MAX_HASHES, Receipt, parse_receipt, verify_receipt
from kubemint.transparency.tree import Frontier, grow, inclusion_proof
from transparency.naive import NaiveTree, bodies

SIZE, INDEX = 11, 6
BODIES = bodies(SIZE)
TREE = NaiveTree(BODIES)
LOG = NoteSigner("log.example", Ed25519PrivateKey.generate())
CHECKPOINT = Checkpoint(origin=LOG.name, size=SIZE, root=grow(Frontier.empty(), TREE.leaf_hashes).root)
NOTE = LOG.sign(CHECKPOINT.text)
RECEIPT = Receipt(index=INDEX, proof=inclusion_proof(INDEX, SIZE, TREE.node), checkpoint=NOTE, extra=BODIES[INDEX])
HASH = encode_base64(bytes(32))


def verify_with_extra(text: str) -> Checkpoint:
    """Do what the holder of a receipt and of nothing else does: take its extra octets for the entry."""
    receipt = parse_receipt(text)
    return verify_receipt(receipt, LOG.verifier, receipt.extra or b"")


def test_the_form_of_a_receipt() -> None:
    """A receipt must be written as tlog-proof has it: header, extra, index, proof, empty line, checkpoint."""
    receipt = Receipt(index=0, proof=(bytes(32), bytes([255] * 32)), checkpoint=NOTE, extra=b"entry 0")

    assert receipt.text == (
        "c2sp.org/tlog-proof@v1\nextra ZW50cnkgMA==\nindex 0\n"
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
        "//////////////////////////////////////////8=\n"
        f"\n{NOTE}"
    )


@pytest.mark.parametrize("extra", [None, b"", b"entry", bytes(range(256))])
@pytest.mark.parametrize("hashes", [0, 1, PROOF_MAX_HASHES])
def test_receipts_are_read_as_written(extra: bytes | None, hashes: int) -> None:
    """A receipt must be read from its text as it was, with and without extra octets."""
    receipt = Receipt(index=2**63 - 1, proof=(bytes(32),) * hashes, checkpoint=NOTE, extra=extra)

    assert parse_receipt(receipt.text) == receipt


def test_a_receipt_holds_for_its_entry() -> None:
    """With the log's key and the entry, a receipt must give the checkpoint that the entry is in."""
    assert parse_receipt(RECEIPT.text).extra == BODIES[INDEX]
    assert verify_with_extra(RECEIPT.text) == CHECKPOINT


def test_a_receipt_of_the_only_entry_has_no_proof() -> None:
    """The first entry of a log must have a receipt whose proof is empty."""
    note = LOG.sign(Checkpoint(origin=LOG.name, size=1, root=TREE.root(0, 1)).text)
    receipt = Receipt(index=0, proof=(), checkpoint=note, extra=BODIES[0])

    assert verify_receipt(parse_receipt(receipt.text), LOG.verifier, BODIES[0]).size == 1


def test_a_receipt_holds_for_no_other_entry() -> None:
    """Another entry of the same log, and one that is not in it, must be refused."""
    for body in (*BODIES[:INDEX], *BODIES[INDEX + 1 :], b"", BODIES[INDEX] + b"\n"):
        with pytest.raises(InvalidProof, match="does not lead"):
            verify_receipt(RECEIPT, LOG.verifier, body)


@pytest.mark.parametrize("index", [0, INDEX - 1, INDEX + 1, SIZE, 2**62])
def test_a_receipt_holds_for_no_other_index(index: int) -> None:
    """The entry at another place, or beyond the tree, must be refused."""
    with pytest.raises(InvalidProof):
        verify_receipt(dataclasses.replace(RECEIPT, index=index), LOG.verifier, BODIES[INDEX])


def test_a_receipt_of_another_key_is_refused() -> None:
    """A checkpoint that the log's key did not sign must be refused, though the proof leads to its root."""
    impostor = NoteSigner(LOG.name, Ed25519PrivateKey.generate())
    forged = dataclasses.replace(RECEIPT, checkpoint=impostor.sign(CHECKPOINT.text))

    with pytest.raises(InvalidProof, match="not signed by"):
        verify_receipt(forged, LOG.verifier, BODIES[INDEX])


def test_no_bit_of_a_receipt_may_be_another() -> None:
    """With any bit changed, a receipt must not be read, or not hold for the entry in it."""
    octets = RECEIPT.text.encode()
    for position in range(len(octets) * 8):
        place, bit = divmod(position, 8)
        changed = octets[:place] + bytes([octets[place] ^ 1 << bit]) + octets[place + 1 :]
        text = changed.decode(errors="replace")
        with pytest.raises(InvalidProof):
            verify_with_extra(text)


def test_no_part_of_a_receipt_is_one() -> None:
    """A receipt that ends early must be refused, wherever it ends."""
    for length in range(len(RECEIPT.text)):
        with pytest.raises(InvalidProof):
            parse_receipt(RECEIPT.text[:length])


@pytest.mark.parametrize(
    "head",
    [
        "",
        "c2sp.org/tlog-proof@v1",
        "c2sp.org/tlog-proof@v2\nindex 0",
        "c2sp.org/tlog-proof@v1 \nindex 0",
        "\nc2sp.org/tlog-proof@v1\nindex 0",
        "c2sp.org/tlog-proof@v1\r\nindex 0",
        "c2sp.org/tlog-proof@v1\nindex",
        "c2sp.org/tlog-proof@v1\nindex ",
        "c2sp.org/tlog-proof@v1\nindex 00",
        "c2sp.org/tlog-proof@v1\nindex -1",
        "c2sp.org/tlog-proof@v1\nindex  1",
        f"c2sp.org/tlog-proof@v1\nindex {2**63}",
        "c2sp.org/tlog-proof@v1\nindex 0\nextra AA==",
        "c2sp.org/tlog-proof@v1\nextra AA==",
        "c2sp.org/tlog-proof@v1\nextra AA\nindex 0",
        "c2sp.org/tlog-proof@v1\nextra AB==\nindex 0",
        "c2sp.org/tlog-proof@v1\nextra\nindex 0",
        "c2sp.org/tlog-proof@v1\nextra AA==\nextra AA==\nindex 0",
        "c2sp.org/tlog-proof@v1\nindex 0\nindex 0",
        "c2sp.org/tlog-proof@v1\nindex 0\nAA==",
        f"c2sp.org/tlog-proof@v1\nindex 0\n{HASH} ",
        f"c2sp.org/tlog-proof@v1\nindex 0\n{HASH}{HASH}",
    ],
)
def test_other_heads_are_refused(head: str) -> None:
    """What is nearly the head of a receipt must be refused."""
    with pytest.raises(InvalidProof):
        parse_receipt(f"{head}\n\n{NOTE}")


def test_longer_proofs_are_refused() -> None:
    """A proof that is longer than any tree is high must be refused."""
    with pytest.raises(InvalidProof, match="63 hashes at most"):
        parse_receipt(dataclasses.replace(RECEIPT, proof=(bytes(32),) * (PROOF_MAX_HASHES + 1)).text)


def test_a_receipt_has_a_note() -> None:
    """What follows the proof must be a signed note, even before anybody asks whose."""
    for checkpoint in ("", "\n", CHECKPOINT.text, NOTE + "\n", NOTE.replace("— ", "- "), NOTE[:-1]):
        with pytest.raises(InvalidProof):
            parse_receipt(dataclasses.replace(RECEIPT, checkpoint=checkpoint).text)


PARTS = st.sampled_from(["c2sp.org/tlog-proof@v1", "index 0", "extra AA==", HASH, "", *NOTE.splitlines()])


@given(text=st.text(max_size=80) | st.lists(PARTS, max_size=12).map("\n".join))
@settings(derandomize=True)
def test_garbage_raises_our_error_and_nothing_else(text: str) -> None:
    """Whatever is read as a receipt, it is written the same way again, or our error comes."""
    try:
        receipt = parse_receipt(text)
    except InvalidProof:
        return
    assert receipt.text == text
