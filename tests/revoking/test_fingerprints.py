"""The set of digests: what was added is found, what was not is not, whatever its size."""

import hashlib
import threading

from hypothesis import given
from hypothesis import strategies as st

from kubemint.fingerprints import FINGERPRINT_OCTETS, Fingerprints

_digests = st.binary(min_size=8, max_size=32)


def _some(first: int, count: int) -> list[bytes]:
    return [hashlib.sha256(b"%d" % number).digest() for number in range(first, first + count)]


@given(st.lists(_digests, max_size=60), st.lists(_digests, max_size=20))
def test_as_a_set_of_beginnings(added: list[bytes], others: list[bytes]) -> None:
    """It holds exactly the first eight octets of what was added, once each; all zeros and 1 are one."""
    found = Fingerprints()
    found.update(added)
    beginnings = {_beginning(digest) for digest in added}
    assert len(found) == len(beginnings)
    for digest in (*added, *others):
        assert (digest in found) == (_beginning(digest) in beginnings)


def _beginning(digest: bytes) -> bytes:
    return max(digest[:FINGERPRINT_OCTETS], bytes(7) + b"\x01")


def test_those_that_want_one_place() -> None:
    """Digests that end alike in their fingerprint are told apart."""
    alike = [number.to_bytes(4, "big") + bytes(4) for number in range(1, 900)]
    found = Fingerprints()
    found.update(alike)
    assert all(digest in found for digest in alike)
    assert (1000).to_bytes(4, "big") + bytes(4) not in found


def test_as_it_grows() -> None:
    """Many times its first size it still holds all, twice added counts once, and a place costs eight octets."""
    digests = _some(0, 20_000)
    found = Fingerprints()
    for start in range(0, len(digests), 7000):
        found.update(digests[start : start + 7000])
    assert found.octets <= 20_000 * 8 * 2 / 0.6
    found.update(digests)
    assert len(found) == 20_000
    assert all(digest in found for digest in digests)
    assert not any(digest in found for digest in _some(20_000, 20_000))


def test_serial_numbers() -> None:
    """Short ones serve too: those of one to twenty octets are found by their beginning."""
    serials = [bytes([number]) * length for number in range(1, 200) for length in (1, 7, 8, 20)]
    found = Fingerprints()
    found.update(serials)
    assert all(serial in found for serial in serials)
    assert b"\xfe" * 20 not in found


def test_reading_while_it_grows() -> None:
    """Whoever looks while another adds finds what was there before, always."""
    first, more = _some(0, 500), _some(500, 30_000)
    found = Fingerprints()
    found.update(first)
    misses: list[bytes] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            misses.extend(digest for digest in first if digest not in found)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    found.update(more)
    done.set()
    for reader in readers:
        reader.join()
    assert misses == []
    assert len(found) == 30_500
