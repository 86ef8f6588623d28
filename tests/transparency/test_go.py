"""Go's checks of its module database take what kubemint says for true, and nothing that was changed."""

import base64
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kubemint.transparency.checkpoint import Checkpoint, NoteSigner, add_signature_lines, signature_lines
from kubemint.transparency.receipt import Receipt
from kubemint.transparency.tree import Frontier, consistency_proof, grow, inclusion_proof
from transparency.cosigner import Cosigner
from transparency.directory import LogDirectory
from transparency.naive import NaiveTree, bodies
from transparency.verifier_program import Verifier

SIZES = 70
TREE = NaiveTree(bodies(SIZES))
LOG = NoteSigner("log.example/minted", Ed25519PrivateKey.generate())
NOTE = LOG.sign(Checkpoint(origin=LOG.name, size=SIZES, root=TREE.root(0, SIZES)).text)


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Verifier:
    """Build the program."""
    return Verifier(tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="module")
def written_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a log that grew in steps to three levels of tiles."""
    log = LogDirectory(tmp_path_factory.mktemp("log"), LOG)
    entries = bodies(66_000)
    for start, end in ((0, 1), (1, 300), (300, 65_536), (65_536, 66_000)):
        log.add(entries[start:end])
    return log.directory


def case(size: int, root: bytes, other: int, hashed: bytes, proof: tuple[bytes, ...]) -> str:
    """Write a line for `verifier record` or `verifier tree`."""
    first, *rest = (base64.b64encode(octets).decode() for octets in (root, hashed, *proof))
    return " ".join([str(size), first, str(other), *rest])


def changed(octets: bytes) -> bytes:
    """Give octets with one bit changed."""
    return bytes([octets[0] ^ 1]) + octets[1:]


def test_notes(verifier: Verifier) -> None:
    """A note must be opened with its verifier key, and with no other, and with no other text."""
    text = Checkpoint(origin=LOG.name, size=SIZES, root=TREE.root(0, SIZES)).text
    impostor = NoteSigner(LOG.name, Ed25519PrivateKey.generate())

    assert verifier.output("note", LOG.vkey, text=NOTE) == text
    assert not verifier.accepts("note", LOG.vkey, text=NOTE.replace("\n70\n", "\n71\n"))
    assert not verifier.accepts("note", impostor.vkey, text=NOTE)
    assert not verifier.accepts("note", LOG.vkey, text=impostor.sign(text))


def test_cosignatures(verifier: Verifier) -> None:
    """A cosignature must be found beside the log's signature, and be refused under another text."""
    witness = Cosigner("witness.example", Ed25519PrivateKey.generate())
    text = NOTE.partition("\n\n")[0] + "\n"
    line = witness.cosign(text, datetime(2026, 11, 20, 12, 0, tzinfo=UTC))
    cosigned = add_signature_lines(NOTE, [line])

    assert verifier.output("cosignature", witness.vkey, text=cosigned) == text
    assert verifier.output("note", LOG.vkey, text=cosigned) == text
    assert not verifier.accepts("cosignature", witness.vkey, text=NOTE)
    assert not verifier.accepts("cosignature", witness.vkey, text=cosigned.replace("\n70\n", "\n71\n"))


def test_inclusion_proofs(verifier: Verifier) -> None:
    """Every proof must hold for its leaf, and be refused for another index, leaf, root or proof."""
    holding, refused = [], []
    for size in range(1, SIZES + 1):
        root = TREE.root(0, size)
        for index in range(size):
            leaf, proof = TREE.leaf_hashes[index], inclusion_proof(index, size, TREE.node)
            holding.append(case(size, root, index, leaf, proof))
            refused += [
                case(size, root, index + 1, leaf, proof),
                case(size, root, index, changed(leaf), proof),
                case(size, changed(root), index, leaf, proof),
                case(size, root, index, leaf, (*proof, root)),
                *(case(size, root, index, leaf, (changed(hashed), *proof[1:])) for hashed in proof[:1]),
            ]

    assert set(verifier.verdicts("record", holding)) == {"holds"}
    assert set(verifier.verdicts("record", refused)) == {"refused"}


