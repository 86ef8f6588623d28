"""Rounds of witnesses over a ledger: who waits, for what, for how long, and what is kept of it."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kubemint.errors import LedgerUnavailable, NotFound
from kubemint.ledger.log import LedgerLog
from kubemint.ledger.reader import Filter, LedgerReader, State
from kubemint.ledger.rows import RequestState
from kubemint.transparency.checkpoint import open_cosignature, signature_lines
from kubemint.transparency.receipt import verify_receipt
from kubemint.transparency.tiles import Tile
from kubemint.witnesses.reading import WitnessedLog, WitnessedReader
from kubemint.witnesses.witness import Fault
from ledger.adapters import Adapter, SqliteAdapter
from ledger.events import NOW, answered, issued, refused, requested
from witnesses.watching import HURRIED, Watched, change_a_leaf, eventually, watched, witness_faults
from witnesses.witness import Handler, TestWitness, saying


def record(adapter: Adapter, *serials: int) -> int:
    """Record a certificate for each serial number; give the number of entries."""
    recorded = [adapter.open().append(issued(serial)) for serial in serials]
    return recorded[-1].entry.index + 1


def assert_witnessed(note: str, adapter: Adapter, size: int, *witnesses: TestWitness) -> None:
    """Check that a checkpoint of this size has exactly the lines of the log and of these witnesses."""
    assert adapter.keys.open(note).size == size
    for one in witnesses:
        open_cosignature(note, one.cosigner.verifier)
    assert len(signature_lines(note)) == 1 + len(witnesses)


def test_who_waits_gets_a_receipt_that_all_required_witnesses_signed(
    adapter: Adapter, w1: TestWitness, w2: TestWitness
) -> None:
    """A receipt must prove the entry in one checkpoint that the log and every required witness have signed."""
    with watched(adapter, w1, w2) as ours:
        for serial in range(1, 6):
            size = record(adapter, serial)
            ours.witnessing.wake()
            receipt = ours.public.receipt(size - 1)
            verify_receipt(receipt, adapter.keys.signer.verifier, issued(serial).body)
            assert_witnessed(receipt.checkpoint, adapter, size, w1, w2)
        assert_witnessed(ours.public.checkpoint(), adapter, 5, w1, w2)
        assert ours.announced


def test_what_is_not_witnessed_is_not_shown(adapter: Adapter, w1: TestWitness) -> None:
    """Beyond what required witnesses have seen, the log and the lists must end for everybody."""
    with watched(adapter, w1) as ours:
        seen = record(adapter, 1)
        ours.witnessing.wait_for(seen)
        w1.stop()
        ledger = adapter.open()
        ledger.append(requested("r1"))
        ledger.append(refused())
        ledger.append(answered("r1", 2))
        assert ours.log.head()[1].size == 4
        assert ours.public.size() == ours.public.head()[1].size == 1
        with pytest.raises(NotFound):
            ours.public.inclusion(3, None)
        with pytest.raises(NotFound):
            ours.public.consistency(1, 4)
        assert ours.public.tile(Tile(0, 0, 1)) is not None
        assert ours.public.tile(Tile(0, 0, 2)) is None
        assert ours.public.bundle(0, 1) is not None
        assert ours.public.bundle(0, 4) is None
        assert [entry.index for entry in ours.reader.page(Filter(), NOW, limit=9).entries] == [0]
        assert ours.reader.page(Filter(state=State.REFUSED), NOW, limit=9).entries == ()
        assert ours.reader.find_by_serial("01") is not None
        assert ours.reader.find_by_serial("03") is None
        assert ours.reader.requests(limit=9).requests == ()
        assert ours.reader.requests(RequestState.ISSUED, limit=9).requests == ()
        for hidden in (
            lambda: ours.reader.find_by_serial("02"),
            lambda: ours.reader.find_by_credential_id(answered("r1", 2).fields["credentialId"]),
            lambda: ours.reader.find_request("r1"),
            lambda: ours.public.receipt(3),
        ):
            with pytest.raises(LedgerUnavailable):
                hidden()
        w1.start()
        eventually(lambda: ours.public.size() == 4)
        assert ours.reader.find_by_serial("02") is not None
        assert ours.reader.find_request("r1") is not None
        assert len(ours.reader.requests(RequestState.ISSUED, limit=9).requests) == 1
        assert len(ours.reader.page(Filter(state=State.REFUSED), NOW, limit=9).entries) == 1
        assert ours.public.bundle(0, 4) is not None
        assert ours.public.tile(Tile(0, 0, 4)) is not None


def test_requests_that_wait_are_shown_while_a_witness_is_away(adapter: Adapter, w1: TestWitness) -> None:
    """Operators must see what waits for them, and of a user's certificates the last one that is witnessed."""
    with watched(adapter, w1) as ours:
        ours.witnessing.wait_for(record(adapter, 1))
        w1.stop()
        ledger = adapter.open()
        ledger.append(requested("r1"))
        ledger.append(issued(2))
        ledger.append(requested("r2"))
        assert [one.entry.fields["request"] for one in ours.reader.requests(limit=9).requests] == ["r2", "r1"]
        first = ours.reader.requests(limit=1)
        assert ours.reader.requests(limit=1, before=first.next_before).requests[0].entry.index == 1
        assert ours.reader.find_request("r2") is not None
        user = issued(2).fields["user"]
        assert adapter.reader().latest_certificate_of(user).index == 2
        assert ours.reader.latest_certificate_of(user).index == 0
        assert ours.reader.latest_certificate_of("nobody") is None
        w1.start()
        ours.witnessing.wake()
        eventually(lambda: ours.reader.latest_certificate_of(user).index == 2)


