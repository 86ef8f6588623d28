"""Somebody who knows a service's address and the key of its log, and believes nothing else that it says."""

from collections.abc import Sequence
from pathlib import Path

from contract.contract_file import check_answer
from kubemint.transparency.checkpoint import Checkpoint, NoteVerifier, open_checkpoint
from kubemint.transparency.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    decode_entries,
    entries_path,
    full_tiles_between,
    nodes_from_tiles,
    partial_width,
    tile_path,
)
from kubemint.transparency.tree import Nodes, leaf_hash, root
from running_service import Answer, RunningService

LOG = "/v1/log"


class Stranger:
    """Reads a log over HTTP; each answer is held to the contract. `token` is shown where the log is not public."""

    def __init__(self, service: RunningService, log_key: NoteVerifier, token: str | None = None) -> None:
        self._service = service
        self._log_key = log_key
        self._token = token

    def get(self, path: str, **headers: str) -> Answer:
        """Ask for something below the log's prefix."""
        answer = self._service.call("GET", f"{LOG}/{path}", token=self._token, headers=headers)
        check_answer(answer, "GET", f"{LOG}/{path.partition('?')[0]}")
        return answer

    def octets(self, path: str) -> bytes:
        """Get what must be there."""
        answer = self.get(path)
        assert answer.status == 200, answer.text
        return answer.body

    def checkpoint(self) -> Checkpoint:
        """Get the newest checkpoint; it must be signed by the log."""
        return open_checkpoint(self.octets("checkpoint").decode(), self._log_key)

    def nodes(self, size: int) -> Nodes:
        """Give the subtrees of a tree out of the tiles that the service has; each is downloaded once at most."""
        return nodes_from_tiles(lambda tile: self.octets(f"tile/{tile_path(tile)}"), size)

    def bodies(self, size: int) -> list[bytes]:
        """Download all entries."""
        found: list[bytes] = []
        while (start := len(found)) < size:
            width = min(TILE_WIDTH, size - start)
            found += decode_entries(self.octets(f"tile/{entries_path(start // TILE_WIDTH, width)}"))
        return found

    def check(self, checkpoint: Checkpoint) -> Sequence[bytes]:
        """Fail unless tiles and entries are those of a checkpoint; give the entries."""
        node = self.nodes(checkpoint.size)
        assert root(checkpoint.size, node) == checkpoint.root
        bodies = self.bodies(checkpoint.size)
        assert [leaf_hash(body) for body in bodies] == [node(0, index) for index in range(checkpoint.size)]
        return bodies

    def download(self, directory: Path) -> Path:
        """Keep the log of now in files, laid out as its paths are."""
        note = self.octets("checkpoint")
        size = open_checkpoint(note.decode(), self._log_key).size
        paths = [f"tile/{tile_path(tile)}" for tile in full_tiles_between(0, size)]
        paths += [f"tile/{entries_path(number)}" for number in range(size // TILE_WIDTH)]
        for level in range((size.bit_length() - 1) // TILE_HEIGHT + 1):
            if (width := partial_width(level, size)) > 0:
                paths.append(f"tile/{tile_path(Tile(level, size >> TILE_HEIGHT * (level + 1), width))}")
        if (width := partial_width(0, size)) > 0:
            paths.append(f"tile/{entries_path(size // TILE_WIDTH, width)}")
        for path, octets in [("checkpoint", note), *((path, self.octets(path)) for path in paths)]:
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(octets)
        return directory
