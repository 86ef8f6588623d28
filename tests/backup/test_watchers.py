"""Witnesses and anchors over HTTP, asked by a restore: real servers, which know more, less, or something else."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.events import one_of_each, refusals
from backup.test_commands import assert_refused, back_up, lines, restore
from backup.workspaces import Workspace
from kubemint import config
from kubemint.ledger.log import LedgerLog
from kubemint.transparency.checkpoint import NoteVerifier
from kubemint.wiring import log_keys_of, store_of, utc_now
from kubemint.witnesses.witness import Candidate, Witness
from witnesses.place import Place
from witnesses.place import place as serving_place
from witnesses.witness import TestWitness, saying, witness


class Lost:
    """A ledger that a witness and an address know, its backup, and a folder to restore it into."""

    def __init__(self, folder: Path, seen_by: TestWitness, kept_at: Place) -> None:
        self.place = Workspace(folder / "place")
        self.witness, self.address = seen_by, kept_at
        seen_by.trust(self.place.vkey)
        self.place.append(*one_of_each())
        self.tell()
        assert back_up(self.place).code == 0
        self.copy = Workspace.copy(self.place, folder / "copy")
        self.copy.change(witnesses=[seen_by.settings()], anchors=[{"url": kept_at.url}])
        self.names = f"witness {NoteVerifier.from_vkey(seen_by.vkey).name}", f"anchor {kept_at.url}"

    def tell(self, place: Workspace | None = None) -> None:
        """Let both see where a ledger stands, as the service does."""
        settings = config.load((place or self.place).config)
        engine = store_of(settings).for_reading(1)
        log = LedgerLog(engine, log_keys_of(settings))
        note, head = log.head()
        candidate = Candidate(
            note=note, size=head.size, prove=lambda old_size: log.consistency(old_size, head.size)[0]
        )
        key = NoteVerifier.from_vkey(self.witness.vkey)
        Witness(key, self.witness.url, self.witness.ca_file, utc_now, 5.0).cosign(candidate)
        self.address.body = note.encode()
        engine.dispose()


@pytest.fixture(params=[False, True], ids=["http", "https"])
def lost(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lost]:
    """Give one, whose witness is asked over each transport."""
    with witness(tmp_path, "witness.test/w1", tls=request.param) as seen_by, serving_place() as kept_at:
        yield Lost(tmp_path, seen_by, kept_at)


def test_they_agree(lost: Lost) -> None:
    """Who knows the backup's entries, or fewer of them, says so; and the restore is done."""
    lost.place.append(*next(refusals(5)))
    assert back_up(lost.place).code == 0
    ran = restore(lost.copy)
    assert ran.code == 0, ran.output
    by_witness, by_anchor = lost.names
    assert lines(ran)[by_witness] == ("ok", "has cosigned the 17 entries of the backup")
    assert lines(ran)[by_anchor] == ("ok", "knows 12 entries, and they are the first of the backup")
    assert lost.witness.size(log_keys_of(config.load(lost.copy.config)).signer.name) == 17


def test_they_know_more(lost: Lost) -> None:
    """An old backup does not count, unless what is lost is accepted."""
    lost.place.append(*next(refusals(5)))
    lost.tell()
    ran = restore(lost.copy)
    assert_refused(ran, lost.copy, *lost.names)
    assert ran.output.count("5 entries, 12 to 16, are lost") == 2
    assert restore(lost.copy, "--accept-loss").code == 0
    assert lost.copy.size() == 12


def test_they_know_another_history(lost: Lost, tmp_path: Path) -> None:
    """A ledger that was rewritten, as long as they know it or longer, does not count, whatever is accepted."""
    shutil.rmtree(tmp_path / "backup")
    rewritten = Workspace.copy(lost.place, tmp_path / "rewritten")
    for more in (reversed(one_of_each()), next(refusals(5))):
        rewritten.append(*more)
        assert back_up(rewritten).code == 0
        assert_refused(restore(lost.copy, "--accept-loss", "--without-witnesses"), lost.copy, *lost.names)


def test_they_are_away(lost: Lost) -> None:
    """Whether the backup is old cannot be told then, and somebody must say so."""
    lost.witness.stop()
    lost.address.failing = True
    assert_refused(restore(lost.copy), lost.copy, *lost.names)
    ran = restore(lost.copy, "--without-witnesses")
    assert ran.code == 0
    assert ran.output.count("not asked (--without-witnesses)") == 2
    lost.witness.start()


@pytest.mark.parametrize("held", [b"", b"garbage", b"\xff\xfe", b"log.test/ledger\n1\nAAAA\n\n- x y\n"])
def test_an_anchor_that_was_spoilt(lost: Lost, held: bytes) -> None:
    """An anchor that holds what this log has not signed was spoilt by somebody, and is no anchor that is away."""
    lost.address.body = held
    _, by_anchor = lost.names
    ran = restore(lost.copy, "--without-witnesses", "--accept-loss")
    assert_refused(ran, lost.copy, by_anchor)
    assert "holds no checkpoint of this log" in ran.output


def test_one_that_does_not_know_the_log(lost: Lost) -> None:
    """An answer that tells nothing is no agreement."""
    lost.witness.answer = saying(404)
    lost.address.reads = False
    assert_refused(restore(lost.copy), lost.copy, *lost.names)
