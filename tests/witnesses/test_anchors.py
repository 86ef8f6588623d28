"""Anchors hold the newest checkpoint: never less than before, and never what does not follow from it."""

import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from kubemint.config_ledger import Anchor, Log, Witness
from kubemint.errors import ConfigurationError
from kubemint.transparency.checkpoint import add_signature_lines, note_text, signature_lines
from kubemint.witnesses.anchoring import Anchoring
from kubemint.witnesses.anchors import (
    AnchorFault,
    AnchorProblem,
    FileAnchor,
    UrlAnchor,
    check_against,
    may_replace,
)
from kubemint.witnesses.watch import check_anchors, check_settings
from ledger.adapters import Adapter, SqliteAdapter, new_keys
from ledger.events import issued
from transparency.cosigner import Cosigner
from witnesses.place import Place, place
from witnesses.watching import change_a_leaf, eventually, now, watched
from witnesses.witness import TestWitness

NUMBERS = itertools.count(1)


def grow(adapter: Adapter, entries: int = 1) -> str:
    """Add entries; give the newest checkpoint."""
    ledger = adapter.open()
    for _ in range(entries):
        ledger.append(issued(next(NUMBERS)))
    return adapter.log().checkpoint()


def update(adapter: Adapter, anchor: FileAnchor | UrlAnchor, note: str) -> None:
    """Write a checkpoint to an anchor as the service does."""
    log = adapter.log()
    anchor.update(note, lambda held: may_replace(held, note, log, adapter.keys))


def size_in(adapter: Adapter, held: str | bytes | None) -> int:
    """Give the size of a checkpoint of the log."""
    assert held is not None
    return adapter.keys.open(held if isinstance(held, str) else held.decode()).size


def other_log(entries: int, adapter: Adapter, tmp_path: Path) -> str:
    """Give a checkpoint that the key of the log signed for other entries."""
    other = SqliteAdapter(tmp_path / f"other{entries}.db")
    try:
        for _ in range(entries):
            other.open().append(issued(next(NUMBERS)))
        _, head = other.log().head()
        return adapter.keys.signer.sign(head.text)
    finally:
        other.close()


@pytest.fixture
def url() -> Iterator[Place]:
    """Give an address to write to."""
    with place() as running:
        yield running


@contextmanager
def anchoring(adapter: Adapter, *anchors: Any, public: Any = None) -> Iterator[Anchoring]:
    """Keep anchors up to date for the length of a `with`."""
    running = Anchoring(anchors, public or adapter.log(), adapter.log(), adapter.keys)
    running.start()
    try:
        yield running
    finally:
        running.close()


def test_a_file_holds_the_newest_checkpoint(adapter: Adapter, tmp_path: Path) -> None:
    """Each checkpoint must replace the one before; everybody may read it, and no draft stays behind."""
    anchor = FileAnchor(tmp_path / "anchor" / "checkpoint")
    anchor.file.parent.mkdir()
    for size in range(1, 5):
        note = grow(adapter)
        update(adapter, anchor, note)
        assert anchor.read() == note
        assert size_in(adapter, anchor.read()) == size
        assert stat.S_IMODE(anchor.file.stat().st_mode) == 0o644
    assert sorted(os.listdir(anchor.file.parent)) == ["checkpoint", "checkpoint.lock"]


def test_a_file_never_goes_back(adapter: Adapter, tmp_path: Path) -> None:
    """A smaller checkpoint must leave a larger one where it is, without a word: another process was faster."""
    anchor = FileAnchor(tmp_path / "checkpoint")
    older = grow(adapter)
    newer = grow(adapter, 3)
    update(adapter, anchor, newer)
    update(adapter, anchor, older)
    assert anchor.read() == newer