def test_every_way_out_is_known() -> None:
    """A method that reads the ledger must be one that minds witnesses, or one that nobody outside can call."""
    assert _public(LedgerReader) - _public(WitnessedReader) == {
        "count",
        "entries",
        "find_by_key",
        "last_policy",
        "size",
    }
    assert _public(WitnessedReader) <= _public(LedgerReader)
    by_the_newest = {"checkpoint", "inclusion", "consistency"}  # all of them begin with `_newest`
    of_the_witnessed_row = {"witnessed"}
    inherited = _public(LedgerLog) - {name for name in vars(WitnessedLog) if not name.startswith("_")}
    assert inherited == by_the_newest | of_the_witnessed_row


def test_without_a_first_cosignature_there_is_no_checkpoint(
    sqlite_adapter: SqliteAdapter, w1: TestWitness
) -> None:
    """While no checkpoint has all required cosignatures, none is shown."""
    w1.stop()
    record(sqlite_adapter, 1)
    with watched(sqlite_adapter, w1) as ours:
        for shown in (ours.public.checkpoint, lambda: ours.reader.page(Filter(), NOW, limit=9)):
            with pytest.raises(LedgerUnavailable):
                shown()


def test_all_who_wait_share_a_round(sqlite_adapter: SqliteAdapter, w1: TestWitness) -> None:
    """Sixteen who wait at once must cost a few requests, of which no two are at once."""
    size = record(sqlite_adapter, *range(1, 17))
    with watched(sqlite_adapter, w1) as ours, ThreadPoolExecutor(16) as pool:
        waits = [pool.submit(ours.witnessing.wait_for, count) for count in range(1, size + 1)]
        assert [wait.result() for wait in waits] == [None] * 16
    assert len(w1.requests) <= 3
    assert w1.most_at_once == 1


def test_a_witness_that_fails_holds_nobody_up_for_long(sqlite_adapter: SqliteAdapter, w1: TestWitness) -> None:
    """Who waits while a required witness fails is refused, who comes later at once, until it cosigns again."""
    before = witness_faults(w1.cosigner.name, "unreachable")
    with watched(sqlite_adapter, w1) as ours:
        ours.witnessing.check()
        w1.stop()
        size = record(sqlite_adapter, 1)
        with pytest.raises(LedgerUnavailable, match="does not cosign"):
            ours.witnessing.wait_for(size)
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(LedgerUnavailable):
                ours.witnessing.wait_for(size)
        with pytest.raises(LedgerUnavailable):
            ours.witnessing.check()
        assert time.monotonic() - began < 1
        assert witness_faults(w1.cosigner.name, "unreachable") > before
        assert ours.witnessing.problem() is None  # it is not the log that is wrong
        w1.start()
        eventually(lambda: ours.witnessing.has_covered(size))  # by itself, as nobody asks
        ours.witnessing.check()
        ours.witnessing.wait_for(size)


