"""A set of a million digests in a few megabytes: what is in it is found at once, however much there is.

Only the first eight octets of a digest are kept, in one array (open addressing). Digests are uniform, so one
that is not in the set is taken for one that is with a chance of the set's size in 2**64. Who asks confirms a hit,
or turns somebody away at that chance.
Serial numbers are drawn at random, and serve as well.
"""

import sys
from array import array
from collections.abc import Iterable
from typing import Final

FINGERPRINT_OCTETS: Final = 8
_LOAD_MAX: Final = 0.6  # fuller, and a look at a free place gets rare
_FIRST_PLACES: Final = 1024
_FREE: Final = 0
_INSTEAD_OF_FREE: Final = 1


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
        """Add digests. Nothing is called for each of them: at a start there may be millions."""
        wanted = array("Q", b"".join([_beginning(digest) for digest in digests]))
        if sys.byteorder == "little":
            wanted.byteswap()
        places = len(self._places)
        while self._count + len(wanted) > places * _LOAD_MAX:
            places *= 2
        if places != len(self._places):
            self._grow(places)
        self._count += _put(self._places, wanted)

    def _grow(self, count: int) -> None:
        places = array("Q", bytes(count * FINGERPRINT_OCTETS))
        _put(places, filter(None, self._places))
        self._places = places


def _put(places: "array[int]", fingerprints: Iterable[int]) -> int:
    """Put fingerprints into their places; tell how many were new."""
    mask, new = len(places) - 1, 0
    for fingerprint in fingerprints:
        wanted = fingerprint or _INSTEAD_OF_FREE
        place = wanted & mask
        while (found := places[place]) != _FREE and found != wanted:
            place = (place + 1) & mask
        if found == _FREE:
            places[place] = wanted
            new += 1
    return new


def _beginning(digest: bytes) -> bytes:
    return digest[:FINGERPRINT_OCTETS].rjust(FINGERPRINT_OCTETS, b"\0")


def _fingerprint(digest: bytes) -> int:
    return int.from_bytes(digest[:FINGERPRINT_OCTETS], "big") or _INSTEAD_OF_FREE
