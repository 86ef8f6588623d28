"""The tree that grows with each commit: it is right at every width, and goes on from no head but a signed one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from kubemint.errors import LedgerUnavailable
from kubemint.ledger import tables
from kubemint.ledger.batch import Batch
from kubemint.ledger.growing import Head, LogKeys, Sealer, unknown_signers
from kubemint.ledger.schema import migrate
from kubemint.ledger.statements import Statements
from kubemint.ledger.writer import LedgerWriter
from kubemint.record import Event
from kubemint.transparency.checkpoint import Checkpoint, NoteSigner
from kubemint.transparency.receipt import Receipt, parse_receipt, verify_receipt
from kubemint.transparency.tiles import ENTRY_MAX_OCTETS, TILE_WIDTH, decode_entries
from kubemint.transparency.tree import Frontier, grow, leaf_hash
from ledger.adapters import UNMIGRATED, Adapter, assert_sound, indexes, new_keys, stored
from ledger.events import issued, refused
from ledger.filling import bodies, entry_rows, fill, migrate_to, naive_root
from ledger.ways import unit

SIZE = 5  # two subtrees, as a tree of six entries has
OTHER_HASHES = [leaf_hash(body) for body in bodies(SIZE)]  # of entries that this ledger does not have
BATCH_SIZES = (1, 2, 128)

Tampering = Callable[[Adapter, Head], Head]


def _another_key(adapter: Adapter, head: Head) -> Head:
    return _sealed(OTHER_HASHES, new_keys()[0])


def _no_signature(adapter: Adapter, head: Head) -> Head:
    other = _sealed(OTHER_HASHES, adapter.keys)
    return replace(other, checkpoint=other.checkpoint.partition("\n\n")[0] + "\n")


def _another_name(adapter: Adapter, head: Head) -> Head:
    keys = LogKeys(NoteSigner("log.test/other", Ed25519PrivateKey.generate()))
    return _sealed(OTHER_HASHES, keys)


TAMPERINGS: dict[str, Tampering] = {
    "more entries": lambda _, head: replace(head, size=SIZE + 1),
    "fewer entries": lambda _, head: replace(head, size=SIZE - 2),
    "fewer than none": lambda _, head: replace(head, size=-1),
    "another frontier": lambda _, head: replace(head, frontier=bytes(32) + head.frontier[32:]),
    "half a frontier": lambda _, head: replace(head, frontier=head.frontier[:32]),
    "no frontier": lambda _, head: replace(head, frontier=b""),
    "no checkpoint": lambda _, head: replace(head, checkpoint=""),
    "half a checkpoint": lambda _, head: replace(head, checkpoint=head.checkpoint[:-9]),
    "a checkpoint of another size": lambda adapter, head: replace(
        head, checkpoint=Sealer(adapter.keys).seal(SIZE + 1, Frontier.decode(SIZE, head.frontier).root())
    ),
    "a checkpoint of another root": lambda adapter, head: replace(
        head, checkpoint=Sealer(adapter.keys).seal(SIZE, bytes(32))
    ),
    "all of it, signed by another key": _another_key,
    "all of it, signed under another name": _another_name,
    "all of it, signed by nobody": _no_signature,
}


@pytest.fixture(params=sorted(UNMIGRATED))
def unmigrated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    """Give a ledger of revision 0002, the last without a tree."""
    made = UNMIGRATED[request.param](tmp_path)
    migrate_to("0002", made.database().engine)
    yield made
    made.close()


def test_nothing_is_added_to_a_head_that_was_not_signed(adapter: Adapter) -> None:
    """Whatever is changed in the head, nothing is written, by who knows the ledger nor by who opens it anew."""
    ledger = adapter.open()
    for serial in range(1, SIZE + 1):
        ledger.append(issued(serial))
    good = _head(adapter)
    for name, tamper in TAMPERINGS.items():
        _put(adapter, tamper(adapter, good))
        for one in (ledger, adapter.open()):
            with pytest.raises(LedgerUnavailable):
                pytest.fail(f"added to {name}: {one.append(issued(100))}")
        assert indexes(adapter) == list(range(SIZE)), name
    _put(adapter, good)
    assert ledger.append(issued(100)).entry.index == SIZE
    assert_sound(adapter)


def test_a_ledger_that_went_backwards_is_refused(adapter: Adapter) -> None:
    """Who has seen the ledger longer adds nothing to an old head, though it was signed; nor does anybody else."""
    ledger, other = adapter.open(), adapter.open()
    ledger.append(issued(1))
    old = _head(adapter)
    ledger.append(issued(2))
    _put(adapter, old)
    with pytest.raises(LedgerUnavailable) as fault:
        ledger.append(issued(3))
    assert "old copy" in str(fault.value.__cause__)
    with pytest.raises(LedgerUnavailable):
        other.append(issued(3))  # there is an entry at this index
    assert indexes(adapter) == [0, 1]


def test_a_ledger_of_the_same_size_with_another_past_is_refused(adapter: Adapter) -> None:
    """Who has seen other entries than a signed head tells of adds nothing to it."""
    ledger = adapter.open()
    for serial in range(1, SIZE + 1):
        ledger.append(issued(serial))
    _put(adapter, _sealed(OTHER_HASHES, adapter.keys))
    with pytest.raises(LedgerUnavailable) as fault:
        ledger.append(issued(100))
    assert "others" in str(fault.value.__cause__)
    assert indexes(adapter) == list(range(SIZE))


def test_a_new_key_goes_on_where_a_former_one_signed(adapter: Adapter) -> None:
    """After a change of keys the ledger goes on if the former key is still named, and is refused if it is not."""
    adapter.open().append(issued(1))
    fresh = new_keys()[0].signer
    with pytest.raises(LedgerUnavailable):
        LedgerWriter(adapter.database(), LogKeys(fresh), lambda _: None).append(issued(2))
    keys = LogKeys(fresh, (new_keys()[0].signer.verifier, adapter.keys.signer.verifier))
    writer = LedgerWriter(adapter.database(), keys, lambda _: None)
    for size in (2, 3):
        receipt = writer.append(issued(size)).receipt
        assert receipt is not None
        assert verify_receipt(receipt, fresh.verifier, receipt.extra or b"").size == size
    with pytest.raises(LedgerUnavailable):
        adapter.open().append(issued(4))  # who has the former key alone
    adapter.keys = keys
    assert_sound(adapter)


@pytest.mark.parametrize("count", BATCH_SIZES)
def test_each_of_a_batch_gets_a_receipt(adapter: Adapter, count: int) -> None:
    """Every certificate of a commit gets a proof in the tree of that commit, whose extra is its entry."""
    fill(adapter, 3)
    events = [issued(serial) for serial in range(1, count + 1)]
    receipts = _receipts_of_a_batch(adapter, [*events, refused()])
    assert receipts.pop() is None  # a refusal has nobody who would keep one
    for index, (event, receipt) in enumerate(zip(events, receipts, strict=True), 3):
        assert receipt is not None
        assert (receipt.index, receipt.extra) == (index, event.body)
        assert parse_receipt(receipt.text) == receipt
        assert verify_receipt(receipt, adapter.keys.signer.verifier, event.body).size == 3 + count + 1
    assert_sound(adapter)


def test_what_is_asked_for_again_gets_the_receipt_of_its_own_commit(adapter: Adapter) -> None:
    """A repetition in the same commit gets the receipt of the first; a later one finds it in the log."""
    first, second = _receipts_of_a_batch(adapter, [issued(1, key="k"), issued(2, key="k")])
    assert first is not None
    assert first == second
    recorded = adapter.open().append(issued(3, key="k"))
    assert (recorded.repeated, recorded.receipt) == (True, None)
    assert adapter.log().receipt(recorded.entry.index) == first


@pytest.mark.parametrize("start", [254, 255, 256, 257])
def test_a_tile_fills(adapter: Adapter, start: int) -> None:
    """Around the width of a tile, each new entry has its proof, and the tile is there once it is full."""
    fill(adapter, start)
    ledger = adapter.open()
    for serial in (1, 2, 3):
        recorded = ledger.append(issued(serial))
        _check(adapter, recorded.receipt, start + serial)
    _receipts_of_a_batch(adapter, [issued(serial) for serial in range(10, 10 + TILE_WIDTH * 2)])
    assert_sound(adapter)


def test_a_tile_of_the_second_level_fills(adapter: Adapter) -> None:
    """Around 65,536 entries each one that is added has its proof, and the tree is what RFC 6962 says."""
    start = TILE_WIDTH * TILE_WIDTH - 2
    fill(adapter, start)
    ledger = adapter.open()
    for serial in range(1, 6):
        recorded = ledger.append(issued(serial))
        _check(adapter, recorded.receipt, start + serial)
    for receipt in _receipts_of_a_batch(adapter, [issued(serial) for serial in range(10, 138)]):
        _check(adapter, receipt, start + 5 + 128)
    _assert_whole(adapter)


def test_seventy_thousand_entries(adapter: Adapter) -> None:
    """A tree that is built of 70,000 entries has its tiles in both levels, and proves old and new entries."""
    size = 70_000
    fill(adapter, size)
    _assert_whole(adapter)
    log, verifier = adapter.log(), adapter.keys.signer.verifier
    for index in (0, 255, 256, 65_535, 65_536, size - 1):
        receipt = log.receipt(index)
        assert verify_receipt(receipt, verifier, next(bodies(1, index))).size == size


def test_the_longest_entry(adapter: Adapter) -> None:
    """An entry of 65,535 octets is recorded and served; one octet more is refused, and takes nothing with it."""
    ledger = adapter.open()
    kept = ledger.append(_of_octets(issued(1), ENTRY_MAX_OCTETS))
    _check(adapter, kept.receipt, 1)
    with pytest.raises(LedgerUnavailable) as fault:
        ledger.append(_of_octets(issued(2), ENTRY_MAX_OCTETS + 1))
    assert isinstance(fault.value.__cause__, ValueError)
    assert ledger.append(issued(3)).entry.index == 1
    bundle = adapter.log().bundle(0, 2)
    assert bundle is not None
    assert [len(body) for body in decode_entries(bundle)] == [ENTRY_MAX_OCTETS, len(issued(3).body)]
    assert_sound(adapter)


@pytest.mark.parametrize("count", [0, 1_000])
def test_a_ledger_without_a_tree_gets_one(unmigrated: Adapter, count: int) -> None:
    """A ledger of revision 0002 gets the tree of the entries that it has, a signed head, and goes on."""
    unmigrated.load(entry_rows(bodies(count)))
    unmigrated.execute(f"UPDATE head SET size = {count}")
    database = unmigrated.database()
    for _ in range(2):  # the second time there is nothing to do
        migrate(database, unmigrated.keys, sign_existing=True)
        signed = unmigrated.keys.open(_head(unmigrated).checkpoint)
        assert signed.size == count
    _check(unmigrated, unmigrated.open().append(issued(1)).receipt, count + 1)
    for index in range(0, count, 99):
        receipt = unmigrated.log().receipt(index)
        assert verify_receipt(receipt, unmigrated.keys.signer.verifier, next(bodies(1, index))).size == count + 1
    assert_sound(unmigrated)


def test_a_ledger_that_misses_an_entry_gets_no_tree(unmigrated: Adapter) -> None:
    """Where an entry is missing in a ledger of revision 0002, it is not signed as if it were whole."""
    unmigrated.load(list(entry_rows(bodies(5)))[:4])
    unmigrated.execute("UPDATE head SET size = 5")
    with pytest.raises(LedgerUnavailable):
        migrate(unmigrated.database(), unmigrated.keys, sign_existing=True)
    assert indexes(unmigrated) == [0, 1, 2, 3]


def test_a_head_that_lost_its_signature_is_not_signed_again(adapter: Adapter) -> None:
    """A start signs no head but that of a tree that it has built itself."""
    adapter.open().append(issued(1))
    _put(adapter, replace(_head(adapter), checkpoint=""))
    migrate(adapter.database(), adapter.keys)
    assert _head(adapter).checkpoint == ""
    with pytest.raises(LedgerUnavailable):
        adapter.open().append(issued(2))


def _receipts_of_a_batch(adapter: Adapter, events: Sequence[Event]) -> list[Receipt | None]:
    """Write events by one transaction; give what each of them gets."""
    database = adapter.database()
    with database.transaction() as cursor:
        batch = Batch(cursor, Statements(database.engine), Sealer(adapter.keys))
        recorded = [batch.take(unit(event)) for event in events]
        batch.write()
    return [batch.receipt_of(one) for one in recorded]


def _check(adapter: Adapter, receipt: Receipt | None, size: int) -> None:
    assert receipt is not None
    assert receipt.extra is not None
    assert verify_receipt(receipt, adapter.keys.signer.verifier, receipt.extra).size == size


def _assert_whole(adapter: Adapter) -> None:
    """Check the whole tree against its definition, and the tiles of both levels against the leaf hashes."""
    hashes = [bytes(row["leaf_hash"]) for row in stored(adapter, tables.entries)]
    head = _head(adapter)
    signed = adapter.keys.open(head.checkpoint)
    assert (head.size, signed.size, signed.root) == (len(hashes), len(hashes), naive_root(hashes))
    level = hashes
    expected: dict[tuple[int, int], tuple[bytes, bytes]] = {}
    for number in (0, 1):
        starts = range(0, len(level) - TILE_WIDTH + 1, TILE_WIDTH)
        full = [level[start : start + TILE_WIDTH] for start in starts]
        level = [naive_root(tile) for tile in full]
        expected |= {
            (number, index): (root, b"".join(tile))
            for index, (root, tile) in enumerate(zip(level, full, strict=True))
        }
    assert (1, 0) in expected
    found = {(row["level"], row["index"]): row for row in stored(adapter, tables.tiles)}
    assert {place: (bytes(row["root"]), bytes(row["hashes"])) for place, row in found.items()} == expected


def _of_octets(event: Event, octets: int) -> Event:
    """Give the event with a comment that makes its entry so long."""
    commented = replace(event, fields={**event.fields, "comment": ""})
    comment = "x" * (octets - len(commented.body))
    return replace(event, fields={**event.fields, "comment": comment})


def _sealed(hashes: Sequence[bytes], keys: LogKeys) -> Head:
    """Give the head of a ledger with these leaf hashes, signed."""
    growth = grow(Frontier.empty(), hashes)
    signed = Checkpoint(origin=keys.signer.name, size=len(hashes), root=growth.root)
    return Head(size=len(hashes), frontier=growth.frontier.encode(), checkpoint=keys.signer.sign(signed.text))


def _head(adapter: Adapter) -> Head:
    (row,) = stored(adapter, tables.head)
    return Head(size=row["size"], frontier=bytes(row["frontier"]), checkpoint=row["checkpoint"])


def _put(adapter: Adapter, head: Head) -> None:
    """Write a head as the database's owner could."""
    values = {"size": head.size, "frontier": head.frontier, "checkpoint": head.checkpoint}
    with adapter.engine.begin() as connection:
        connection.execute(update(tables.head).values(values))


def test_who_has_signed() -> None:
    """The keys that a note names under its log's own name are told, but not where one of them is known."""
    old, new, other = (
        NoteSigner(name, Ed25519PrivateKey.generate()) for name in ("log.test/a", "log.test/a", "log.test/b")
    )
    note = old.sign(Checkpoint(origin="log.test/a", size=0, root=bytes(32)).text)
    told = f"key {old.verifier.key_id.hex()} of 'log.test/a'"
    assert unknown_signers(note, [new.verifier]) == told
    assert unknown_signers(note, [new.verifier, old.verifier]) is None
    line = other.sign(note.partition("\n\n")[0] + "\n").splitlines()[-1]
    assert unknown_signers(f"{note}{line}\n", [new.verifier]) == told
    assert unknown_signers(other.sign("log.test/a\n0\n"), [new.verifier]) is None


@given(st.text() | st.builds("log.test/a\n\n— log.test/a {}\n".format, st.text()))
def test_who_has_signed_garbage(note: str) -> None:
    """Whatever stands in the place of a note, nothing is raised, and what is told has one line."""
    told = unknown_signers(note, ())
    assert told is None or told.isprintable()