def test_writers_who_race_never_go_back(sqlite_adapter: SqliteAdapter, tmp_path: Path) -> None:
    """Many writers of one file, each with another checkpoint, must let everybody see it grow and only grow."""
    anchor = FileAnchor(tmp_path / "checkpoint")
    notes = [grow(sqlite_adapter) for _ in range(24)]
    seen: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            if (held := anchor.read()) is not None:
                seen.append(size_in(sqlite_adapter, held))

    watcher = threading.Thread(target=look)
    watcher.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda note: update(sqlite_adapter, anchor, note), [*notes[::2], *notes[::-2]]))
    done.set()
    watcher.join()
    assert seen == sorted(seen)
    assert anchor.read() == notes[-1]


def test_cosignatures_come_to_the_same_checkpoint(sqlite_adapter: SqliteAdapter, tmp_path: Path) -> None:
    """A checkpoint with more cosignatures replaces the same one with fewer, and not the other way round."""
    anchor = FileAnchor(tmp_path / "checkpoint")
    note = grow(sqlite_adapter)
    line = Cosigner("w", Ed25519PrivateKey.generate()).cosign(note_text(note), now())
    cosigned = add_signature_lines(note, [line])
    for written, held in ((note, note), (cosigned, cosigned), (note, cosigned)):
        update(sqlite_adapter, anchor, written)
        assert anchor.read() == held


@pytest.mark.parametrize("entries", [2, 3, 5])
def test_another_history_replaces_nothing(adapter: Adapter, tmp_path: Path, entries: int) -> None:
    """What an anchor holds and the log contradicts, though its key signed it, must stay and be told of."""
    anchor = FileAnchor(tmp_path / "checkpoint")
    note = grow(adapter, 3)
    foreign = other_log(entries, adapter, tmp_path)
    anchor.file.write_text(foreign)
    with pytest.raises(AnchorFault) as fault:
        update(adapter, anchor, note)
    assert fault.value.problem == (AnchorProblem.LOG_OLDER if entries > 3 else AnchorProblem.LOG_DIFFERS)
    assert anchor.read() == foreign


@pytest.mark.parametrize("held", [b"", b"garbage", b"\xff\xfe\n\n", b"a\n1\nAAAA\n\n- x y\n", b"x" * 100_000])
def test_garbage_is_not_overwritten(sqlite_adapter: SqliteAdapter, tmp_path: Path, held: bytes) -> None:
    """Who could make an anchor forget by spoiling it could also restore an old backup: it must be told of."""
    anchor = FileAnchor(tmp_path / "checkpoint")
    anchor.file.write_bytes(held)
    with pytest.raises(AnchorFault, match="no checkpoint of this log"):
        update(sqlite_adapter, anchor, grow(sqlite_adapter))
    assert anchor.file.read_bytes() == held


