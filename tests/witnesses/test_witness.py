"""One witness: what is sent to it is what the specification asks for, and every answer is told apart."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from kubemint.errors import InvalidProof
from kubemint.transparency.checkpoint import Checkpoint, NoteSigner, NoteVerifier, open_cosignature
from kubemint.transparency.tree import Frontier, consistency_proof, grow, leaf_hash
from kubemint.witnesses.witness import Candidate, Fault, NotCosigned, read_cosignature, read_size
from transparency.cosigner import Cosigner
from witnesses.watching import now, witness_of
from witnesses.witness import Answer, Handler, TestWitness, saying, send, witness

ORIGIN = "log.test/ledger"
SIZE_TYPE = "text/x.tlog.size"


class Log:
    """A log in memory, of as many entries as a test asks for."""

    def __init__(self, about: str = "entry") -> None:
        self._hashes = [leaf_hash(f"{about} {number}".encode()) for number in range(40)]
        self.signer = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())

    def candidate(self, size: int) -> Candidate:
        """Give the checkpoint of the first entries."""
        root = grow(Frontier.empty(), self._hashes[:size]).root
        note = self.signer.sign(Checkpoint(origin=ORIGIN, size=size, root=root).text)
        return Candidate(
            note=note, size=size, prove=lambda old_size: consistency_proof(old_size, size, self._node)
        )

    def _node(self, level: int, index: int) -> bytes:
        hashes = self._hashes[index << level : (index + 1) << level]
        return grow(Frontier.empty(), hashes).root


@pytest.fixture
def log(w1: TestWitness) -> Log:
    """Give a log that the witness knows."""
    made = Log()
    w1.trust(made.signer.vkey)
    return made


@pytest.fixture(params=[False, True], ids=["http", "https"])
def any_witness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestWitness]:
    """Give a witness over each transport."""
    with witness(tmp_path, "witness.test/any", tls=request.param) as running:
        yield running


def fault_of(asked: Callable[[], object]) -> NotCosigned:
    """Give why a witness did not cosign."""
    with pytest.raises(NotCosigned) as refused:
        asked()
    return refused.value


def test_a_growing_log_is_cosigned(any_witness: TestWitness) -> None:
    """At every size the witness must accept the proof that is sent, and its line must hold for that checkpoint."""
    log = Log()
    any_witness.trust(log.signer.vkey)
    asking = witness_of(any_witness)
    for size in range(1, 40):
        candidate = log.candidate(size)
        line = asking.cosign(candidate)
        seen = open_cosignature(f"{candidate.note}{line}\n", any_witness.cosigner.verifier)
        assert abs(now() - seen) < timedelta(seconds=10)
        assert any_witness.size(ORIGIN) == size
    assert set(any_witness.statuses) == {200}


def test_the_size_that_a_witness_knows_is_learnt(w1: TestWitness, log: Log) -> None:
    """Whoever does not know what was cosigned last must ask from nothing, and go on from the 409."""
    witness_of(w1).cosign(log.candidate(7))
    assert witness_of(w1).cosign(log.candidate(20))
    assert w1.statuses == [200, 409, 200]
    assert [request.split("\n")[0] for request in w1.requests] == ["old 0", "old 0", "old 7"]
    assert witness_of(w1).cosign(log.candidate(20))  # the same again, with an empty proof
    assert w1.requests[-1].startswith("old 20\n\n")


def test_a_log_that_went_back_is_told(w1: TestWitness, log: Log) -> None:
    """A witness that knows more entries than the log has is told apart from every other fault."""
    asking = witness_of(w1)
    asking.cosign(log.candidate(20))
    for one in (asking, witness_of(w1)):
        refused = fault_of(lambda one=one: one.cosign(log.candidate(19)))
        assert (refused.fault, refused.size) == (Fault.LOG_OLDER, 20)
    assert asking.cosign(log.candidate(21))  # as soon as the log has them, all is well


@pytest.mark.parametrize("size", [20, 33])
def test_another_log_is_told(w1: TestWitness, log: Log, size: int) -> None:
    """A log whose earlier entries are others is refused by the witness, at the same size and at a larger one."""
    witness_of(w1).cosign(log.candidate(20))
    rewritten = Log("rewritten")
    rewritten.signer = log.signer
    assert fault_of(lambda: witness_of(w1).cosign(rewritten.candidate(size))).fault is Fault.LOG_DIFFERS


@pytest.mark.parametrize(
    "answer",
    [
        saying(500),
        saying(200),
        saying(200, b"garbage\n"),
        saying(200, b"\xff\xfe\n"),
        saying(200, "— witness.test/w1 AAAA\n".encode()),
        saying(200, b"\n" * 101),
        saying(204),
        saying(301),
        saying(403),
        saying(404),
        saying(409, b"3\n"),
        saying(409, b"03\n", SIZE_TYPE),
        saying(409, b"3", SIZE_TYPE),
        saying(409, b"-3\n", SIZE_TYPE),
        saying(409, b"0\n", SIZE_TYPE),
        saying(409, b"9" * 30 + b"\n", SIZE_TYPE),
    ],
)
def test_other_answers(w1: TestWitness, log: Log, answer: Answer) -> None:
    """What the specification does not have must count for nothing, and never as an alarm."""
    w1.answer = answer
    assert fault_of(lambda: witness_of(w1).cosign(log.candidate(5))).fault is Fault.MISBEHAVED
    w1.answer = None
    assert witness_of(w1).cosign(log.candidate(5))


def test_the_key_of_another(w1: TestWitness, log: Log) -> None:
    """A line counts under the key that is configured alone: not of another key by the same name."""
    known = witness_of(w1)
    w1.cosigner = Cosigner(w1.cosigner.name, Ed25519PrivateKey.generate())
    assert fault_of(lambda: known.cosign(log.candidate(5))).fault is Fault.MISBEHAVED


@pytest.mark.parametrize("off", [timedelta(minutes=-6), timedelta(minutes=6), timedelta(days=-400)])
def test_a_cosignature_of_another_time(w1: TestWitness, log: Log, off: timedelta) -> None:
    """A cosignature that was not made now must not count: it may be one that was kept for the purpose."""
    w1.clock_is_off = off
    assert "not now" in str(fault_of(lambda: witness_of(w1).cosign(log.candidate(5))))
    w1.clock_is_off = timedelta(minutes=4) * (1 if off > timedelta(0) else -1)
    assert witness_of(w1).cosign(log.candidate(6))


def test_a_cosignature_of_another_checkpoint(w1: TestWitness, log: Log) -> None:
    """A line that holds for an earlier checkpoint must not count for this one."""
    earlier = witness_of(w1).cosign(log.candidate(5))
    w1.answer = saying(200, f"{earlier}\n".encode())
    assert fault_of(lambda: witness_of(w1).cosign(log.candidate(6))).fault is Fault.MISBEHAVED


def test_lines_of_others_are_ignored(w1: TestWitness, log: Log) -> None:
    """Whatever else stands in an answer, the line of the key that is configured must be found and nothing more."""
    other = Cosigner("witness.test/other", Ed25519PrivateKey.generate())
    candidate = log.candidate(5)
    text = candidate.note.partition("\n\n")[0] + "\n"
    lines = [other.cosign(text, now()), w1.cosigner.cosign(text, now()), other.cosign("x\n", now())]
    w1.answer = saying(200, "".join(f"{line}\n" for line in lines).encode())
    assert witness_of(w1).cosign(candidate) == lines[1]


@pytest.mark.parametrize("how", ["hangs", "drips", "floods", "closes"])
def test_a_witness_that_wastes_time(w1: TestWitness, log: Log, how: str) -> None:
    """Whatever a witness does with the connection, asking ends in time and little memory."""
    w1.answer = {"hangs": _hang(w1.release), "drips": _drip, "floods": _flood, "closes": _close}[how]
    began = time.monotonic()
    assert fault_of(lambda: witness_of(w1, 0.6).cosign(log.candidate(5))).fault is Fault.UNREACHABLE
    assert time.monotonic() - began < 2


def test_a_witness_that_is_away(w1: TestWitness, log: Log) -> None:
    """Without a witness there is no cosignature, and with it there is one again."""
    asking = witness_of(w1)
    w1.stop()
    assert fault_of(lambda: asking.cosign(log.candidate(5))).fault is Fault.UNREACHABLE
    w1.start()
    assert asking.cosign(log.candidate(5))


def test_who_answers_must_be_proven(tmp_path: Path) -> None:
    """Over TLS the witness must be the one that the CA vouches for, and no other CA counts."""
    with (
        witness(tmp_path, "witness.test/a", tls=True) as one,
        witness(tmp_path, "witness.test/b", tls=True) as two,
    ):
        log = Log()
        one.trust(log.signer.vkey)
        one.ca_file = two.ca_file
        refused = fault_of(lambda: witness_of(one).cosign(log.candidate(5)))
        assert refused.fault is Fault.UNREACHABLE
        one.ca_file = None  # the system's CAs
        assert fault_of(lambda: witness_of(one).cosign(log.candidate(5))).fault is Fault.UNREACHABLE
        assert one.requests == []


def test_a_redirect_is_not_followed(w1: TestWitness, w2: TestWitness, log: Log) -> None:
    """What is meant for one witness must not be taken elsewhere."""
    w2.trust(log.signer.vkey)

    def redirect(handler: Handler, _: str) -> None:
        handler.send_response(307)
        handler.send_header("Location", f"{w2.url}/add-checkpoint")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    w1.answer = redirect
    assert fault_of(lambda: witness_of(w1).cosign(log.candidate(5))).fault is Fault.MISBEHAVED
    assert w2.requests == []


def test_races_end(w1: TestWitness, log: Log) -> None:
    """A witness that names another size each time must not be asked for ever."""
    sizes = iter(range(1, 1000))
    w1.answer = lambda handler, _: send(handler, 409, f"{next(sizes)}\n".encode(), SIZE_TYPE)
    assert fault_of(lambda: witness_of(w1).cosign(log.candidate(39))).fault is Fault.UNREACHABLE
    assert len(w1.requests) < 10


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"— w {text}\n".encode()))
def test_garbage_for_a_cosignature(body: bytes) -> None:
    """An answer that holds no cosignature raises our error and nothing else."""
    with pytest.raises(InvalidProof):
        read_cosignature(body, _NOTE, _KEY)


@given(st.binary(max_size=40))
def test_garbage_for_a_size(body: bytes) -> None:
    """A size is one decimal number and a newline; anything else raises our error and nothing else."""
    try:
        size = read_size(body)
    except InvalidProof:
        return
    assert body == f"{size}\n".encode()


_NOTE = Log().candidate(3).note
_KEY: NoteVerifier = Cosigner("w", Ed25519PrivateKey.generate()).verifier


def _hang(release: threading.Event) -> Answer:
    return lambda _handler, _body: release.wait(10) and None


def _drip(handler: Handler, _: str) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"\xe2")
        handler.wfile.flush()
        time.sleep(0.1)


def _flood(handler: Handler, _: str) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b"x" * 65536)


def _close(handler: Handler, _: str) -> None:
    handler.close_connection = True
