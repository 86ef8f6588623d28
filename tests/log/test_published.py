"""The log as a stranger sees it: what a service publishes is verified with the log's key, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kubemint.ledger.verification import Known, verify_published
from kubemint.ledger.verify_findings import Finding, NotChecked
from kubemint.ledger.verify_tree import SeenCheckpoint, StoredEntry, StoredTile, TreeWalk
from kubemint.transparency.checkpoint import Checkpoint, NoteSigner
from kubemint.transparency.tiles import TILE_WIDTH, Tile, tile_root
from kubemint.transparency.tree import Frontier, grow, leaf_hash
from log.issuing import authority, issued
from log.record import AT_EDGE, EVENTS, IN_TILE, SIZE, flipped

SIGNER = NoteSigner("log.test/ledger", Ed25519PrivateKey.generate())
BODIES = tuple(event.body for event in EVENTS)
LARGE = TILE_WIDTH * TILE_WIDTH + 3  # fills a tile of level 1


@dataclass
class Publication:
    """A log that publishes whatever it is told to; keeps `kubemint.ledger.verification.PublishedLog`."""

    bodies: Sequence[bytes] = BODIES
    hashes: dict[Tile, bytes] = field(default_factory=dict)
    signed: str | None = None

    def checkpoint(self) -> str:
        """Give the checkpoint of these bodies, unless another was set."""
        frontier = grow(Frontier.empty(), list(map(leaf_hash, self.bodies))).frontier
        return self.signed or SIGNER.sign(_checkpoint(frontier).text)

    def tile(self, tile: Tile) -> bytes:
        """Give a tile of these bodies, unless another was set."""
        return self.hashes[tile] if tile in self.hashes else self._true_tile(tile)

    def bundle(self, index: int, width: int) -> Sequence[bytes]:
        """Give these bodies."""
        return self.bodies[index * TILE_WIDTH : index * TILE_WIDTH + width]

    def _true_tile(self, tile: Tile) -> bytes:
        first = tile.index * TILE_WIDTH
        if tile.level == 0:
            return b"".join(map(leaf_hash, self.bodies[first : first + tile.width]))
        below = (Tile(tile.level - 1, first + one) for one in range(tile.width))
        return b"".join(map(tile_root, map(self._true_tile, below)))


def _checkpoint(frontier: Frontier) -> Checkpoint:
    return Checkpoint(origin=SIGNER.name, size=frontier.size, root=frontier.root())


def _known(*seen: Checkpoint, issuers: bool = True) -> Known:
    return Known(
        verifiers=(SIGNER.verifier,),
        issuers=(authority().certificate,) if issuers else (),
        seen=tuple(SeenCheckpoint(source="a friend", checkpoint=one) for one in seen),
    )


def _findings(log: Publication, *seen: Checkpoint) -> list[tuple[str, int | None]]:
    outcomes = verify_published(log, _known(*seen), progress=lambda *_: None)
    return [(one.code.value, one.index) for one in outcomes if isinstance(one, Finding)]


def _changed(index: int, body: bytes) -> tuple[bytes, ...]:
    return (*BODIES[:index], body, *BODIES[index + 1 :])


def test_a_sound_log() -> None:
    """Nothing is found in a log that fits its checkpoint, and what a stranger cannot see is told."""
    early = grow(Frontier.empty(), list(map(leaf_hash, BODIES[:7]))).frontier
    assert _findings(Publication(), _checkpoint(early)) == []
    outcomes = list(verify_published(Publication(), _known(issuers=False), progress=lambda *_: None))
    assert all(isinstance(one, NotChecked) for one in outcomes)
    assert len(outcomes) == 2


def test_an_empty_log() -> None:
    """A log without entries is in order."""
    assert _findings(Publication(bodies=())) == []


@pytest.mark.parametrize("index", [IN_TILE, AT_EDGE])
def test_an_entry_that_is_not_what_was_signed(index: int) -> None:
    """A changed entry leads to another root than the signed one."""
    signed = Publication().checkpoint()
    log = Publication(bodies=_changed(index, flipped(BODIES[index])), signed=signed)
    assert _findings(log)[-1][0] == "head-differs"


@pytest.mark.parametrize("index", [IN_TILE, AT_EDGE])
def test_an_entry_that_is_not_in_its_tile(index: int) -> None:
    """An entry that is given with another body than its tile has is found."""
    honest = Publication()
    tiles = {tile: honest.tile(tile) for tile in (Tile(0, 0), Tile(0, 1, SIZE % TILE_WIDTH))}
    log = Publication(bodies=_changed(index, flipped(BODIES[index])), hashes=tiles, signed=honest.checkpoint())
    found = _findings(log)
    assert (("entry-changed", index) if index == IN_TILE else ("tile-differs", None)) in found


@pytest.mark.parametrize("tile", [Tile(0, 1, SIZE % TILE_WIDTH), Tile(1, 0, 1)])
def test_a_tile_of_the_edge(tile: Tile) -> None:
    """A partial tile that is not that of the entries below it is found, on every level."""
    log = Publication(hashes={tile: flipped(Publication().tile(tile))})
    assert _findings(log) == [("tile-differs", None)]


@pytest.mark.parametrize("octets", [b"", b"x" * 8191])
def test_a_tile_of_another_length(octets: bytes) -> None:
    """What is no tile is found, and read no further."""
    assert _findings(Publication(hashes={Tile(0, 0): octets})) == [("tile-differs", None)]


def test_entries_that_are_kept_back() -> None:
    """A bundle with fewer entries than the log has is found."""
    log = Publication(bodies=BODIES[:-1], signed=Publication().checkpoint())
    assert ("entry-missing", SIZE - 1) in _findings(log)


def test_a_log_that_was_rewritten() -> None:
    """A log that is signed and fits together, and is not the one that was seen, is found."""
    seen = grow(Frontier.empty(), list(map(leaf_hash, BODIES))).frontier
    log = Publication(bodies=_changed(IN_TILE, issued(7).body))
    assert _findings(log) == []
    assert _findings(log, _checkpoint(seen)) == [("history-rewritten", None)]


def test_a_log_that_was_cut() -> None:
    """A log that is smaller than it was seen is found."""
    seen = grow(Frontier.empty(), list(map(leaf_hash, BODIES))).frontier
    assert _findings(Publication(bodies=BODIES[:-1]), _checkpoint(seen)) == [("checkpoint-older", None)]


def test_a_log_of_another_key() -> None:
    """A log that another key signed is not looked at."""
    other = NoteSigner(SIGNER.name, Ed25519PrivateKey.generate())
    log = Publication(signed=other.sign(Checkpoint(origin=other.name, size=0, root=bytes(32)).text))
    assert _findings(log) == [("checkpoint-unsigned", None)]


def test_tiles_above_others() -> None:
    """A tile of the second level is compared with what the first leads to, and one that is lost is missed."""
    hashes = [leaf_hash(b"%d" % number) for number in range(LARGE)]
    entries = [StoredEntry(index=index, body=b"%d" % index) for index in range(LARGE)]
    low = {
        Tile(0, number): b"".join(hashes[number * TILE_WIDTH : (number + 1) * TILE_WIDTH])
        for number in range(TILE_WIDTH)
    }
    high = b"".join(map(tile_root, low.values()))
    for stored, expected in ((high, []), (flipped(high), ["tile-differs"]), (None, ["tile-missing"])):
        tiles = {tile: StoredTile(hashes=octets) for tile, octets in low.items()}
        if stored is not None:
            tiles[Tile(1, 0)] = StoredTile(hashes=stored)
        walk, found = TreeWalk(LARGE, ()), []
        for number in range(LARGE // TILE_WIDTH + 1):
            bundle = entries[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]
            found += [one.code.value for one in walk.add(number, bundle, tiles.get)]
        assert found == expected
        assert walk.frontier == grow(Frontier.empty(), hashes).frontier
        assert [tile for tile, _ in walk.edge()] == [Tile(0, TILE_WIDTH, 3), Tile(2, 0, 1)]


def test_checkpoints_at_every_size() -> None:
    """A checkpoint of any size is compared, wherever in a bundle it was made."""
    sizes = [0, 1, 2, TILE_WIDTH - 1, TILE_WIDTH, TILE_WIDTH + 1, SIZE]
    seen = [_checkpoint(grow(Frontier.empty(), list(map(leaf_hash, BODIES[:size]))).frontier) for size in sizes]
    assert _findings(Publication(), *seen) == []
    for one in seen:
        assert _findings(Publication(), replace(one, root=flipped(one.root))) == [("history-rewritten", None)]
