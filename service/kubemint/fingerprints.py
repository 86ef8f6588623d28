"""A set of a million digests in a few megabytes: what is in it is found at once, however much there is.

Only the first eight octets of a digest are kept, in one array (open addressing). Digests are uniform, so one
that is not in the set is taken for one that is with a chance of the set's size in 2**64; who asks confirms a hit.
Serial numbers are drawn at random, and serve as well.
"""

from array import array
from collections.abc import Iterable
from typing import Final

FINGERPRINT_OCTETS: Final = 8
_LOAD_MAX: Final = 0.6  # fuller, and a look at a free place gets rare
_FIRST_PLACES: Final = 1024
_FREE: Final = 0


class Fingerprints:
    """A set that only grows; not for two threads that write. Reading goes on while it grows."""

    def __init__(self) -> None:
        self._places = array("Q", bytes(_FIRST_PLACES * FINGERPRINT_OCTETS))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, digest: bytes) -> bool:
        places = self._places  # one table for the whole look, whatever replaces it
        wanted, mask = _fingerprint(digest), len(places) - 1
        place = wanted & mask
        while (found := places[place]) != _FREE:
            if found == wanted:
                return True
            place = (place + 1) & mask
        return False

    @property
    def octets(self) -> int:
        """How much memory the table takes."""
        return len(self._places) * self._places.itemsize

    def update(self, digests: Iterable[bytes]) -> None:
        """Add digests of at least eight octets."""
        for digest in digests:
            if self._count + 1 > len(self._places) * _LOAD_MAX:
                self._grow()
            self._count += _put(self._places, _fingerprint(digest))

    def _grow(self) -> None:
        places = array("Q", bytes(len(self._places) * 2 * FINGERPRINT_OCTETS))
        for found in self._places:
            if found != _FREE:
                _put(places, found)
        self._places = places


def _put(places: "array[int]", wanted: int) -> bool:
    """Put a fingerprint into its place; false if it is there already."""
    mask = len(places) - 1
    place = wanted & mask
    while (found := places[place]) != _FREE:
        if found == wanted:
            return False
        place = (place + 1) & mask
    places[place] = wanted
    return True


def _fingerprint(digest: bytes) -> int:
    return int.from_bytes(digest[:FINGERPRINT_OCTETS], "big") or 1  # 0 means a free place
