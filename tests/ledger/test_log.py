"""The ledger as a transparency log, on every database: what it gives is right, and what is not is not given."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, update

from kubemint.errors import LedgerDamaged, LedgerUnavailable, NotFound
from kubemint.ledger import tables
from kubemint.ledger.log import LedgerLog
from kubemint.transparency.receipt import verify_receipt
from kubemint.transparency.tiles import TILE_WIDTH, Tile, decode_entries
from kubemint.transparency.tree import EMPTY_ROOT, leaf_hash, verify_consistency, verify_inclusion
from ledger.adapters import Adapter, new_keys
from ledger.events import issued
from ledger.filling import bodies, fill, naive_root

SMALL = 11  # all pairs of sizes are few, and three subtrees are in it
SIZE = 2 * TILE_WIDTH + 5
BODIES = list(bodies(SIZE))
HASHES = [leaf_hash(body) for body in BODIES]
LAST_INDEX = 2**55 - 1  # of a tile in a tree of 2**63 leaves

Asking = Callable[[LedgerLog], object]


@pytest.fixture
def log(adapter: Adapter) -> LedgerLog:
    """Give a log of two full tiles and a partial one."""
    fill(adapter, SIZE)
    return adapter.log()


def test_every_width_of_every_tile(log: LedgerLog) -> None:
    """A tile of any width that the log has reached has the hashes of its place; a wider one is not there."""
    for index in (0, 1, 2):
        of_tile = HASHES[index * TILE_WIDTH : (index + 1) * TILE_WIDTH]
        for width in {1, 2, 3, 4, 5, 6, 7, 128, 255, TILE_WIDTH}:
            expected = b"".join(of_tile[:width]) if width <= len(of_tile) else None
            assert log.tile(Tile(0, index, width)) == expected, (index, width)
    roots = [naive_root(HASHES[start : start + TILE_WIDTH]) for start in (0, TILE_WIDTH)]
    assert log.tile(Tile(1, 0, 1)) == roots[0]
    assert log.tile(Tile(1, 0, 2)) == b"".join(roots)


def test_every_width_of_every_bundle(log: LedgerLog) -> None:
    """A bundle of any width that the log has reached has the entries of its place; a wider one is not there."""
    for index in (0, 1, 2):
        of_tile = BODIES[index * TILE_WIDTH : (index + 1) * TILE_WIDTH]
        for width in {1, 2, 4, 5, 6, 255, TILE_WIDTH}:
            found = log.bundle(index, width)
            if width <= len(of_tile):
                assert found is not None
                assert decode_entries(found) == tuple(of_tile[:width]), (index, width)
            else:
                assert found is None, (index, width)


@pytest.mark.parametrize(
    "tile", [Tile(0, 3), Tile(0, 3, 1), Tile(1, 0), Tile(1, 0, 3), Tile(1, 1, 1), Tile(2, 0, 1), Tile(63, 0, 1)]
)
def test_a_tile_that_is_not_there_yet(log: LedgerLog, tile: Tile) -> None:
    """Where the log has not grown that far there is no tile, of whatever level and width."""
    assert log.tile(tile) is None


@pytest.mark.parametrize("width", [1, 255, TILE_WIDTH])
def test_the_last_tile_that_could_ever_be(adapter: Adapter, width: int) -> None:
    """The highest index that a path can name is no error, and not there."""
    log = adapter.log()
    assert log.bundle(LAST_INDEX, width) is None
    for level in (0, 1, 63):
        assert log.tile(Tile(level, LAST_INDEX, width)) is None


def test_receipts_of_entries_old_and_new(adapter: Adapter, log: LedgerLog) -> None:
    """Each entry's receipt proves it in the tree of now, also after the tree has grown."""
    verifier = adapter.keys.signer.verifier
    for index in (0, 1, 255, 256, 511, 512, SIZE - 1):
        receipt = log.receipt(index)
        assert (receipt.index, receipt.extra) == (index, BODIES[index])
        assert verify_receipt(receipt, verifier, BODIES[index]).size == SIZE
    adapter.open().append(issued(1))
    assert verify_receipt(log.receipt(0), verifier, BODIES[0]).size == SIZE + 1
    assert verify_receipt(log.receipt(SIZE), verifier, issued(1).body).size == SIZE + 1


