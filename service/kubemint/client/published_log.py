"""The log as the service publishes it over HTTP: C2SP tlog-tiles below /v1/log. Nothing of it is verified here."""

from collections.abc import Sequence

from kubemint.client.connection import ServiceConnection
from kubemint.errors import InvalidProof
from kubemint.transparency.tiles import Tile, decode_entries, entries_path, tile_path


class PublishedLog:
    """Reads checkpoint, tiles and entries. Raises as `ServiceConnection.get` does."""

    def __init__(self, connection: ServiceConnection) -> None:
        self._connection = connection

    def checkpoint(self) -> str:
        """Give the newest checkpoint, a note whose signatures nobody has looked at.

        Raises:
            InvalidProof: it is no text.
        """
        try:
            return self._connection.get_octets("/v1/log/checkpoint").decode()
        except UnicodeDecodeError:
            raise InvalidProof("the checkpoint is not UTF-8") from None

    def tile(self, tile: Tile) -> bytes:
        """Give the hashes of a tile."""
        return self._connection.get_octets(f"/v1/log/tile/{tile_path(tile)}")

    def bundle(self, index: int, width: int) -> Sequence[bytes]:
        """Give the entries of a bundle.

        Raises:
            InvalidProof: it is none.
        """
        return decode_entries(self._connection.get_octets(f"/v1/log/tile/{entries_path(index, width)}"))