def test_proofs_of_growth(verifier: Verifier) -> None:
    """The proofs that growing gives for its new leaves must hold."""
    cases = []
    for old_size in range(SIZES):
        frontier = grow(Frontier.empty(), TREE.leaf_hashes[:old_size]).frontier
        growth = grow(frontier, TREE.leaf_hashes[old_size:])
        for index in range(old_size, SIZES):
            proof = growth.inclusion_proof(index)
            cases.append(case(SIZES, growth.root, index, TREE.leaf_hashes[index], proof))

    assert set(verifier.verdicts("record", cases)) == {"holds"}


def test_consistency_proofs(verifier: Verifier) -> None:
    """Every proof must hold for its sizes, and be refused for another size, root or proof."""
    holding, refused = [], []
    for size in range(2, SIZES + 1):
        root = TREE.root(0, size)
        for old_size in range(1, size):
            old_root, proof = TREE.root(0, old_size), consistency_proof(old_size, size, TREE.node)
            holding.append(case(size, root, old_size, old_root, proof))
            refused += [
                case(size, root, old_size + 1, old_root, proof),
                case(size, root, old_size, changed(old_root), proof),
                case(size, changed(root), old_size, old_root, proof),
                case(size, root, old_size, old_root, (changed(proof[0]), *proof[1:])),
                case(size, root, old_size, old_root, proof[1:]),
            ]

    assert set(verifier.verdicts("tree", holding)) == {"holds"}
    assert set(verifier.verdicts("tree", refused)) == {"refused"}


def test_receipts(verifier: Verifier) -> None:
    """A receipt must give its entry, and be refused with another entry, index or checkpoint."""
    entry = bodies(SIZES)[41]
    receipt = Receipt(index=41, proof=inclusion_proof(41, SIZES, TREE.node), checkpoint=NOTE, extra=entry)
    other = receipt.text.replace(base64.b64encode(entry).decode(), base64.b64encode(b"other").decode())

    assert verifier.output("receipt", LOG.vkey, text=receipt.text).encode() == entry
    assert not verifier.accepts("receipt", LOG.vkey, text=other)
    assert not verifier.accepts("receipt", LOG.vkey, text=receipt.text.replace("index 41", "index 40"))
    assert not verifier.accepts("receipt", LOG.vkey, text=receipt.text.replace("\n70\n", "\n71\n"))


def test_a_log_of_tiles(verifier: Verifier, written_log: Path) -> None:
    """Every tile and bundle of a log, those of its earlier sizes too, must be of the tree that is signed."""
    assert (written_log / "tile/2/000.p/1").is_file()
    assert (written_log / "tile/0/001.p/44").is_file()
    assert verifier.accepts("tiles", written_log, LOG.vkey)


@pytest.mark.parametrize(
    "path",
    [
        "checkpoint",
        "tile/0/000",
        "tile/0/001.p/44",
        "tile/0/257.p/208",
        "tile/1/000",
        "tile/1/001.p/1",
        "tile/2/000.p/1",
        "tile/entries/100",
        "tile/entries/000.p/1",
        "tile/entries/257.p/208",
    ],
)
def test_a_changed_file_of_a_log(verifier: Verifier, written_log: Path, path: str, tmp_path: Path) -> None:
    """One bit of any file must not be another."""
    log = Path(shutil.copytree(written_log, tmp_path / "log"))
    file = log / path
    content = file.read_bytes()
    file.write_bytes(content[:-20] + changed(content[-20:]))

    assert not verifier.accepts("tiles", log, LOG.vkey)


@pytest.mark.parametrize("path", ["tile/0/000", "tile/entries/001", "tile/entries/257.p/208", "tile/2/000.p/1"])
def test_a_missing_file_of_a_log(verifier: Verifier, written_log: Path, path: str, tmp_path: Path) -> None:
    """No file of the tree that is signed may be missing."""
    log = Path(shutil.copytree(written_log, tmp_path / "log"))
    (log / path).unlink()

    assert not verifier.accepts("tiles", log, LOG.vkey)


def test_a_checkpoint_of_another_tree(verifier: Verifier, written_log: Path, tmp_path: Path) -> None:
    """A checkpoint that the log signed for something else must not do for these tiles."""
    log = Path(shutil.copytree(written_log, tmp_path / "log"))
    (log / "checkpoint").write_text(NOTE)

    assert len(signature_lines(NOTE)) == 1
    assert not verifier.accepts("tiles", log, LOG.vkey)