def test_inclusion_in_trees_of_all_sizes(adapter: Adapter) -> None:
    """Every entry is proven in the tree of every size that has it, with that tree's root."""
    fill(adapter, SMALL)
    log = adapter.log()
    for size in range(1, SMALL + 1):
        for index in range(size):
            leaf, proof, tree = log.inclusion(index, size)
            assert (leaf, tree.size, tree.root) == (HASHES[index], size, naive_root(HASHES[:size]))
            verify_inclusion(index, size, leaf, proof, naive_root(HASHES[:size]))
    assert log.inclusion(3, None) == log.inclusion(3, SMALL)


def test_consistency_of_all_sizes(adapter: Adapter) -> None:
    """Every tree is proven to begin with every smaller one, the empty one among them."""
    fill(adapter, SMALL)
    log = adapter.log()
    roots = [EMPTY_ROOT, *(naive_root(HASHES[:size]) for size in range(1, SMALL + 1))]
    for new_size in range(SMALL + 1):
        for old_size in range(new_size + 1):
            proof, old, new = log.consistency(old_size, new_size)
            assert (old.size, old.root) == (old_size, roots[old_size])
            assert (new.size, new.root) == (new_size, roots[new_size])
            verify_consistency(old_size, roots[old_size], new_size, roots[new_size], proof)
    assert log.consistency(3, None) == log.consistency(3, SMALL)


def test_proofs_across_tiles(log: LedgerLog) -> None:
    """Proofs are made of full tiles and partial ones alike."""
    for size in (1, 255, 256, 257, 511, 512, 513, SIZE):
        proof, old, new = log.consistency(size, None)
        verify_consistency(size, naive_root(HASHES[:size]), SIZE, naive_root(HASHES), proof)
        assert (old.root, new.root) == (naive_root(HASHES[:size]), naive_root(HASHES))
        leaf, proof, tree = log.inclusion(size - 1, size)
        verify_inclusion(size - 1, size, HASHES[size - 1], proof, naive_root(HASHES[:size]))
        assert (leaf, tree.root) == (HASHES[size - 1], naive_root(HASHES[:size]))


def test_an_empty_log(adapter: Adapter) -> None:
    """A log without entries has a signed checkpoint, no tile, and no proof but of itself."""
    log = adapter.log()
    signed = adapter.keys.open(log.checkpoint())
    assert (signed.size, signed.root) == (0, EMPTY_ROOT)
    assert (log.tile(Tile(0, 0, 1)), log.tile(Tile(0, 0)), log.bundle(0, 1)) == (None, None, None)
    assert log.consistency(0, 0)[0] == ()
    with pytest.raises(NotFound):
        log.receipt(0)


NOT_THERE: dict[str, Asking] = {
    "receipt of the next": lambda log: log.receipt(SIZE),
    "receipt before the first": lambda log: log.receipt(-1),
    "receipt of a huge index": lambda log: log.receipt(2**63 - 1),
    "inclusion of the next": lambda log: log.inclusion(SIZE, None),
    "inclusion before the first": lambda log: log.inclusion(-1, None),
    "inclusion in a smaller tree": lambda log: log.inclusion(5, 5),
    "inclusion in no tree": lambda log: log.inclusion(0, 0),
    "inclusion in the next tree": lambda log: log.inclusion(0, SIZE + 1),
    "inclusion in a tree of less than nothing": lambda log: log.inclusion(0, -1),
    "consistency with the next tree": lambda log: log.consistency(1, SIZE + 1),
    "consistency backwards": lambda log: log.consistency(6, 5),
    "consistency from beyond": lambda log: log.consistency(SIZE + 1, None),
    "consistency from less than nothing": lambda log: log.consistency(-1, None),
    "consistency to less than nothing": lambda log: log.consistency(0, -1),
}


def test_what_is_not_there_yet_is_not_found(log: LedgerLog) -> None:
    """An entry or a tree that the log has not is not found, which is no fault of the ledger."""
    for name, ask in NOT_THERE.items():
        with pytest.raises(NotFound):
            pytest.fail(f"{name}: {ask(log)}")