def test_a_log_that_contradicts_itself_is_no_fault_of_its_witness(
    sqlite_adapter: SqliteAdapter, w1: TestWitness, caplog: pytest.LogCaptureFixture
) -> None:
    """A ledger that gives no proof must be told of as what it is: an alarm, counted for no witness."""
    before = [witness_faults(w1.cosigner.name, fault.value) for fault in Fault]
    with watched(sqlite_adapter, w1) as ours:
        ours.witnessing.wait_for(record(sqlite_adapter, 1, 2, 3))
        size = record(sqlite_adapter, 4, 5)
        change_a_leaf(sqlite_adapter, 1)
        with pytest.raises(LedgerUnavailable):
            ours.witnessing.wait_for(size)
        eventually(lambda: [one for one in caplog.records if "ALARM: the log contradicts itself" in one.message])
        assert [witness_faults(w1.cosigner.name, fault.value) for fault in Fault] == before
        assert ours.public.size() == 3


def test_a_witness_that_hangs_is_waited_for_so_long(sqlite_adapter: SqliteAdapter, w1: TestWitness) -> None:
    """A witness that takes a request and never answers must cost who waits a bounded time."""
    w1.answer = lambda *_: w1.release.wait(10) and None
    size = record(sqlite_adapter, 1)
    with watched(sqlite_adapter, w1) as ours:
        began = time.monotonic()
        with pytest.raises(LedgerUnavailable):
            ours.witnessing.wait_for(size)
        assert time.monotonic() - began < HURRIED.wait + 0.5
        w1.release.set()


def test_one_of_two_required_is_not_enough(
    sqlite_adapter: SqliteAdapter, w1: TestWitness, w2: TestWitness
) -> None:
    """While one of two required witnesses refuses, nothing new is witnessed, and what was stays."""
    with watched(sqlite_adapter, w1, w2) as ours:
        ours.witnessing.wait_for(record(sqlite_adapter, 1))
        w2.answer = saying(500)
        size = record(sqlite_adapter, 2)
        with pytest.raises(LedgerUnavailable, match="w2"):
            ours.witnessing.wait_for(size)
        assert_witnessed(ours.public.checkpoint(), sqlite_adapter, 1, w1, w2)
        w2.answer = None
        eventually(lambda: ours.witnessing.has_covered(size))
        assert_witnessed(ours.public.checkpoint(), sqlite_adapter, 2, w1, w2)


def test_optional_witnesses_are_waited_for_by_nobody(
    sqlite_adapter: SqliteAdapter, w1: TestWitness, w2: TestWitness
) -> None:
    """What an optional witness signs is shown with the checkpoint of its size, and with no other."""
    with watched(sqlite_adapter, optional=(w1, w2)) as ours:
        w2.stop()
        record(sqlite_adapter, 1)
        ours.witnessing.wake()
        ours.witnessing.check()
        eventually(lambda: len(signature_lines(ours.log.checkpoint())) == 2)
        assert_witnessed(ours.log.checkpoint(), sqlite_adapter, 1, w1)
        w1.stop()
        record(sqlite_adapter, 2)
        assert_witnessed(ours.log.checkpoint(), sqlite_adapter, 2)
        w1.start()
        w2.start()
        eventually(lambda: len(signature_lines(ours.log.checkpoint())) == 3)
        assert_witnessed(ours.log.checkpoint(), sqlite_adapter, 2, w1, w2)


