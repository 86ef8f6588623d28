"""Ledgers of any size, made of bytes: entries as the service records them, their tree, and their query rows.

Signing ten million certificates would take a day; what is measured does not look into them. All else is
true: canonical JSON, leaf hashes, frontier, full tiles, and a head that the log's key has signed.
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from kubemint.ledger.growing import LogKeys, Sealer
from kubemint.transparency.tiles import TILE_WIDTH, tile_root
from kubemint.transparency.tree import Frontier, grow, leaf_hash

SPAN = timedelta(days=365)  # that the entries are spread over, the newest a day ago
LIFETIME_SECONDS = 3600
ENTRIES_A_USER = 200  # whatever the size: more requests come of more users
REQUESTERS = 40
GROUPS = 60
CHUNK = TILE_WIDTH * 128
_CERTIFICATE_OCTETS = 420
_BODY = (
    '{"authority":"ci-%(requester)d","certificate":"%(certificate)s","credentialId":"X509SHA256=%(credential)s",'
    '"evidence":"token sha256:%(evidence)s","groups":["%(group)s","everybody"],"keyType":"ecdsa-p256",'
    '"kind":"issued","method":"token","notAfter":"%(not_after)s","notBefore":"%(time)s",'
    '"policy":"sha256:%(policy)s","profile":"developers","publicKeySha256":"%(public_key)s",'
    '"requestedExpirationSeconds":3600,"requestedProfile":null,"requester":"token:ci-%(requester)d",'
    '"serialNumber":"%(serial)s","submissionSha256":"%(submission)s","time":"%(time)s","user":"%(user)s"}'
)
_POLICY = hashlib.sha256(b"policy").hexdigest()
_NOISE = base64.b64encode(hashlib.shake_256(b"certificates").digest(_CERTIFICATE_OCTETS - 64)).decode()


EntryRow = tuple[int, str, str, bytes, bytes]
CertificateRow = tuple[int, bytes, bytes, str, str, str, int, int]


@dataclass(frozen=True, slots=True)
class Made:
    """Rows of some consecutive entries, in the order of the tables' columns."""

    entries: list[EntryRow]
    certificates: list[CertificateRow]
    groups: list[tuple[str, int, int]]
    tiles: list[tuple[int, int, bytes, bytes]]


@dataclass
class Tree:
    """The tree so far, and the roots of tiles that wait for the tile above."""

    frontier: Frontier = field(default_factory=Frontier.empty)
    waiting: dict[int, list[bytes]] = field(default_factory=dict)
    root: bytes = b""

    def add(self, hashes: list[bytes]) -> Iterator[tuple[int, int, bytes, bytes]]:
        """Grow by leaf hashes; give the tiles that fill."""
        first = self.frontier.size
        growth = grow(self.frontier, hashes)
        self.frontier, self.root = growth.frontier, growth.root
        yield from self._fill(0, first, hashes)

    def _fill(self, level: int, first: int, hashes: list[bytes]) -> Iterator[tuple[int, int, bytes, bytes]]:
        row = self.waiting.setdefault(level, [])
        index = (first - len(row)) // TILE_WIDTH
        row += hashes
        roots = []
        while len(row) >= TILE_WIDTH:
            octets = b"".join(row[:TILE_WIDTH])
            del row[:TILE_WIDTH]
            roots.append(tile_root(octets))
            yield level, index + len(roots) - 1, roots[-1], octets
        if roots:
            yield from self._fill(level + 1, index, roots)

    def head(self, keys: LogKeys) -> tuple[int, bytes, str]:
        """Give size, frontier and signed checkpoint."""
        size = self.frontier.size
        return size, self.frontier.encode(), Sealer(keys).seal(size, self.root)


def credential_of(index: int) -> bytes:
    """Give the SHA-256 that names the certificate of an entry."""
    return hashlib.sha256(b"%d" % index).digest()


def user_of(index: int, size: int) -> str:
    """Give the user of an entry, who comes again all over the ledger."""
    return f"user-{index * 7919 % (size // ENTRIES_A_USER)}"


def made(size: int, end: datetime, tree: Tree) -> Iterator[Made]:
    """Give all rows of a ledger of `size` certificates, the newest issued at `end`, chunk by chunk."""
    start, step = int((end - SPAN).timestamp()), SPAN.total_seconds() / size
    for first in range(0, size, CHUNK):
        entries, certificates, groups = [], [], []
        for index in range(first, min(size, first + CHUNK)):
            second = start + int(index * step)
            entry, certificate, group = _rows(index, second, user_of(index, size))
            entries.append(entry)
            certificates.append(certificate)
            groups += [(group, index, second + LIFETIME_SECONDS), ("everybody", index, second + LIFETIME_SECONDS)]
        tiles = list(tree.add([entry[4] for entry in entries]))
        yield Made(entries, certificates, groups, tiles)


def body_of(index: int, second: int, user: str) -> bytes:
    """Give the canonical JSON of a certificate issued at a second since 1970."""
    named, requester, time = credential_of(index).hex(), index % REQUESTERS, _rfc3339(second)
    return (
        _BODY
        % {
            "requester": requester,
            "certificate": named + named + _NOISE,
            "credential": named,
            "evidence": named[:16],
            "group": _group(index),
            "not_after": _rfc3339(second + LIFETIME_SECONDS),
            "time": time,
            "policy": _POLICY,
            "public_key": named[::-1],
            "serial": _serial(index).hex(),
            "submission": named,
            "user": user,
        }
    ).encode()


def _rows(index: int, second: int, user: str) -> tuple[EntryRow, CertificateRow, str]:
    body = body_of(index, second, user)
    entry = (index, _rfc3339(second), "issued", body, leaf_hash(body))
    requester, end = f"token:ci-{index % REQUESTERS}", second + LIFETIME_SECONDS
    named = (index, _serial(index), credential_of(index))
    return entry, (*named, requester, user, "developers", second, end), _group(index)


def _serial(index: int) -> bytes:
    return b"\x7f" + credential_of(index)[13:]


def _group(index: int) -> str:
    return f"team-{index * 31 % GROUPS}"


def _rfc3339(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