IN_FULL, IN_PARTIAL = 300, 2 * TILE_WIDTH + 1  # entries of a stored tile, and of one that is not
PROOFS: dict[str, Callable[[int], Asking]] = {
    "receipt": lambda index: lambda log: log.receipt(index),
    "inclusion": lambda index: lambda log: log.inclusion(index, None),
    "inclusion in a smaller tree": lambda index: lambda log: log.inclusion(index, SIZE - 1),
    "consistency": lambda index: lambda log: log.consistency(index + 1, None),
    "consistency of smaller trees": lambda index: lambda log: log.consistency(index + 1, SIZE - 1),
}
TAMPERINGS: dict[str, tuple[Any, int]] = {
    "a leaf hash": (
        update(tables.entries).where(tables.entries.c.index == IN_PARTIAL).values(leaf_hash=bytes(32)),
        IN_PARTIAL - 1,  # whose proofs need it; its own receipt has a body, and does not
    ),
    "a tile": (
        update(tables.tiles).where(tables.tiles.c.index == 1).values(hashes=bytes(32 * TILE_WIDTH)),
        IN_FULL,
    ),
    "no tiles": (delete(tables.tiles), IN_FULL),
    "a checkpoint": (update(tables.head).values(checkpoint="log.test/ledger\n1\nAAAA\n"), IN_FULL),
    "no head": (delete(tables.head), IN_FULL),
}


@pytest.mark.parametrize(("change", "index"), TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_what_was_changed_is_not_proven(adapter: Adapter, log: LedgerLog, change: Any, index: int) -> None:
    """Where somebody has changed the database, no proof is given of it: not even of a tree that nobody signed."""
    _tamper(adapter, change)
    for name, proof in PROOFS.items():
        with pytest.raises(LedgerUnavailable):
            pytest.fail(f"{name}: {proof(index)(log)}")


def test_an_entry_that_was_rewritten_has_no_receipt(adapter: Adapter, log: LedgerLog) -> None:
    """A body whose hash was left as it was is not given away as what was logged; other entries are."""
    _tamper(adapter, update(tables.entries).where(tables.entries.c.index == IN_FULL).values(body=b"{}"))
    with pytest.raises(LedgerUnavailable):
        log.receipt(IN_FULL)
    assert log.receipt(IN_FULL + 1).extra == BODIES[IN_FULL + 1]


@pytest.mark.parametrize("index", [IN_FULL, IN_PARTIAL], ids=["full", "partial"])
@pytest.mark.parametrize("is_consistent", [False, True], ids=["body alone", "with its hashes"])
def test_an_entry_that_was_rewritten_is_in_no_bundle(
    adapter: Adapter, log: LedgerLog, index: int, is_consistent: bool
) -> None:
    """No bundle of any width has a body that was not signed, even if its hashes were changed with it."""
    number, place = divmod(index, TILE_WIDTH)
    forged = b'{"kind":"refused","number":0}'
    values: dict[str, Any] = {"body": forged}
    if is_consistent:
        values["leaf_hash"] = leaf_hash(forged)
        hashes = [*HASHES[number * TILE_WIDTH : index], leaf_hash(forged), *HASHES[index + 1 :]][:TILE_WIDTH]
        tile = update(tables.tiles).where(tables.tiles.c.level == 0, tables.tiles.c.index == number)
        with adapter.engine.begin() as connection:
            connection.execute(tile.values(hashes=b"".join(hashes)))
    _tamper(adapter, update(tables.entries).where(tables.entries.c.index == index).values(**values))
    for width in (place + 1, min(TILE_WIDTH, SIZE - number * TILE_WIDTH)):
        with pytest.raises(LedgerDamaged):
            log.bundle(number, width)
    assert log.bundle(0, TILE_WIDTH) is not None


def test_a_log_that_another_key_signed(adapter: Adapter) -> None:
    """Nothing is proven in a log whose head is signed by a key that is not named."""
    fill(adapter, SMALL)
    adapter.keys = new_keys()[0]
    log = adapter.log()
    for name, proof in PROOFS.items():
        with pytest.raises(LedgerUnavailable):
            pytest.fail(f"{name}: {proof(3)(log)}")


def _tamper(adapter: Adapter, change: Any) -> None:
    """Change a row as the database's owner could, who can take the triggers away."""
    on = "" if adapter.engine.dialect.name == "sqlite" else " ON entries"
    adapter.execute(f"DROP TRIGGER entries_no_update{on}")
    with adapter.engine.begin() as connection:
        assert connection.execute(change).rowcount > 0