@given(held=st.text(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_no_checkpoint_raises_our_error(sqlite_adapter: SqliteAdapter, held: str) -> None:
    """Garbage in an anchor raises our error and nothing else."""
    with pytest.raises(AnchorFault):
        check_against(held, sqlite_adapter.log(), sqlite_adapter.keys)


def test_the_checkpoint_of_another_key(sqlite_adapter: SqliteAdapter, tmp_path: Path) -> None:
    """A checkpoint that a strange key signed is no checkpoint of this log."""
    anchor = FileAnchor(tmp_path / "checkpoint")
    note = grow(sqlite_adapter)
    keys, _ = new_keys()
    anchor.file.write_text(keys.signer.sign(note_text(note)))
    with pytest.raises(AnchorFault, match="no checkpoint of this log"):
        update(sqlite_adapter, anchor, note)


def test_a_draft_of_a_dead_process_is_no_obstacle(sqlite_adapter: SqliteAdapter, tmp_path: Path) -> None:
    """What a process that was killed left beside the file must not stop the next."""
    anchor = FileAnchor(tmp_path / "checkpoint")
    (tmp_path / "checkpoint.new").write_text("half a checkp")
    (tmp_path / "checkpoint.lock").touch()
    note = grow(sqlite_adapter)
    update(sqlite_adapter, anchor, note)
    assert anchor.read() == note
    assert not (tmp_path / "checkpoint.new").exists()


def test_an_address_holds_the_newest_checkpoint(adapter: Adapter, url: Place) -> None:
    """At an address, too, a checkpoint is replaced by a larger one and by no other."""
    anchor = UrlAnchor(url.url, None)
    assert anchor.read() is None
    older = grow(adapter)
    newer = grow(adapter, 3)
    update(adapter, anchor, older)
    update(adapter, anchor, newer)
    update(adapter, anchor, older)
    assert [size_in(adapter, put) for put in url.puts] == [1, 4]
    assert anchor.read() == newer
    assert url.kinds == {"text/plain; charset=utf-8"}


def test_an_address_where_others_are_faster(sqlite_adapter: SqliteAdapter, url: Place) -> None:
    """What another replica writes between looking and writing must not be replaced by less."""
    first, second, third = (grow(sqlite_adapter) for _ in range(3))
    anchor = UrlAnchor(url.url, None)
    update(sqlite_adapter, anchor, first)
    url.before_put = [third.encode()]
    update(sqlite_adapter, anchor, second)
    assert url.body == third.encode()


def test_an_address_that_is_written_only(sqlite_adapter: SqliteAdapter, url: Place) -> None:
    """A server that lets nobody read, or has no entity tags, still gets each checkpoint."""
    anchor = UrlAnchor(url.url, None)
    url.tags = False
    update(sqlite_adapter, anchor, grow(sqlite_adapter))
    url.reads = False
    update(sqlite_adapter, anchor, grow(sqlite_adapter))
    assert anchor.read() is None
    assert [size_in(sqlite_adapter, put) for put in url.puts] == [1, 2]


def test_an_address_that_fails(sqlite_adapter: SqliteAdapter, url: Place) -> None:
    """A server that fails is told of, and is not one that holds nothing."""
    url.failing = True
    anchor = UrlAnchor(url.url, None)
    note = grow(sqlite_adapter)
    for failing in (anchor.read, lambda: update(sqlite_adapter, anchor, note)):
        with pytest.raises(AnchorFault, match="500") as fault:
            failing()
        assert fault.value.problem is AnchorProblem.UNREACHABLE


def test_anchors_follow_the_log(sqlite_adapter: SqliteAdapter, tmp_path: Path, url: Place) -> None:
    """Of many commits the last one must be in every anchor soon, with few writes, and at the end at once."""
    anchor = FileAnchor(tmp_path / "checkpoint")
    grow(sqlite_adapter)
    with anchoring(sqlite_adapter, anchor, UrlAnchor(url.url, None)) as running:
        eventually(lambda: anchor.read() is not None and url.body is not None)
        for _ in range(50):
            grow(sqlite_adapter)
            running.wake()
        eventually(lambda: size_in(sqlite_adapter, anchor.read()) == 51)
        eventually(lambda: size_in(sqlite_adapter, url.body) == 51)
        assert len(url.puts) <= 6
        last = grow(sqlite_adapter)
        running.wake()
    assert anchor.read() == last == (url.body or b"").decode()


def test_an_anchor_that_fails_stops_nothing(
    sqlite_adapter: SqliteAdapter, tmp_path: Path, url: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """One that cannot be written is told of once, counted each time, and no reason not to write the others."""
    before = _faults("unreachable")
    anchor = FileAnchor(tmp_path / "not-there" / "checkpoint")
    grow(sqlite_adapter)
    with anchoring(sqlite_adapter, anchor, UrlAnchor(url.url, None)) as running:
        for count in range(1, 4):
            eventually(lambda count=count: _faults("unreachable") >= before + count)
            grow(sqlite_adapter)
            running.wake()
        assert len([one for one in caplog.records if one.message.startswith("an anchor could not")]) == 1
        anchor.file.parent.mkdir()
        running.wake()
        eventually(lambda: anchor.read() is not None)
        eventually(lambda: size_in(sqlite_adapter, url.body) == 4)


def test_a_running_service_is_told_of_an_old_copy(sqlite_adapter: SqliteAdapter, tmp_path: Path) -> None:
    """An anchor that knows more than the ledger while it runs is counted as what it is, and stays."""
    anchor = FileAnchor(tmp_path / "checkpoint")
    before = _faults("log-older")
    grow(sqlite_adapter)
    held = other_log(5, sqlite_adapter, tmp_path)
    anchor.file.write_text(held)
    with anchoring(sqlite_adapter, anchor):
        eventually(lambda: _faults("log-older") > before)
    assert anchor.read() == held


def test_a_log_that_contradicts_itself_is_told_of(
    sqlite_adapter: SqliteAdapter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A ledger changed behind the log's back must stop its anchors with an alarm, once and again counted."""
    before = _faults("log-differs")
    anchor = FileAnchor(tmp_path / "checkpoint")
    held = grow(sqlite_adapter, 3)
    update(sqlite_adapter, anchor, held)
    grow(sqlite_adapter, 2)
    change_a_leaf(sqlite_adapter, 1)
    running = Anchoring([anchor], sqlite_adapter.log(), sqlite_adapter.log(), sqlite_adapter.keys)
    for count in (1, 2):
        running.write()
        assert _faults("log-differs") == before + count
    assert anchor.read() == held
    assert [one.levelname for one in caplog.records if "ALARM" in one.message] == ["ERROR"]


@pytest.mark.parametrize("forged", ["garbage", "log.test/ledger\n9\nAAAA\n"])
def test_what_the_log_has_not_signed_is_written_nowhere(
    sqlite_adapter: SqliteAdapter, tmp_path: Path, forged: str
) -> None:
    """A head that was written into the database by hand must not get into an anchor that holds nothing yet."""
    before = _faults("log-differs")
    grow(sqlite_adapter)
    sqlite_adapter.execute(f"UPDATE head SET checkpoint = '{forged}'")
    anchor = FileAnchor(tmp_path / "checkpoint")
    Anchoring([anchor], sqlite_adapter.log(), sqlite_adapter.log(), sqlite_adapter.keys).write()
    assert _faults("log-differs") == before + 1
    assert anchor.read() is None


def test_a_ledger_that_is_away_is_no_fault_of_an_anchor(sqlite_adapter: SqliteAdapter, tmp_path: Path) -> None:
    """What cannot be read proves nothing: the anchor stays, uncounted, and is written once that can be."""
    anchor = FileAnchor(tmp_path / "checkpoint")
    update(sqlite_adapter, anchor, grow(sqlite_adapter))
    newer = grow(sqlite_adapter)
    running = Anchoring([anchor], sqlite_adapter.log(), sqlite_adapter.log(), sqlite_adapter.keys)
    before = [_faults(problem.value) for problem in AnchorProblem]
    sqlite_adapter.execute("ALTER TABLE head RENAME TO away")
    running.write()
    assert size_in(sqlite_adapter, anchor.read()) == 1
    assert [_faults(problem.value) for problem in AnchorProblem] == before
    sqlite_adapter.execute("ALTER TABLE away RENAME TO head")
    running.write()
    assert anchor.read() == newer


def test_anchors_hold_what_is_witnessed(sqlite_adapter: SqliteAdapter, tmp_path: Path, w1: TestWitness) -> None:
    """Where witnesses are required, an anchor holds the last checkpoint that has their cosignatures."""
    anchor = FileAnchor(tmp_path / "checkpoint")
    with watched(sqlite_adapter, w1) as ours, anchoring(sqlite_adapter, anchor, public=ours.public) as running:
        grow(sqlite_adapter, 2)
        ours.witnessing.wait_for(2)
        running.wake()
        eventually(lambda: anchor.read() is not None)
        w1.stop()
        grow(sqlite_adapter)
        ours.witnessing.wake()
        running.wake()
        time.sleep(1.2)
        held = anchor.read()
        assert size_in(sqlite_adapter, held) == 2
        assert len(signature_lines(held or "")) == 2
        w1.start()


def _log(*anchors: Anchor, witnesses: tuple[Witness, ...] = ()) -> Log:
    return Log(
        key_uri="file:log.key",
        passphrase_file=None,
        origin="log.test/ledger",
        former_keys=(),
        public=False,
        witnesses=witnesses,
        anchors=anchors,
    )


def _file(file: Path) -> Anchor:
    return Anchor(file=file, url=None, ca_file=None)


def _url(url: str, ca_file: Path | None = None) -> Anchor:
    return Anchor(file=None, url=url, ca_file=ca_file)


def test_a_start_compares_with_the_anchors(adapter: Adapter, tmp_path: Path, url: Place) -> None:
    """A ledger that is as its anchors know it may start, also where they know less or nothing."""
    file, log = tmp_path / "checkpoint", adapter.log()
    anchors = _log(_file(file), _url(url.url))
    check_anchors(anchors, log, adapter.keys)
    older = grow(adapter, 3)
    file.write_text(older)
    url.body = grow(adapter, 2).encode()
    check_anchors(anchors, log, adapter.keys)


@pytest.mark.parametrize("entries", [2, 9])
def test_a_start_is_refused(adapter: Adapter, tmp_path: Path, url: Place, entries: int) -> None:
    """A ledger that is older than an anchor, or not the one that it knows, must not be served."""
    grow(adapter, 3)
    file, log = tmp_path / "checkpoint", adapter.log()
    foreign = other_log(entries, adapter, tmp_path)
    message = (
        "older than its anchor: 3 entries, not 9"
        if entries > 3
        else "holds a checkpoint of other entries than the first 2 of this log"
    )
    file.write_text(foreign)
    url.body = foreign.encode()
    for anchors in (_log(_file(file)), _log(_url(url.url))):
        with pytest.raises(ConfigurationError, match=message):
            check_anchors(anchors, log, adapter.keys)


def test_a_start_with_anchors_that_say_nothing(sqlite_adapter: SqliteAdapter, tmp_path: Path, url: Place) -> None:
    """A file that cannot be read refuses the start; an address that does not answer does not."""
    grow(sqlite_adapter)
    url.failing = True
    check_anchors(_log(_url(url.url)), sqlite_adapter.log(), sqlite_adapter.keys)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        check_anchors(_log(_file(tmp_path / "folder")), sqlite_adapter.log(), sqlite_adapter.keys)


WITNESS = Cosigner("w", Ed25519PrivateKey.generate()).vkey


@pytest.mark.parametrize(
    ("settings_of", "problem"),
    [
        (lambda: _log(_url("http://anchor.example/x")), "anchors.0.url: must be https"),
        (lambda: _log(_url("https://a:b@anchor.example/x")), "no user name"),
        (lambda: _log(_url("http://127.0.0.1/x", Path("ca.crt"))), "caFile, which is for https"),
        (lambda: _log(witnesses=(_witness(WITNESS, "http://w.example"),)), "witnesses.0.url: must be https"),
        (lambda: _log(witnesses=(_witness(WITNESS, "https://w.example/?a=b"),)), "query"),
        (lambda: _log(witnesses=(_witness(new_keys()[0].signer.vkey, "https://w.example"),)), "cosignatures"),
        (lambda: _log(witnesses=(_witness(WITNESS, "https://w.example"),) * 2), "count twice"),
    ],
)
def test_settings_that_nobody_should_trust(settings_of: Callable[[], Log], problem: str) -> None:
    """An address that anybody could answer for, or a key that cannot cosign, must be refused at the start."""
    with pytest.raises(ConfigurationError, match=problem):
        check_settings(settings_of())


def test_settings_that_may_be_trusted() -> None:
    """HTTPS anywhere, and HTTP on this machine, are good."""
    check_settings(
        _log(
            _url("https://anchor.example/x", Path("ca.crt")),
            _url("http://[::1]:8080/x"),
            witnesses=(_witness(WITNESS, "https://w.example/prefix"),),
        )
    )


def _witness(key: str, url: str) -> Witness:
    return Witness(key=key, url=url, ca_file=None, required=True)


def _faults(fault: str) -> float:
    return REGISTRY.get_sample_value("kubemint_anchor_faults_total", {"fault": fault}) or 0.0
