"""RFC 6962, section 2.1, word for word: slow, held whole, and plainly what the RFC says."""

import hashlib
from collections.abc import Sequence


def sha256(octets: bytes) -> bytes:
    """Hash octets."""
    return hashlib.sha256(octets).digest()


def bodies(size: int) -> list[bytes]:
    """Give entries, no two of them alike."""
    return [f"entry {index}".encode() for index in range(size)]


class NaiveTree:
    """All leaf hashes of a log, and what section 2.1 defines over them."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.leaf_hashes = [sha256(b"\x00" + entry) for entry in entries]
        self._known: dict[tuple[int, int], bytes] = {}

    def root(self, start: int, end: int) -> bytes:
        """Give MTH(D[start:end])."""
        if (start, end) not in self._known:
            self._known[start, end] = self._hash(start, end)
        return self._known[start, end]

    def node(self, level: int, index: int) -> bytes:
        """Give the root of a complete subtree."""
        return self.root(index << level, (index + 1) << level)

    def path(self, index: int, size: int, start: int = 0) -> list[bytes]:
        """Give PATH(index, D[start:start+size])."""
        if size == 1:
            return []
        k = split(size)
        if index < k:
            return [*self.path(index, k, start), self.root(start + k, start + size)]
        return [*self.path(index - k, size - k, start + k), self.root(start, start + k)]

    def proof(self, old_size: int, size: int) -> list[bytes]:
        """Give PROOF(old_size, D[:size])."""
        return self._subproof(old_size, 0, size, True)

    def _subproof(self, m: int, start: int, n: int, whole: bool) -> list[bytes]:
        if m == n:
            return [] if whole else [self.root(start, start + n)]
        k = split(n)
        if m <= k:
            return [*self._subproof(m, start, k, whole), self.root(start + k, start + n)]
        return [*self._subproof(m - k, start + k, n - k, False), self.root(start, start + k)]

    def _hash(self, start: int, end: int) -> bytes:
        if start == end:
            return sha256(b"")
        if end - start == 1:
            return self.leaf_hashes[start]
        k = split(end - start)
        return sha256(b"\x01" + self.root(start, start + k) + self.root(start + k, end))


def split(size: int) -> int:
    """Give the largest power of two that is smaller than a size."""
    k = 1
    while k * 2 < size:
        k *= 2
    return k