def test_an_optional_witness_holds_up_no_required_one(
    sqlite_adapter: SqliteAdapter, w1: TestWitness, w2: TestWitness
) -> None:
    """While an optional witness hangs, the required one is asked for each new checkpoint."""
    w2.answer = lambda *_: w2.release.wait(10) and None
    with watched(sqlite_adapter, w1, optional=(w2,)) as ours:
        for serial in range(1, 6):
            began = time.monotonic()
            ours.witnessing.wait_for(record(sqlite_adapter, serial))
            assert time.monotonic() - began < HURRIED.request
        assert w2.most_at_once == 1
        w2.release.set()


def test_an_optional_witness_that_was_busy_sees_the_newest(
    sqlite_adapter: SqliteAdapter, w1: TestWitness, w2: TestWitness
) -> None:
    """A slow witness is shown what came while it was busy, though nothing comes after that."""

    def answer_slowly(handler: Handler, body: str) -> None:
        time.sleep(HURRIED.request / 2)
        w2.add_checkpoint(handler, body)

    w2.answer = answer_slowly
    with watched(sqlite_adapter, w1, optional=(w2,)) as ours:
        for serial in range(1, 4):
            ours.witnessing.wait_for(record(sqlite_adapter, serial))
        eventually(lambda: len(signature_lines(ours.public.checkpoint())) == 3)
        assert_witnessed(ours.public.checkpoint(), sqlite_adapter, 3, w1, w2)


def test_processes_share_what_one_has_got(adapter: Adapter, w1: TestWitness) -> None:
    """What a witness gave one process must let those wait no longer who ask another, and races are no alarm."""
    with watched(adapter, w1) as one, watched(adapter, w1) as two:
        size = record(adapter, 1)
        one.witnessing.wait_for(size)
        two.witnessing.wait_for(size)
        for serial in range(2, 12):
            size = record(adapter, serial)
            with ThreadPoolExecutor(2) as pool:
                waits = [pool.submit(ours.witnessing.wait_for, size) for ours in (one, two)]
                assert [wait.result() for wait in waits] == [None, None]
        assert one.public.size() == two.public.size() == 11
        assert one.witnessing.problem() is two.witnessing.problem() is None
        assert w1.size("log.test/ledger") == 11


def test_an_old_copy_is_found_before_anything_is_issued(
    sqlite_adapter: SqliteAdapter, w1: TestWitness, tmp_path: Path
) -> None:
    """A ledger that lost entries, and all traces of them, must be an alarm at the first look, and stay one."""
    record(sqlite_adapter, 1)
    with watched(sqlite_adapter, w1) as ours:
        ours.witnessing.wait_for(1)
        backup = _copy(sqlite_adapter.file, tmp_path / "backup.db")
        ours.witnessing.wait_for(record(sqlite_adapter, 2, 3))
    before = witness_faults(w1.cosigner.name, "log-older")
    _copy(backup, sqlite_adapter.file)
    with watched(sqlite_adapter, w1) as ours:
        eventually(lambda: ours.witnessing.problem() == "log-older-than-witness")
        with pytest.raises(LedgerUnavailable, match="knows 3 entries, not 1"):
            ours.witnessing.check()
        assert witness_faults(w1.cosigner.name, "log-older") > before
        _keeps(ours, "log-older-than-witness")
        record(sqlite_adapter, 4, 5, 6)  # what is added to an old copy does not make it the log
        ours.witnessing.wake()
        eventually(lambda: ours.witnessing.problem() == "log-differs-from-witness")
        _keeps(ours, "log-differs-from-witness")
        with pytest.raises(LedgerUnavailable):
            ours.witnessing.wait_for(4)


def test_an_optional_witness_sounds_the_alarm_too(
    sqlite_adapter: SqliteAdapter, w1: TestWitness, tmp_path: Path
) -> None:
    """An old copy is told of by a witness that nobody waits for, and does not stop the issuing by itself."""
    record(sqlite_adapter, 1)
    backup = _copy(sqlite_adapter.file, tmp_path / "backup.db")
    with watched(sqlite_adapter, optional=(w1,)) as ours:
        record(sqlite_adapter, 2)
        ours.witnessing.wake()
        eventually(lambda: w1.size("log.test/ledger") == 2)
    _copy(backup, sqlite_adapter.file)
    with watched(sqlite_adapter, optional=(w1,)) as ours:
        eventually(lambda: ours.witnessing.problem() == "log-older-than-witness")
        ours.witnessing.check()


