"""Whoever kept a checkpoint of a log can tell whether the log is still the one it was."""

from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from kubemint.errors import InvalidProof, LedgerUnavailable
from kubemint.transparency.checkpoint import Checkpoint, NoteSigner, open_checkpoint
from kubemint.transparency.following import Differs, Follows, Older, follows_from
from transparency.naive import NaiveTree, bodies

SIGNER = NoteSigner("log.test/ledger", Ed25519PrivateKey.generate())
TREE = NaiveTree(bodies(40))
OTHER = NaiveTree([b"other", *bodies(40)[1:]])


def checkpoint(size: int, tree: NaiveTree = TREE) -> Checkpoint:
    """Give the checkpoint of a log of so many entries."""
    return Checkpoint(origin=SIGNER.name, size=size, root=tree.root(0, size))


def kept(size: int, tree: NaiveTree = TREE, signer: NoteSigner = SIGNER) -> str:
    """Give what somebody kept of it."""
    return signer.sign(checkpoint(size, tree).text)


def compared(note: str, size: int, tree: NaiveTree = TREE) -> Follows | Older | Differs:
    """Compare a note with a log of so many entries."""

    def prove(old_size: int) -> Sequence[bytes]:
        assert old_size <= size
        return tree.proof(old_size, size) if old_size else []

    return follows_from(note, checkpoint(size, tree), lambda held: open_checkpoint(held, SIGNER.verifier), prove)


@given(seen=st.integers(0, 40), size=st.integers(0, 40))
def test_a_log_follows_from_what_it_was(seen: int, size: int) -> None:
    """A log that has grown, or not, follows from its checkpoint; one with fewer entries is older."""
    expected = Follows(seen=checkpoint(seen)) if seen <= size else Older(seen=checkpoint(seen))
    assert compared(kept(seen), size) == expected


@given(seen=st.integers(1, 40), size=st.integers(1, 40))
def test_another_history_differs(seen: int, size: int) -> None:
    """A log with another first entry differs, though the same key has signed both."""
    found = compared(kept(seen, OTHER), size)
    if seen > size:
        assert found == Older(seen=checkpoint(seen, OTHER))
    else:
        assert found == Differs(problem=f"a checkpoint of other entries than the first {seen} of this log")


@given(note=st.text(max_size=200))
def test_garbage_differs(note: str) -> None:
    """What is no checkpoint of the log differs from it, and raises nothing."""
    assert isinstance(compared(note, 9), Differs)


def test_the_checkpoint_of_a_stranger_differs() -> None:
    """A checkpoint of the same tree that another key has signed speaks for no log."""
    stranger = NoteSigner(SIGNER.name, Ed25519PrivateKey.generate())
    found = compared(kept(3, signer=stranger), 9)
    assert isinstance(found, Differs)
    assert found.problem.startswith("no checkpoint of this log: ")


@pytest.mark.parametrize("fault", [LedgerUnavailable("away"), InvalidProof("a tile cannot be read")])
def test_a_log_that_gives_no_proof_is_not_judged(fault: Exception) -> None:
    """Whether it follows is not known then, and whoever asks is told why."""

    def prove(_: int) -> Sequence[bytes]:
        raise fault

    with pytest.raises(type(fault)):
        follows_from(kept(3), checkpoint(9), lambda held: open_checkpoint(held, SIGNER.verifier), prove)