def test_what_somebody_wrote_into_the_row_is_not_believed(sqlite_adapter: SqliteAdapter, w1: TestWitness) -> None:
    """The row of the witnessed checkpoint, written by whoever has the database, must deceive nobody."""
    with watched(sqlite_adapter, w1) as ours:
        ours.witnessing.wait_for(record(sqlite_adapter, 1))
        w1.stop()
        size = record(sqlite_adapter, 2)
        note, _ = ours.log.head()
        for forged in (note, note.replace("\n2\n", "\n1\n"), "garbage", note * 2):
            with closing(sqlite3.connect(sqlite_adapter.file, isolation_level=None)) as connection:
                connection.execute("UPDATE witnessed SET size = 2, checkpoint = ?", (forged,))
            with pytest.raises(LedgerUnavailable):
                ours.witnessing.wait_for(size)
            with pytest.raises(LedgerUnavailable):
                ours.public.checkpoint()
            assert signature_lines(ours.log.checkpoint()) == signature_lines(note)
        w1.start()
        eventually(lambda: ours.witnessing.has_covered(size))
        assert_witnessed(ours.public.checkpoint(), sqlite_adapter, 2, w1)


def test_an_empty_log_is_not_shown_to_witnesses(sqlite_adapter: SqliteAdapter, w1: TestWitness) -> None:
    """Of no entries there is nothing to be seen."""
    with watched(sqlite_adapter, w1) as ours:
        time.sleep(0.3)
        assert w1.requests == []
        ours.witnessing.wait_for(record(sqlite_adapter, 1))


def test_what_another_process_got_is_given_while_ours_pauses(
    sqlite_adapter: SqliteAdapter, w1: TestWitness
) -> None:
    """A process whose own witness failed just now must not refuse what is on record as witnessed."""
    with watched(sqlite_adapter, w1, times=replace(HURRIED, poll=60.0, pause=60.0, pause_max=60.0)) as ours:
        ours.witnessing.check()
        w1.stop()
        size = record(sqlite_adapter, 1)
        with pytest.raises(LedgerUnavailable, match="does not cosign"):
            ours.witnessing.wait_for(size)
        w1.start()
        with watched(sqlite_adapter, w1) as other:
            other.witnessing.wait_for(size)
        ours.witnessing.wait_for(size)


def test_a_new_required_witness_signs_what_the_old_one_has(
    sqlite_adapter: SqliteAdapter, w1: TestWitness, w2: TestWitness
) -> None:
    """A witness that becomes required counts from the next round on, and the other's line is not lost."""
    size = record(sqlite_adapter, 1)
    with watched(sqlite_adapter, w1) as ours:
        ours.witnessing.wait_for(size)
    with watched(sqlite_adapter, w1, w2) as ours:
        ours.witnessing.wait_for(size)
        assert_witnessed(ours.public.checkpoint(), sqlite_adapter, size, w1, w2)


def test_restarts_do_not_pile_up_lines(sqlite_adapter: SqliteAdapter, w1: TestWitness) -> None:
    """A checkpoint that is cosigned again and again has one line of the witness."""
    size = record(sqlite_adapter, 1)
    for count in range(1, 5):
        with watched(sqlite_adapter, w1) as ours:
            ours.witnessing.wait_for(size)
            eventually(lambda count=count: w1.statuses.count(200) >= count)
            time.sleep(0.05)
            assert_witnessed(ours.public.checkpoint(), sqlite_adapter, size, w1)


def _public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def _keeps(ours: Watched, problem: str) -> None:
    end = time.monotonic() + 0.8
    while time.monotonic() < end:
        assert ours.witnessing.problem() == problem
        time.sleep(0.01)


def _copy(source: Path, target: Path) -> Path:
    """Put a copy in the place of a database, as its administrator could; give the copy."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
    return target
